from kiosk.clock import MS
from kiosk.messages import Presentation
from kiosk.sightings import MOST_TRACKED, Sightings
from kiosk.structured_append import Header, Part
from tests.builders import sighting

ABSENCE_MS = 1500


def _presentation(payload: bytes, ms: int, *, engine: str = "zxing") -> Presentation:
    return Presentation(payload=payload, engine=engine, first_seen_ns=ms * MS)


def _followed(*seen: tuple[bytes, int]) -> Sightings:
    sightings = Sightings(ABSENCE_MS * MS)
    for payload, ms in seen:
        sightings.see([sighting(payload, ms)])
    return sightings


def test_an_empty_view_has_nothing_to_judge() -> None:
    """Without a code there is no presentation, waiting or left."""
    sightings = _followed()
    sightings.see([])
    assert (sightings.take(0), sightings.take_left(0)) == (None, [])


def test_a_code_seen_many_times_is_one_presentation() -> None:
    """A second of frames of one code is handed over once, as it was first seen, and never as having left."""
    sightings = _followed(*((b"a", ms) for ms in range(0, 1000, 33)))
    taken = [sightings.take(1000 * MS) for _ in range(2)]
    assert (taken, sightings.take_left(9000 * MS)) == ([_presentation(b"a", 0), None], [])


def test_the_engine_that_read_it_first_is_named() -> None:
    """What another engine reads later is the same presentation."""
    sightings = Sightings(ABSENCE_MS * MS)
    sightings.see([sighting(b"a", 0, engine="zbar"), sighting(b"a", 0, engine="zxing")])
    assert sightings.take(0) == _presentation(b"a", 0, engine="zbar")


def test_codes_are_taken_in_the_order_they_came() -> None:
    """The longest-waiting code is next, whatever was seen last."""
    sightings = _followed((b"b", 40), (b"a", 10), (b"c", 70), (b"b", 80), (b"a", 90))
    assert [sightings.take(100 * MS) for _ in range(4)] == [
        _presentation(b"a", 10),
        _presentation(b"b", 40),
        _presentation(b"c", 70),
        None,
    ]


def test_a_code_still_counts_as_shown_at_the_last_moment_of_the_absence() -> None:
    """Exactly `absence_ns` out of view is not yet away."""
    sightings = _followed((b"a", 0))
    assert sightings.take(0) == _presentation(b"a", 0)
    sightings.see([sighting(b"a", ABSENCE_MS)])
    assert sightings.take(ABSENCE_MS * MS) is None


def test_a_code_that_comes_back_after_the_absence_counts_anew() -> None:
    """One nanosecond more than `absence_ns` out of view ends a presentation."""
    sightings = _followed((b"a", 0))
    assert sightings.take(0) == _presentation(b"a", 0)
    assert sightings.take(ABSENCE_MS * MS + 1) is None
    sightings.see([sighting(b"a", ABSENCE_MS + 1)])
    assert sightings.take((ABSENCE_MS + 1) * MS) == _presentation(b"a", ABSENCE_MS + 1)


def test_a_code_that_comes_back_unjudged_is_two_presentations() -> None:
    """The earlier showing is handed over as left, the later one waits, though nobody asked in between."""
    sightings = _followed((b"a", 0), (b"a", ABSENCE_MS + 1))
    now_ns = (ABSENCE_MS + 1) * MS
    assert sightings.take_left(now_ns) == [_presentation(b"a", 0)]
    assert sightings.take(now_ns) == _presentation(b"a", ABSENCE_MS + 1)


def test_a_code_that_leaves_before_its_turn_is_handed_over_once() -> None:
    """It is in view through the last nanosecond of the absence, then has left, and is told of once."""
    sightings = _followed((b"a", 0))
    assert sightings.take_left(ABSENCE_MS * MS) == []
    assert sightings.take(ABSENCE_MS * MS + 1) is None
    assert sightings.take_left(ABSENCE_MS * MS + 1) == [_presentation(b"a", 0)]
    assert sightings.take_left(ABSENCE_MS * MS + 1) == []


def test_a_frame_that_arrives_late_does_not_shorten_a_stay() -> None:
    """A sighting older than the last one changes nothing."""
    sightings = _followed((b"a", 1000), (b"a", 900))
    assert sightings.take_left((1000 + ABSENCE_MS) * MS) == []


def test_as_many_codes_as_may_be_tracked_all_wait() -> None:
    """`MOST_TRACKED` codes fit, and none is handed over as left."""
    sightings = _followed(*((bytes([n]), n) for n in range(MOST_TRACKED)))
    assert sightings.take_left(MOST_TRACKED * MS) == []
    taken = [sightings.take(MOST_TRACKED * MS) for _ in range(MOST_TRACKED + 1)]
    assert taken == [*(_presentation(bytes([n]), n) for n in range(MOST_TRACKED)), None]


def test_one_code_too_many_pushes_out_the_one_out_of_view_longest() -> None:
    """It is handed over as left, not lost; the code seen again since is kept."""
    sightings = _followed(*((bytes([n]), n) for n in range(MOST_TRACKED)), (b"\0", 50), (b"new", 60))
    assert sightings.take_left(60 * MS) == [_presentation(b"\1", 1)]
    assert sightings.take(60 * MS) == _presentation(b"\0", 0)


def _part(index: int, text: bytes) -> Part:
    return Part(Header(index=index, total=2, parity=ord("a") ^ ord("b")), ((None, text),))


def test_a_part_by_itself_is_nothing_to_judge() -> None:
    """Of a message in two codes, one code is neither waiting nor left, however long it is shown."""
    sightings = _followed(*((_part(0, b"a"), ms) for ms in range(0, 3000, 33)))
    assert (sightings.take(3000 * MS), sightings.take_left(9000 * MS)) == (None, [])


def test_a_message_in_two_codes_is_one_presentation() -> None:
    """It begins with the code that made it whole, and lasts while either code is in view."""
    shown = [(_part(0, b"a"), 0), (_part(1, b"b"), 900), (_part(0, b"a"), 1800), (_part(1, b"b"), 2700)]
    sightings = _followed(*shown)
    assert [sightings.take(2700 * MS) for _ in range(2)] == [_presentation(b"ab", 900), None]
    assert sightings.take_left(2700 * MS) == []
