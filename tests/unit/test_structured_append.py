from functools import reduce
from operator import xor

from kiosk.structured_append import JOIN_NS, MOST_MESSAGES, Header, Messages, Part


def divided(*texts: bytes, declared: int | None = None) -> list[Part]:
    """The parts of one message."""
    parity = reduce(xor, b"".join(texts), 0)
    headers = [Header(index=index, total=len(texts), parity=parity) for index in range(len(texts))]
    return [Part(header, ((declared, text),)) for header, text in zip(headers, texts, strict=True)]


def test_parts_in_any_order_make_the_message() -> None:
    """The last part to come makes it whole, and every further look at one gives it again."""
    first, second, third = divided(b"one ", b"two ", b"three")
    messages = Messages()
    seen = [messages.join(part, 0) for part in (third, first, third, second, first, second)]
    assert seen == [None, None, None, b"one two three", b"one two three", b"one two three"]


def test_a_character_may_go_on_in_the_next_part() -> None:
    """Character sets are honoured after joining."""
    messages = Messages()
    seen = [messages.join(part, 0) for part in divided(b"\x93", b"\xfa", declared=20)]
    assert seen == [None, "日".encode()]


def test_parts_of_equal_bytes_are_told_apart() -> None:
    """A part is its bytes and its place; no plain payload equals it."""
    first, second = divided(b"same", b"same")
    assert (first == second, first == b"same", len({first, second, b"same"})) == (False, False, 3)
    messages = Messages()
    assert [messages.join(part, 0) for part in (first, second)] == [None, b"samesame"]


def test_an_unfinished_message_is_forgotten() -> None:
    """Ten seconds without a part of it end it, not ten seconds since its first."""
    first, second, third = divided(b"a", b"b", b"c")
    messages = Messages()
    assert messages.join(first, 0) is None
    assert messages.join(second, JOIN_NS) is None
    assert messages.join(third, 2 * JOIN_NS) == b"abc"
    assert messages.join(first, 3 * JOIN_NS + 1) is None


def test_a_part_that_contradicts_another_begins_anew() -> None:
    """Two messages that agree in total and parity are not mixed where they can be told apart."""
    first, second = divided(b"ab", b"cd")
    other, rest = divided(b"ba", b"dc")
    messages = Messages()
    assert [messages.join(part, 0) for part in (first, other, rest, second, first)] == [
        None,
        None,
        b"badc",
        None,
        b"abcd",
    ]


def test_a_mixture_with_the_wrong_parity_is_nothing() -> None:
    """Parts that together break the parity byte of both are no message."""
    first, second = divided(b"ab", b"cd")
    false = Part(second.header, ((None, b"ce"),))
    messages = Messages()
    assert [messages.join(part, 0) for part in (first, false)] == [None, None]


def test_only_a_few_messages_are_followed() -> None:
    """One more pushes out the one that was seen longest ago."""
    pairs = [divided(bytes([n]), b"\0") for n in range(MOST_MESSAGES + 1)]
    messages = Messages()
    assert [messages.join(first, n) for n, (first, _) in enumerate(pairs)] == [None] * len(pairs)
    assert [messages.join(second, 9) for _, second in pairs[1:]] == [bytes([n, 0]) for n in range(1, len(pairs))]
    assert messages.join(pairs[0][1], 9) is None
