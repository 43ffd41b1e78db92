"""The ladder over the engines, whose own contract is in test_engines.py."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import segno
from numpy.typing import NDArray

from kiosk.decoder import BLANK_FRAMES_PER_SEARCH, FRAMES_PER_WIDE_LOOK, SEARCH_NS, Decoder, Stir
from kiosk.engines import REPAIRS, Engine, ReadOpencv, ReadPyzbar, Repair, locate_zxing, repaired
from kiosk.messages import Frame, Sighting
from tests.codes import Luma, code, placed, sample_lumas


def framed(luma: Luma, number: int = 7) -> Frame:
    """A frame as a camera gives it."""
    luma.setflags(write=False)
    return Frame(luma=luma, number=number, captured_ns=number * 1000)


def reads_of(sightings: tuple[Sighting, ...]) -> list[tuple[str, bytes]]:
    """Which engine read what."""
    return [(sighting.engine, sighting.payload) for sighting in sightings]


def waved(picture: Luma, depth: float) -> Luma:
    """The picture on paper that is not flat; `depth` as a share of its height."""
    side = picture.shape[0]
    y, x = np.mgrid[:side, :side].astype(np.float32)
    bent_x = (x + side * depth * np.sin(y / side * 6)).astype(np.float32)
    bent_y = (y + side * depth * np.sin(x / side * 5 + 1)).astype(np.float32)
    bent = cv2.remap(picture, bent_x, bent_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(255,))
    return np.asarray(bent, dtype=np.uint8)


def test_the_smallest_and_the_largest_byte_code_are_read() -> None:
    """Payloads of 1 and of 2,953 bytes, the most a QR code holds, come back whole."""
    largest = np.random.default_rng(4).bytes(2953)
    decoder = Decoder()
    assert reads_of(decoder.read(framed(placed(code(b"\xe1"))))) == [("zxing-cpp", b"\xe1")]
    assert reads_of(decoder.read(framed(placed(code(largest, scale=5), size=(1080, 1920))))) == [("zxing-cpp", largest)]


def test_a_sighting_carries_its_frame() -> None:
    """A sighting tells engine, frame number, time of capture, and the corners in the frame."""
    assert Decoder().read(framed(placed(code(b"hello")), number=42)) == (
        Sighting(
            payload=b"hello",
            engine="zxing-cpp",
            frame_number=42,
            captured_ns=42_000,
            quad=((76, 56), (160, 56), (161, 141), (76, 140)),
        ),
    )


def test_a_light_code_on_dark_ground_is_read() -> None:
    """A phone in dark mode is read like any other."""
    assert reads_of(Decoder().read(framed(placed(255 - code(b"dark mode"))))) == [("zxing-cpp", b"dark mode")]


def test_two_people_can_hold_up_two_codes() -> None:
    """All codes of a frame are read."""
    sightings = Decoder().read(framed(placed(code(b"first person"), code(b"second person"))))
    assert sorted(reads_of(sightings)) == [("zxing-cpp", b"first person"), ("zxing-cpp", b"second person")]


def test_the_same_payload_counts_once() -> None:
    """Two copies of one code in a frame are one sighting."""
    assert reads_of(Decoder().read(framed(placed(code(b"twin"), code(b"twin"))))) == [("zxing-cpp", b"twin")]


def test_a_wall_of_codes_gives_eight() -> None:
    """A frame never gives more than eight sightings."""
    wall = placed(*[code(f"code {number}".encode(), scale=3) for number in range(10)])
    assert len(locate_zxing(wall)[0]) == 10
    assert len(Decoder().read(framed(wall))) == 8


def test_an_empty_code_is_no_sighting() -> None:
    """A code without content gives nothing to judge."""
    empty = placed(code(b""), size=(400, 400))
    assert [read for read, _ in ReadPyzbar()(empty)] == [b""]
    decoder = Decoder()
    assert {decoder.read(framed(luma)) for luma in [empty] * BLANK_FRAMES_PER_SEARCH} == {()}


def test_a_code_longer_than_any_credential_is_read_all_the_same() -> None:
    """4,000 digits are no credential, but the door must answer them."""
    modules = np.array(segno.make_qr("7" * 4000, mode="numeric", error="l").matrix, dtype=np.uint8)
    digits = np.pad(255 * (1 - modules), 4, constant_values=255).repeat(4, axis=0).repeat(4, axis=1)
    (sighting,) = Decoder().read(framed(placed(digits, size=(1080, 1920))))
    assert sighting.payload == b"7" * 4000


def test_a_micro_code_is_not_read() -> None:
    """Micro QR corrects no errors at its smallest and invents digits, so it is not read at all."""
    micro = 255 * (1 - np.array(segno.make_micro("12345").matrix, dtype=np.uint8))
    luma = placed(np.pad(micro, 4, constant_values=255).repeat(8, axis=0).repeat(8, axis=1))
    assert Decoder().read(framed(luma)) == ()


def test_a_blurred_code_is_read_sharpened() -> None:
    """A code that is found but out of focus is read from its sharpened crop, at its place in the frame."""
    payload = bytes(range(60))
    blurred = np.asarray(cv2.GaussianBlur(placed(code(payload, error="m"), ground=220), (0, 0), 2.2), dtype=np.uint8)
    reads, places = locate_zxing(blurred)
    assert (reads, bool(places)) == ([], True)
    (sighting,) = Decoder().read(framed(blurred))
    assert (sighting.engine, sighting.payload) == ("zxing-cpp", payload)
    assert np.abs(np.array(sighting.quad[0]) - (76, 56)).max() <= 4


def test_a_code_found_but_not_read_calls_pyzbar_and_the_repairs_in_turn() -> None:
    """On a crumpled code zxing-cpp finds but cannot read, pyzbar looks first, and again after the two repairs."""
    frame = framed(placed(waved(code(b"health declaration", scale=10), depth=0.021)))
    reads, places = locate_zxing(frame.luma)
    assert (reads, bool(places)) == ([], True)
    decoder = Decoder()
    engines = [[sighting.engine for sighting in decoder.read(frame)] for _ in range(4)]
    assert engines == [["pyzbar"], [], [], ["pyzbar"]]
    (sighting,) = Decoder().read(frame)
    assert sighting.payload == b"health declaration"
    assert np.abs(np.array(sighting.quad[0]) - (100, 80)).max() <= 15


HIDDEN = bytes(range(60))


def shown() -> Luma:
    """A code of modules of 4 pixels on an even ground."""
    return placed(code(HIDDEN, error="m"), ground=220)


def grainy(luma: NDArray[np.floating], sigma: float) -> Luma:
    """With a sensor's noise; always the same."""
    return np.clip(luma + np.random.default_rng(8).normal(0, sigma, luma.shape), 0, 255).astype(np.uint8)


def dark() -> Luma:
    """In a hundredth of the light: white is 10 grey levels above black."""
    return grainy(shown() * (8 / 255) + 4, 2)


def defocused() -> Luma:
    """Blurred by 0.6 modules."""
    return np.asarray(cv2.GaussianBlur(shown(), (0, 0), 2.5), dtype=np.uint8)


def borderless() -> Luma:
    """Without quiet zone, on dark ground."""
    return placed(code(HIDDEN, border=0, error="m"), ground=60)


WIDER: list[tuple[Callable[[], Luma], str]] = [
    (dark, "zxing-cpp spread"),
    (defocused, "zxing-cpp deblurred"),
    (borderless, "pyzbar"),
]


@pytest.mark.parametrize(("hidden", "repair"), list(zip([dark, defocused], REPAIRS, strict=True)))
def test_each_repair_reads_what_no_other_rung_reads(hidden: Callable[[], Luma], repair: Repair) -> None:
    """Darkness and defocus each have one repair that reads through them, at the code's own place."""
    luma = hidden()
    assert locate_zxing(luma) == ([], [])
    ((payload, quad),) = repaired(repair)(luma)
    assert payload == HIDDEN
    assert np.abs(np.array(quad[0]) - (76, 56)).max() <= 4
    others: list[Engine] = [repaired(other) for other in REPAIRS if other is not repair]
    others += [ReadPyzbar(), ReadOpencv()]
    assert [look(luma) for look in others] == [[]] * len(others)


def test_what_appears_at_the_door_is_looked_at_by_each_rung_in_turn() -> None:
    """Where something changed but no code is found, the repairs look in order, then pyzbar, at each third frame."""
    decoder = Decoder()
    assert decoder.read(framed(placed(ground=120))) == ()
    frames = [framed(hidden()) for hidden, _ in WIDER for _ in range(FRAMES_PER_WIDE_LOOK)] * 2
    looked = [reads_of(decoder.read(frame)) for frame in frames]
    quick: list[list[tuple[str, bytes]]] = [[]] * (FRAMES_PER_WIDE_LOOK - 1)
    assert looked == [look for _, engine in WIDER for look in (*quick, [(engine, HIDDEN)])] * 2


def test_a_code_just_lost_is_searched_for_during_one_second() -> None:
    """After a read, every third frame without a code gets a wide look, until a second has passed."""
    decoder, lost, start = Decoder(), borderless(), 10**6
    decoder.read(framed(lost, number=0))
    assert reads_of(decoder.read(framed(placed(code(b"seen")), number=start))) == [("zxing-cpp", b"seen")]
    engines: list[list[str]] = []
    last_ns = SEARCH_NS - 1
    for after_ns in (*range(1, 9), last_ns, SEARCH_NS, SEARCH_NS + 1, SEARCH_NS + 2):
        frame = Frame(luma=lost, number=start, captured_ns=start * 1000 + after_ns)
        engines.append([sighting.engine for sighting in decoder.read(frame)])
    assert engines == [*[[]] * 8, ["pyzbar"], [], [], []]


def test_a_door_at_rest_is_not_stirred() -> None:
    """Noise and lamps that flicker by three percent are no visitor; a card of 80 pixels is, for seconds."""
    door, stir = placed(ground=150).astype(np.float64), Stir()
    rng = np.random.default_rng(2)
    quiet = [np.clip(door * (1 + share) + rng.normal(0, 3, door.shape), 0, 255) for share in (0, 0.03, -0.03, 0.03)]
    assert [stir(luma.astype(np.uint8)) for luma in quiet] == [False] * 4
    held = placed(np.full((80, 80), 250, dtype=np.uint8), ground=150)
    assert [stir(held) for _ in range(60)] == [True] * 60


def test_a_code_nobody_locates_is_searched_for_once_a_second() -> None:
    """A code without quiet zone is read in every thirtieth blank frame, by pyzbar and OpenCV in turn."""
    frame = framed(placed(code(b"no quiet zone at all", border=0, error="m"), ground=60))
    assert locate_zxing(frame.luma) == ([], [])
    decoder = Decoder()
    reads = [reads_of(decoder.read(frame)) for _ in range(2 * BLANK_FRAMES_PER_SEARCH)]
    assert [number for number, read in enumerate(reads, start=1) if read] == [30, 60]
    assert reads[29] + reads[59] == [("pyzbar", b"no quiet zone at all"), ("opencv", b"no quiet zone at all")]


def tells(payload: bytes, truth: str) -> bool:
    """Whether the payload is that text in one of the character sets the samples use."""
    texts = [payload.decode(charset, errors="replace") for charset in ("utf-8", "shift_jis", "latin-1", "gbk")]
    return truth.strip("\r\n") in [text.strip("\r\n") for text in texts]


@pytest.mark.parametrize(("folder", "floor"), [("qrcode-2", 50), ("qrcode-4", 17)])
def test_real_photos_are_read(folder: str, floor: int) -> None:
    """Of each folder of photos a single look reads at least as many as when measured, and not one of them wrong."""
    right = wrong = 0
    for file, luma in sample_lumas(folder).items():
        sightings = Decoder().read(framed(luma))
        truth = file.with_suffix(".txt").read_bytes().decode()
        told = any(tells(sighting.payload, truth) for sighting in sightings)
        right, wrong = right + told, wrong + (bool(sightings) and not told)
    assert wrong == 0
    assert right >= floor


@pytest.mark.parametrize("folder", ["falsepositives-1", "falsepositives-2"])
def test_thirty_looks_at_a_photo_without_a_code_give_none(folder: str) -> None:
    """A hand's jitter and a sensor's noise make no code of what is none, on any rung."""
    rng = np.random.default_rng(30)
    noise = rng.normal(0, 2.5, (720, 1280)).astype(np.int16)
    for luma in list(sample_lumas(folder).values())[::5]:
        decoder = Decoder()
        decoder.read(framed(placed(ground=120)))
        for _ in range(30):
            moved = np.roll(luma, rng.integers(-2, 3, 2), axis=(0, 1))
            look = cv2.add(moved, np.roll(noise, int(rng.integers(noise.size))), dtype=cv2.CV_8U)
            assert decoder.read(framed(np.asarray(look, dtype=np.uint8))) == ()
