from dataclasses import replace
from datetime import timedelta

import pytest

from kiosk.clock import MS, Now
from kiosk.look_ups import KEPT_NONE_NS, KEPT_NS, MOST_KEPT, WAIT_NS, Found, LookUps, names_only
from kiosk.messages import Answer, CertificateKind, Credential, Reason, Refusal, Scheme
from kiosk.risk import LookUp
from tests.builders import COUGHING, FOREIGN, START, at_ms, card, certified, declaration, declared, reader

CARD = card("c1")
SIGNED, OTHERS, EXPIRED, FORGED, EMPTY = b"signed", b"another number", b"expired", b"forged", b""
OLD = declaration(issued_at=START - timedelta(days=2))
READ = reader(
    {
        SIGNED: declared(COUGHING, subject="c1"),
        OTHERS: declared(subject="99"),
        EXPIRED: declared(OLD, subject="c1"),
        FORGED: Refusal(reason=Reason.SIGNATURE_INVALID, detail="signature", scheme=Scheme.DECLARATION),
        b"card": card("c1"),
    }
)
WAIT_MS = WAIT_NS // MS
UNAVAILABLE = Found(credential=CARD, look_up=LookUp.UNAVAILABLE)
NONE_KNOWN = Found(credential=CARD, look_up=LookUp.NOT_NEEDED)
DECLARED = Found(credential=replace(CARD, declaration=COUGHING), look_up=LookUp.NOT_NEEDED)


def _begun(look_ups: LookUps, ms: int = 0, who: Credential = CARD, *, online: bool = True) -> bool:
    return look_ups.begin(who, ms * MS, online=online)


def _answer(look_ups: LookUps, ms: int, payload: bytes, who: Credential = CARD) -> None:
    look_ups.note(Answer(asked=who.subject, payload=payload), ms * MS)


def _take(look_ups: LookUps, ms: int) -> Found | None:
    return look_ups.take(at_ms(ms), READ)


def _answered(payload: bytes) -> LookUps:
    """Somebody asked at 0 and was answered at once."""
    look_ups = LookUps()
    _begun(look_ups)
    _answer(look_ups, 0, payload)
    _take(look_ups, 0)
    return look_ups


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (card(), True),
        (declared(), False),
        (certified(CertificateKind.TEST, None), False),
        (FOREIGN, False),
    ],
)
def test_only_a_code_that_says_nothing_but_who_is_asked_about(read: Credential | Refusal, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """A declaration, a certificate or a refusal speaks for itself."""
    assert names_only(read) is expected


def test_nobody_waits_at_first() -> None:
    """There is nothing to take and no deadline."""
    look_ups = LookUps()
    assert (look_ups.pending, look_ups.deadline_ns, _take(look_ups, 0)) == (False, None, None)


def test_an_answer_in_time_is_what_is_judged() -> None:
    """The card with the declaration that came; then nobody waits any more."""
    look_ups = LookUps()
    assert _begun(look_ups)
    assert (look_ups.pending, look_ups.deadline_ns, _take(look_ups, 799)) == (True, WAIT_NS, None)
    _answer(look_ups, 799, SIGNED)
    assert (_take(look_ups, 799), look_ups.pending, look_ups.deadline_ns) == (DECLARED, False, None)


def test_nobody_waits_longer_than_800_ms() -> None:
    """Without an answer the city counts as not available, to the nanosecond."""
    look_ups = LookUps()
    _begun(look_ups)
    just_before = Now(monotonic_ns=WAIT_NS - 1, utc=START, utc_trusted=True)
    assert (look_ups.take(just_before, READ), _take(look_ups, WAIT_MS)) == (None, UNAVAILABLE)


def test_a_late_answer_serves_the_next_showing() -> None:
    """It came after the wait, and the city is not asked again."""
    look_ups = LookUps()
    _begun(look_ups)
    _take(look_ups, WAIT_MS)
    _answer(look_ups, 2000, SIGNED)
    assert (look_ups.pending, _begun(look_ups, 3000), _take(look_ups, 3000)) == (False, False, DECLARED)


def test_offline_there_is_no_wait() -> None:
    """Nothing is asked, and the result is there at once."""
    look_ups = LookUps()
    assert (_begun(look_ups, online=False), _take(look_ups, 0)) == (False, UNAVAILABLE)


def test_what_is_known_serves_offline_too() -> None:
    """An answer of before is as good without a link."""
    look_ups = _answered(SIGNED)
    assert (_begun(look_ups, 1000, online=False), _take(look_ups, 1000)) == (False, DECLARED)


def test_the_city_may_know_of_no_declaration() -> None:
    """That is an answer too: the card alone."""
    look_ups = LookUps()
    _begun(look_ups)
    _answer(look_ups, 10, EMPTY)
    assert _take(look_ups, 10) == NONE_KNOWN


@pytest.mark.parametrize("payload", [FORGED, b"no code at all", b"card"])
def test_an_answer_that_is_no_good_declaration_is_none(payload: bytes) -> None:
    """A forgery, nonsense, or a code that says no more than the card: the city counts as not available."""
    look_ups = LookUps()
    _begun(look_ups)
    _answer(look_ups, 10, payload)
    assert _take(look_ups, 10) == UNAVAILABLE


def test_a_declaration_of_another_number_names_the_person() -> None:
    """The city knows who the card's number belongs to: the declaration's subject goes on from there."""
    look_ups = LookUps()
    _begun(look_ups)
    _answer(look_ups, 10, OTHERS)
    found = _take(look_ups, 10)
    assert found is not None
    assert found.credential == replace(CARD, subject="99" * 16, declaration=declaration())


@pytest.mark.parametrize(("payload", "kept_ns"), [(SIGNED, KEPT_NS), (EMPTY, KEPT_NONE_NS)])
def test_an_answer_is_kept_for_its_time(payload: bytes, kept_ns: int) -> None:
    """Ten minutes for a declaration, twenty seconds for none; a millisecond later the city is asked anew."""
    kept_ms = kept_ns // MS
    assert [_begun(_answered(payload), ms) for ms in (kept_ms, kept_ms + 1)] == [False, True]


@pytest.mark.parametrize("payload", [FORGED, EXPIRED])
def test_an_answer_that_lets_nobody_in_serves_once(payload: bytes) -> None:
    """Whoever declares anew, or meets a mended city, is asked about again at the next showing."""
    assert _begun(_answered(payload), 1000)


def test_an_answer_about_somebody_else_changes_nothing() -> None:
    """One person's answer is kept for that person, while the other still waits."""
    look_ups, other = LookUps(), card("c2")
    _begun(look_ups)
    _answer(look_ups, 10, SIGNED, other)
    assert (_take(look_ups, 10), look_ups.pending) == (None, True)
    _take(look_ups, WAIT_MS)
    assert not _begun(look_ups, 900, other)


def test_the_newest_512_answers_are_kept() -> None:
    """Memory has a bound; the oldest answer goes first."""
    look_ups = LookUps()
    people = [card(f"{number:04x}") for number in range(MOST_KEPT + 1)]
    for who in people:
        _answer(look_ups, 0, SIGNED, who)
    assert [_begun(look_ups, 0, who) for who in (people[0], people[1], people[-1])] == [True, False, False]
