import pytest

from kiosk.eci import payload_of, segments_of


def test_a_transmission_is_runs_of_declared_bytes() -> None:
    """Six digits after a backslash declare; two backslashes are one; line ends and NULs are bytes like others."""
    sent = b"a\\000026b\\\\\n\0\\000020\x93\xfa"
    wanted = ((None, b"a"), (26, b"b"), (26, b"\\"), (26, b"\n\0"), (20, b"\x93\xfa"))
    assert segments_of(sent) == wanted
    assert payload_of(wanted) == "ab\\\n\0日".encode()


def test_undeclared_bytes_are_left_alone() -> None:
    """Without a declaration every byte stays."""
    assert payload_of([(None, bytes(range(256)))]) == bytes(range(256))


def test_a_character_may_go_on_in_the_next_run() -> None:
    """Runs of one character set are one text."""
    assert payload_of([(26, b"\xc4"), (26, b"\x90"), (25, b"\0"), (25, b"x")]) == "Đx".encode()


@pytest.mark.parametrize(
    "segments",
    [
        [(26, b"\xc3\x28")],
        [(27, b"\x80")],
        [(25, b"odd")],
        [(20, b"\x93\xfa"), (26, b"\xff")],
        [(899, b"\xc3\xa9")],
        [(811799, b"x\x80")],
    ],
)
def test_what_breaks_its_declaration_is_left_alone(segments: list[tuple[int | None, bytes]]) -> None:
    """Bytes that are not in the declared set, and sets nobody knows, leave the whole payload as it was encoded."""
    assert payload_of(segments) == b"".join(raw for _, raw in segments)
