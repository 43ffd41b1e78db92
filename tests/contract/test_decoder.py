"""The ladder over the engines, whose own contract is in test_engines.py."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import segno
from numpy.typing import NDArray

from kiosk.clock import S
from kiosk.decoder import IDLE_FRAMES_PER_WIDE_LOOK, SEARCH_NS, Decoder, Reader, Searcher, Stir, Wanted
from kiosk.engines import Engine, ReadPyzbar, deblurred, lifted, locate_zxing, repaired, sharpened
from kiosk.messages import Frame, Sighting
from tests.codes import Luma, code, placed, sample_lumas


def framed(luma: Luma, number: int = 7) -> Frame:
    """A frame as a camera gives it."""
    luma.setflags(write=False)
    return Frame(luma=luma, number=number, captured_ns=number * 1000)


def reads_of(sightings: tuple[Sighting, ...]) -> list[tuple[str, bytes]]:
    """Which engine read what."""
    return [(sighting.engine, sighting.payload) for sighting in sightings]


TURN = 7
"""Frames in which each rung of the search has had its turn."""


def searched(lumas: list[Luma]) -> list[list[bytes]]:
    """What the search alone reads in frame after frame."""
    searcher = Searcher()
    frames = [Frame(luma=luma, number=at, captured_ns=at * S // 30) for at, luma in enumerate(lumas)]
    return [[seen.payload for seen in searcher.search(Wanted(frame=frame)).sightings] for frame in frames]


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
    """A code without content gives nothing to judge, on any rung."""
    empty = placed(code(b""), size=(400, 400))
    assert [read for read, _ in ReadPyzbar()(empty)] == [b""]
    assert Decoder().read(framed(empty)) == ()
    assert searched([empty] * TURN) == [[]] * TURN


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


def test_a_blurred_code_is_read_at_the_first_look() -> None:
    """A small code that is found but out of focus is read from its sharpened crop, at its place in the frame."""
    payload = bytes(range(60))
    blurred = np.asarray(cv2.GaussianBlur(placed(code(payload, error="m"), ground=220), (0, 0), 2.2), dtype=np.uint8)
    reads, places = locate_zxing(blurred)
    assert (reads, bool(places)) == ([], True)
    (sighting,) = Reader().look(framed(blurred)).sightings
    assert (sighting.engine, sighting.payload) == ("zxing-cpp sharpened", payload)
    assert np.abs(np.array(sighting.quad[0]) - (76, 56)).max() <= 4


def test_a_crumpled_code_is_found_glimpsed_and_read_by_the_search() -> None:
    """What the quick look finds and cannot read, it says where, and the search reads it, there, at its first look."""
    frame = framed(placed(waved(code(b"health declaration", scale=10), depth=0.021)))
    look = Reader().look(frame)
    assert look.sightings == ()
    assert look.wanted
    assert look.glimpse
    (sighting,) = Searcher().search(look.wanted).sightings
    assert sighting.payload == b"health declaration"
    assert np.abs(np.array(sighting.quad) - look.glimpse.quad).max() <= 15


HIDDEN = bytes(range(60))


def shown() -> Luma:
    """A code of modules of 4 pixels on an even ground."""
    return placed(code(HIDDEN, error="m"), ground=220)


def grainy(luma: NDArray[np.floating], sigma: float, seed: int = 8) -> Luma:
    """With a sensor's noise; always the same."""
    return np.clip(luma + np.random.default_rng(seed).normal(0, sigma, luma.shape), 0, 255).astype(np.uint8)


def dark() -> Luma:
    """In a hundredth of the light: white is 10 grey levels above black."""
    return grainy(shown() * (8 / 255) + 4, 2)


def defocused() -> Luma:
    """Blurred by 0.6 modules."""
    return np.asarray(cv2.GaussianBlur(shown(), (0, 0), 2.5), dtype=np.uint8)


def borderless() -> Luma:
    """Without quiet zone, on dark ground."""
    return placed(code(HIDDEN, border=0, error="m"), ground=60)


NOT_FOUND: dict[str, Callable[[], Luma]] = {"dark": dark, "defocused": defocused, "borderless": borderless}


def test_defocus_of_half_a_module_is_undone() -> None:
    """The strongest repair reads what no other does, at the code's own place."""
    luma = defocused()
    assert locate_zxing(luma) == ([], [])
    ((payload, quad),) = repaired(deblurred)(luma)
    assert payload == HIDDEN
    assert np.abs(np.array(quad[0]) - (76, 56)).max() <= 4
    others: list[Engine] = [repaired(sharpened), repaired(lifted), ReadPyzbar()]
    assert [look(luma) for look in others] == [[]] * 3


@pytest.mark.parametrize("hidden", NOT_FOUND.values(), ids=NOT_FOUND.keys())
def test_what_appears_at_the_door_and_is_not_found_is_read_within_a_turn(hidden: Callable[[], Luma]) -> None:
    """Each frame in which something has changed goes to the search; a code held still meets each of its rungs."""
    luma, decoder = hidden(), Decoder()
    assert locate_zxing(luma) == ([], [])
    assert decoder.read(framed(placed(ground=120))) == ()
    sightings = [decoder.read(framed(luma, number)) for number in range(8, 8 + TURN)]
    assert {sighting.payload for some in sightings for sighting in some} == {HIDDEN}


def test_frames_that_say_nothing_alone_are_read_together() -> None:
    """A code twice as faint as the noise: no rung reads it in one frame, and six frames are enough for all of them."""
    size = 300, 400
    faint = 119 + placed(code(HIDDEN, error="m"), ground=220, size=size).astype(np.float64) * (6 / 255)
    frames = [framed(grainy(faint, 3, seed), seed) for seed in range(6)]
    decoder = Decoder()
    assert [reads for reads in decoder.exhaust(frames[0].luma).values() if reads] == []
    decoder.read(framed(placed(ground=90, size=size)))
    sightings = [sighting for frame in frames for sighting in decoder.read(frame)]
    assert {(sighting.engine, sighting.payload) for sighting in sightings} == {("fusion", HIDDEN)}


def test_after_a_code_was_seen_its_door_is_searched_for_one_second() -> None:
    """A code that is lost from view is held badly, not gone, however small it is; then an empty door costs little."""
    reader, empty, start = Reader(), placed(ground=255), 10**6
    reader.look(framed(empty, number=0))
    assert reader.look(framed(placed(code(b"seen", scale=2), ground=255), number=start)).sightings
    after_ns = (1, SEARCH_NS - 1, SEARCH_NS, SEARCH_NS + 1)
    frames = [Frame(luma=empty, number=start, captured_ns=start * 1000 + after) for after in after_ns]
    assert [bool(reader.look(frame).wanted) for frame in frames] == [True, True, False, False]


def test_a_door_at_rest_is_searched_once_in_three_seconds() -> None:
    """A code that was there before anybody looked, and that is not found, still meets the search."""
    frame, reader = framed(borderless()), Reader()
    looks = [reader.look(frame) for _ in range(2 * IDLE_FRAMES_PER_WIDE_LOOK + 1)]
    assert [number for number, look in enumerate(looks, start=1) if look.wanted] == [91, 181]
    assert {look.sightings for look in looks} == {()}


def test_a_door_at_rest_is_not_stirred() -> None:
    """Noise and lamps that flicker by three percent are no visitor; a card of 80 pixels is, for seconds."""
    door, stir = placed(ground=150).astype(np.float64), Stir()
    rng = np.random.default_rng(2)
    quiet = [np.clip(door * (1 + share) + rng.normal(0, 3, door.shape), 0, 255) for share in (0, 0.03, -0.03, 0.03)]
    assert [stir(luma.astype(np.uint8)) for luma in quiet] == [False] * 4
    held = placed(np.full((80, 80), 250, dtype=np.uint8), ground=150)
    assert [stir(held) for _ in range(60)] == [True] * 60


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
def test_a_turn_of_looks_at_a_photo_without_a_code_gives_none(folder: str) -> None:
    """A hand's jitter and a sensor's noise make no code of what is none, on any rung."""
    rng = np.random.default_rng(30)
    noise = rng.normal(0, 2.5, (720, 1280)).astype(np.int16)
    for luma in list(sample_lumas(folder).values())[::13]:
        looks = [
            cv2.add(
                np.roll(luma, rng.integers(-2, 3, 2), axis=(0, 1)),
                np.roll(noise, int(rng.integers(noise.size))),
                dtype=cv2.CV_8U,
            )
            for _ in range(TURN)
        ]
        assert searched([np.asarray(look, dtype=np.uint8) for look in looks]) == [[]] * TURN
