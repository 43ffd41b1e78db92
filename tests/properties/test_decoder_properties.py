"""Fuzz of the decoder's own code, not of the engines.

The everyday run is short. A long one: `pytest tests/properties/test_decoder_properties.py
--hypothesis-profile=explore`, with HYPOTHESIS_MAX_EXAMPLES at will.
"""

import os
from functools import reduce
from operator import xor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kiosk.codewords import size
from kiosk.decoder import MARGIN_PER_SIDE, MOST_SIGHTINGS, Decoder, crop_of, in_crop
from kiosk.eci import payload_of, segments_of
from kiosk.engines import (
    Engine,
    Luma,
    Read,
    ReadPyzbar,
    deblurred,
    lifted,
    locate_zxing,
    quad_of,
    repaired,
    sharpened,
)
from kiosk.layouts import read_found
from kiosk.messages import Frame, Quad
from kiosk.structured_append import Header, Messages, Part, header_of
from tests.codes import code, placed

EXAMPLES = settings(max_examples=int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "30")), deadline=None)
PICTURES = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=60))
POINTS = st.tuples(st.integers(-(2**31), 2**31), st.integers(-(2**31), 2**31))
NEAR = st.tuples(st.integers(-80, 120), st.integers(-80, 120))
QUADS = st.tuples(POINTS, POINTS, POINTS, POINTS) | st.tuples(NEAR, NEAR, NEAR, NEAR)
SHOWN = placed(code(b"hello", scale=2), size=(150, 200))
ENGINES: list[Engine] = [ReadPyzbar(), read_found, *map(repaired, (sharpened, lifted, deblurred))]


@EXAMPLES
@given(luma=PICTURES, quad=QUADS)
def test_a_crop_lies_in_the_frame_and_near_its_quad(luma: Luma, quad: Quad) -> None:
    """However degenerate, far outside or huge the quad is."""
    crop, (left, top) = crop_of(luma, quad)
    assert np.array_equal(crop, luma[top : top + crop.shape[0], left : left + crop.shape[1]])
    for axis, side in ((0, crop.shape[1]), (1, crop.shape[0])):
        extent = max(point[axis] for point in quad) - min(point[axis] for point in quad)
        assert side <= extent + 2 * (extent // MARGIN_PER_SIDE + 1)


@EXAMPLES
@given(luma=PICTURES, quad=QUADS)
def test_what_is_read_in_a_crop_lies_where_the_crop_does(luma: Luma, quad: Quad) -> None:
    """A read moves by the crop's corner, whatever it is."""

    def corner(_: Luma) -> list[Read]:
        return [(b"x", quad_of([(0, 0), (1, 0), (1, 1), (0, 1)]))]

    _, (left, top) = crop_of(luma, quad)
    for payload, found in in_crop(corner, luma, quad):
        assert (payload, found[0]) == (b"x", (left, top))


@EXAMPLES
@given(luma=PICTURES)
def test_engines_answer_any_picture(luma: Luma) -> None:
    """Small random pictures, and random stretches over a real code, raise nothing and give no wrong text."""
    over = SHOWN.copy()
    over[20 : 20 + luma.shape[0], 60 : 60 + luma.shape[1]] = luma
    assert [engine(luma) for engine in ENGINES] == [[]] * len(ENGINES)
    assert {payload for engine in ENGINES for payload, _ in engine(over)} <= {b"hello"}
    assert {payload for payload, _ in locate_zxing(over)[0]} <= {b"hello"}


@EXAMPLES
@given(frames=st.lists(PICTURES, max_size=6), step_ns=st.integers(0, 10**9))
def test_the_ladder_takes_frames_that_change_their_size(frames: list[Luma], step_ns: int) -> None:
    """Any sequence of pictures gives at most eight sightings a frame, all of that frame."""
    decoder = Decoder()
    for number, luma in enumerate([SHOWN, *frames, SHOWN]):
        sightings = decoder.read(Frame(luma=luma, number=number, captured_ns=number * step_ns))
        assert len(sightings) <= MOST_SIGHTINGS
        assert {(sighting.frame_number, sighting.payload) for sighting in sightings} <= {(number, b"hello")}


@EXAMPLES
@given(sent=st.binary(max_size=60) | st.from_regex(rb"(\\0000[0-3][0-9]|[^\\]|\\\\){0,9}", fullmatch=True))
def test_any_transmission_gives_a_payload(sent: bytes) -> None:
    """Declared character sets and nonsense raise nothing; without a backslash, nothing changes."""
    payload = payload_of(segments_of(sent))
    assert b"\\" in sent or payload == sent


@EXAMPLES
@given(version=st.integers(1, 8), level=st.sampled_from("LMQH"), mask=st.integers(0, 7), seed=st.integers(0, 2**32 - 1))
def test_random_modules_are_no_part(version: int, level: str, mask: int, seed: int) -> None:
    """Error correction leaves no header in noise but by a chance that is never met here."""
    modules = np.random.default_rng(seed).integers(0, 2, (size(version),) * 2).astype(np.bool_)
    header_of(modules, version, level, mask)
    assert header_of(modules[1:], version, level, mask) is None


HEADERS = st.builds(Header, index=st.integers(0, 3), total=st.just(4), parity=st.integers(0, 2))
PARTS = st.builds(lambda header, raw: Part(header, ((None, raw),)), HEADERS, st.binary(max_size=2))


@EXAMPLES
@given(seen=st.lists(st.tuples(PARTS, st.integers(0, 4 * 10**9)), max_size=40))
def test_only_whole_messages_are_joined(seen: list[tuple[Part, int]]) -> None:
    """What is joined is made of parts that were seen, all of one message, in order, with its parity."""
    messages, now_ns = Messages(), 0
    shown: dict[tuple[int, int], set[bytes]] = {}
    for part, wait_ns in seen:
        now_ns += wait_ns
        shown.setdefault((part.header.parity, part.header.index), set()).add(bytes(part))
        whole = messages.join(part, now_ns)
        if whole is not None:
            assert reduce(xor, whole, 0) == part.header.parity
            made = {b""}
            for index in range(4):
                made = {begun + more for begun in made for more in shown[part.header.parity, index]}
            assert whole in made
