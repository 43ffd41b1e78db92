from collections.abc import Iterable
from dataclasses import replace

import pytest

from kiosk.config import rules_from_text
from kiosk.credentials import Keyring, read, subject_of
from kiosk.gate import Gate
from kiosk.messages import (
    Answer,
    Ask,
    CheckIn,
    Credential,
    Effect,
    Elapsed,
    LinkStatus,
    Reason,
    Record,
    Refusal,
    Scheme,
    Seen,
)
from kiosk.risk import Rules
from tests.builders import HEALTHY, REPOSITORY, at_ms, city, declared, sighting, site

KEY = b"k" * 32
KEYRING = Keyring(subject_key=KEY, issuers={}, links=("https://khaibaoyte.example/", "DNSC"))
SHIPPED = (REPOSITORY / "config" / "rules.toml").read_text(encoding="utf-8")
TEXT = "https://khaibaoyte.example/q?id=1a2B"
LINK = Credential(scheme=Scheme.LINK, subject=subject_of("link", TEXT, KEY), initials="")
DECLARED = b"the newest declaration"


@pytest.mark.parametrize("text", [TEXT, f"{TEXT}\r\n", f" {TEXT}\x00"])
def test_a_link_is_a_pseudonym_of_the_whole_text(text: str) -> None:
    """Nobody's initials, nothing sealed: only the city knows whose it is."""
    assert read(text.encode(), KEYRING) == LINK


def test_two_tokens_are_two_people() -> None:
    """A token without a host is known by its first characters."""
    results = [read(f"DNSC{token}".encode(), KEYRING) for token in ("1", "2")]
    assert [result.subject for result in results if isinstance(result, Credential)] == [
        subject_of("link", f"DNSC{token}", KEY) for token in ("1", "2")
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("http://khaibaoyte.example/q", "https://khaibaoyte.example", "https://khaibaoyte.example.evil/q"),
        *("HTTPS://khaibaoyte.example/q", "https://other.example/", "dnsc1", "xDNSC1", "DNS"),
    ],
)
def test_what_no_beginning_names_is_an_unknown_format(text: str) -> None:
    """Another scheme, host or case is not asked about."""
    result = read(text.encode(), KEYRING)
    assert isinstance(result, Refusal)
    assert result.reason is Reason.UNKNOWN_FORMAT


def test_without_beginnings_there_are_no_links() -> None:
    """As shipped."""
    result = read(TEXT.encode(), Keyring(subject_key=KEY, issuers={}))
    assert isinstance(result, Refusal)
    assert result.reason is Reason.UNKNOWN_FORMAT


@pytest.mark.parametrize("rest", ["a b", "ă", "\u200b", "\x07x", "x" * 509])
def test_a_link_is_short_plain_ascii(rest: str) -> None:
    """Anything else after the beginning is malformed."""
    assert read(f"DNSC{rest}".encode(), KEYRING) == Refusal(
        reason=Reason.MALFORMED, detail="link: too long, or not plain ASCII", scheme=Scheme.LINK
    )


def test_the_longest_link_is_read() -> None:
    """Of 512 characters."""
    assert isinstance(read(b"DNSC" + b"x" * 508, KEYRING), Credential)


@pytest.mark.parametrize("known", ["HC1:6BFOXN", "https://qr.tokhaiyte.vn/1"])
def test_no_beginning_takes_a_known_format_s_codes(known: str) -> None:
    """The table comes first."""
    everything = replace(KEYRING, links=("HC1:", "https://qr.tokhaiyte.vn/"))
    result = read(known.encode(), everything)
    assert isinstance(result, Refusal)
    assert result.scheme is not Scheme.LINK


def _rules(links: str) -> Rules | str:
    return rules_from_text(SHIPPED.replace("\nlinks = []\n", f"\nlinks = {links}\n"))


@pytest.mark.parametrize(
    "link", ["https://a.example/", "https://a.example:443/q?", "http://a.example#", "DNSC", "a:b/c"]
)
def test_a_beginning_is_a_whole_host_or_four_characters(link: str) -> None:
    """These may stand in the rules."""
    rules = _rules(f"[{link!r}]")
    assert isinstance(rules, Rules)
    assert rules.links == (link,)


@pytest.mark.parametrize("link", ["", "abc", "https://", "https://a.example", "://x/", "https:///x", "a b c d", "ăăăă"])
def test_a_beginning_that_would_take_too_much_is_refused(link: str) -> None:
    """An empty one would take everything, and a host without its end every host that begins so."""
    assert _rules(f"[{link!r}]") == (
        f"the city's rules: links: {link!r} is too little: scheme, whole host and a slash, or at least four characters"
    )


def _recorded(effects: Iterable[Effect]) -> list[tuple[Reason | Scheme | str | None, ...]]:
    events = [event for effect in effects if isinstance(effect, Record) for event in effect.events]
    return [(*event.reasons, event.scheme, event.subject) for event in events if isinstance(event, CheckIn)]


def test_an_unanswered_link_is_unresolved() -> None:
    """The gate asks the city; without an answer staff decide."""
    gate = Gate(site(look_up=True), city({TEXT.encode(): LINK}))
    gate.step(LinkStatus(online=True, waiting=0), at_ms(0))
    assert Ask(subject=LINK.subject) in gate.step(Seen(sightings=(sighting(TEXT.encode(), 10),)), at_ms(10))
    effects = gate.step(Elapsed(), at_ms(900))
    assert _recorded(effects) == [(Reason.UNRESOLVED_CODE, Scheme.LINK, LINK.subject)]


def test_an_answered_link_is_the_person_the_city_says() -> None:
    """Judged by that person's declaration, under that person's pseudonym."""
    gate = Gate(site(look_up=True), city({TEXT.encode(): LINK, DECLARED: declared(HEALTHY, "b2")}))
    gate.step(LinkStatus(online=True, waiting=0), at_ms(0))
    gate.step(Seen(sightings=(sighting(TEXT.encode(), 10),)), at_ms(10))
    effects = gate.step(Answer(asked=LINK.subject, payload=DECLARED), at_ms(60))
    assert _recorded(effects) == [(Reason.NO_RISK, Scheme.LINK, "b2" * 16)]
