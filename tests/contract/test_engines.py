"""One contract for every reading engine: the bytes that were encoded, UTF-8 where it is declared, or nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import segno

from kiosk.engines import Engine, ReadPyzbar, read_zxing
from kiosk.structured_append import Header, Messages, Part
from tests.codes import ENGINES, Luma, code, drawn, placed, sample_lumas

ZXING = [name for name in ENGINES if name != "pyzbar"]
PAYLOADS = {
    "one byte": b"x",
    "one NUL": b"\0",
    "NULs": b"a\0b\0\0c\0",
    "Vietnamese": "Khai báo y tế: Nguyễn Thị Ánh, Đà Nẵng".encode(),
    "Vietnamese in UTF-16": "Đà Nẵng".encode("utf-16"),
    "Latin-1": "café".encode("latin-1"),
    "looks like Shift-JIS": b"\x93\x5f\xe4\xaa\x88\xea",
    "looks like a declaration": rb"\000026 \\ ]Q2",
    "byte order mark": b"\xef\xbb\xbfabc",
    "invalid UTF-8": b"\xff\xfe\xc3\x28",
    "high bytes": bytes(range(0x80, 0x100)),
    "every byte": bytes(range(256)),
}
DECLARED = {
    "utf-8": "Nguyễn Thị Ánh\\Đà Nẵng",
    "iso-8859-2": "čšž \\000026",
    "shift-jis": "日本語テスト",
    "utf-16-be": "Nguyễn Thị Ánh",
    "gb18030": "中文",
    "big5": "中文",
    "euc_kr": "한국어",
    "cp1256": "سلام",
}
KNOWN_TO_ZBAR = ("utf-8", "iso-8859-2", "shift-jis")
BYTE_MODE = segno.consts.MODE_BYTE


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
@pytest.mark.parametrize("make_engine", ENGINES.values(), ids=ENGINES.keys())
def test_an_engine_gives_the_bytes_that_were_encoded(make_engine: Callable[[], Engine], payload: bytes) -> None:
    """No engine lets a guess of the character set touch the payload."""
    assert [read for read, _ in make_engine()(placed(code(payload)))] == [payload]


def declaring(text: str, charset: str) -> Luma:
    """A code that says which character set its bytes are in."""
    return placed(drawn(segno.make_qr(text, encoding=charset, mode="byte", eci=True)))


@pytest.mark.parametrize(("charset", "text"), DECLARED.items())
@pytest.mark.parametrize("name", ZXING)
def test_a_declared_character_set_is_honoured(name: str, charset: str, text: str) -> None:
    """Text in a character set that the code declares comes as UTF-8, whatever the set."""
    assert [read.decode() for read, _ in ENGINES[name]()(declaring(text, charset))] == [text]


@pytest.mark.parametrize(("charset", "text"), DECLARED.items())
def test_pyzbar_honours_the_character_sets_that_zbar_knows(charset: str, text: str) -> None:
    """Of others it gives the bytes as they are, since zbar does not tell that one was declared."""
    (read,) = (payload for payload, _ in ReadPyzbar()(declaring(text, charset)))
    assert read == text.encode("utf-8" if charset in KNOWN_TO_ZBAR else charset)


@pytest.mark.parametrize("name", [*ZXING, "pyzbar"])
def test_each_part_of_a_code_keeps_its_own_declaration(name: str) -> None:
    """A code may change its character set on the way."""
    parts = [("日本", "shift-jis"), ("Đà", "utf-8"), ("čšž\\", "iso-8859-2")]
    segments: Any = [(text, BYTE_MODE, charset) for text, charset in parts]
    mixed = placed(drawn(segno.make_qr(segments, eci=True)))
    assert [read.decode() for read, _ in ENGINES[name]()(mixed)] == ["日本Đàčšž\\"]


@pytest.mark.parametrize("name", [*ZXING, "pyzbar"])
def test_what_is_undeclared_stays_as_it_is(name: str) -> None:
    """Kanji mode and byte mode are Shift-JIS and plain bytes; digits and capitals are ASCII."""
    segments: Any = [("点茗", segno.consts.MODE_KANJI), "0123456", "ABC $%*+-./:", b"\x80\xff"]
    wanted = "点茗".encode("shift-jis") + b"0123456ABC $%*+-./:\x80\xff"
    assert [read for read, _ in ENGINES[name]()(placed(drawn(segno.make_qr(segments))))] == [wanted]


@pytest.mark.parametrize("make_engine", ENGINES.values(), ids=ENGINES.keys())
@pytest.mark.parametrize("quarter_turns", range(4))
def test_an_engine_places_the_code_clockwise_from_its_own_top_left(
    make_engine: Callable[[], Engine], quarter_turns: int
) -> None:
    """Corners turn with the code, whichever way it is held."""
    turned = np.ascontiguousarray(np.rot90(code(b"corners", scale=6), quarter_turns))
    ((_, quad),) = make_engine()(placed(turned, size=(400, 400)))
    near, far = 24, 24 + 21 * 6
    square = [(60 + x, 40 + y) for x, y in ((near, near), (far, near), (far, far), (near, far))]
    wanted = square[-quarter_turns:] + square[:-quarter_turns]
    assert np.abs(np.array(quad) - np.array(wanted)).max() <= 2


def test_pyzbar_reads_the_largest_byte_code() -> None:
    """The pyzbar engine loses no byte of the largest code."""
    largest = np.random.default_rng(4).bytes(2953)
    assert [read for read, _ in ReadPyzbar()(code(largest, scale=5))] == [largest]


def parts_of(text: str, count: int) -> list[Luma]:
    """Pictures of a message divided by structured append."""
    made = segno.make_sequence(text, symbol_count=count, mode="byte", encoding="utf-8", error="l", boost_error=False)
    return [drawn(part, scale=5) for part in made]


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", ZXING)
def test_a_part_of_a_divided_message_tells_its_place(name: str, count: int) -> None:
    """Parts side by side or each by itself are marked as parts, and joined they are the text that was divided."""
    text = "Nguyễn Thị Ánh, " + "".join(f"part {part} of it. " for part in range(6))
    pictures = parts_of(text, count)
    engine, messages = ENGINES[name](), Messages()
    reads = [read for read, _ in engine(placed(*pictures))]
    assert sorted(read.header.index for read in reads if isinstance(read, Part)) == list(range(count))
    assert {read for picture in pictures for read, _ in engine(placed(picture))} == set(reads)
    wholes = [messages.join(read, 0) for read in reads if isinstance(read, Part)]
    assert wholes == [*[None] * (count - 1), text.encode()]


@pytest.mark.parametrize("version", [2, 7, 14])
@pytest.mark.parametrize("level", "lmqh")
def test_a_part_is_known_in_a_code_of_any_size(version: int, level: str) -> None:
    """Versions and levels place the header's bits differently."""
    text = "12345" * (8 * version)
    made = segno.make_sequence(text, version=version, mode="byte", error=level, boost_error=False)[:3]
    parts = [read for part in made for read, _ in read_zxing(drawn(part, scale=3))]
    assert [part.header.index for part in parts if isinstance(part, Part)] == [0, 1, 2][: len(made)]


def test_a_part_is_known_by_its_header_though_damaged() -> None:
    """Error correction reaches the header, and what only looks like one in a damaged code is none."""
    whole = parts_of("a message in two parts, damaged", 2)[1]
    damaged = whole.copy()
    far = whole.shape[0] - 20
    damaged[far - 20 : far - 10, far - 10 : far] ^= 255
    ((part, _),) = read_zxing(placed(damaged))
    assert isinstance(part, Part)
    assert part.header == Header(index=1, total=2, parity=part.header.parity)
    capitals = drawn(segno.make_qr("HC1:ABCDEFGHIJKLMNOP", mode="alphanumeric", error="h"))
    far = capitals.shape[0] - 16
    for row, col in ((1, 1), (1, 2), (2, 1), (2, 2)):
        spoilt = capitals.copy()
        spoilt[far - 4 * row :, far - 4 * col :][:4, :4] ^= 255
        ((read, _),) = read_zxing(placed(spoilt))
        assert (read, isinstance(read, Part)) == (b"HC1:ABCDEFGHIJKLMNOP", False)


def test_a_real_divided_message_is_joined() -> None:
    """The published sample of four codes is the text beside it."""
    lumas, messages = sample_lumas("qrcode-7"), Messages()
    reads = [read for luma in lumas.values() for read, _ in read_zxing(luma)]
    whole = [messages.join(read, 0) for read in reads if isinstance(read, Part)]
    (first, *_) = lumas
    assert whole == [None, None, None, (first.parent / "01.txt").read_bytes()]


def test_pyzbar_gives_nothing_of_a_divided_message() -> None:
    """The library zbar joins the parts that it sees, and puts a NUL where one is missing."""
    pictures = parts_of("".join(f"part {part} of it. " for part in range(8)), 4)
    assert [ReadPyzbar()(placed(*shown)) for shown in (pictures, pictures[:-1], pictures[1:2])] == [[], [], []]


@pytest.mark.parametrize(("folder", "pictures"), [("falsepositives-1", 19), ("falsepositives-2", 25)])
def test_photos_without_a_code_give_none(folder: str, pictures: int) -> None:
    """No engine sees a code where there is none."""
    lumas = list(sample_lumas(folder).values())
    assert len(lumas) >= pictures
    engines = [make() for make in ENGINES.values()]
    assert [engine(luma) for engine in engines for luma in lumas] == [[]] * (len(engines) * len(lumas))
