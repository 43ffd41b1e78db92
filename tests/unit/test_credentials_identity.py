from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiosk.clock import Now
from kiosk.credentials import Keyring, read, subject_of
from kiosk.credentials.sealing import Identity, opened
from kiosk.gate import Gate
from kiosk.messages import Credential, Record, Refusal, Seen, StoredEvent
from kiosk.wire import Origin, encode_event
from tests.builders import START, city, sighting, site
from tests.health_certificates import SUBJECT_KEY
from tests.people import AUTHORITY, BIRTHS, CODES, INITIALS, KEYRING, NAME, NUMBER, OLD_NUMBER, QID, SEALED, told

ORIGIN = Origin(device="dn-0001", place="vinamilk", access_point="gate-1")
UNSEALED = Keyring(subject_key=SUBJECT_KEY, issuers=KEYRING.issuers, links=KEYRING.links)


def _read(name: str, keyring: Keyring = KEYRING) -> Credential:
    result = read(CODES[name], keyring)
    assert isinstance(result, Credential)
    return result


@pytest.mark.parametrize("name", SEALED)
def test_the_health_authority_opens_what_the_code_says(name: str) -> None:
    """Sealed is the person as the code writes them, and nothing of their family."""
    assert opened(_read(name).sealed, AUTHORITY) == SEALED[name]


def test_a_smart_health_card_is_known_by_its_digest() -> None:
    """It bears no id of its own."""
    card = _read("shc")
    assert opened(card.sealed, AUTHORITY) == Identity(
        kind="cert", number=card.digest.hex(), name=NAME, born="1999-02-03"
    )


@pytest.mark.parametrize("name", ["declaration", "link"])
def test_what_bears_no_identity_seals_none(name: str) -> None:
    """A declaration has a pseudonym only, and a link is resolved by the city."""
    assert _read(name).sealed == ""


@pytest.mark.parametrize("name", CODES)
def test_without_an_authority_nothing_of_the_identity_goes_on(name: str) -> None:
    """The rest of the credential is the same."""
    unsealed = _read(name, UNSEALED)
    assert unsealed == replace(_read(name), sealed="")


@pytest.mark.parametrize("name", SEALED)
def test_two_seals_of_one_person_differ(name: str) -> None:
    """Nobody but the authority can follow a person by them."""
    assert _read(name).sealed != _read(name).sealed


@pytest.mark.parametrize("name", [name for name, who in SEALED.items() if who.kind != "cert"])
def test_the_authority_can_tell_whose_pseudonym_it_is(name: str) -> None:
    """Kind and number of the sealed identity are those that the subject was made of."""
    who = SEALED[name]
    assert subject_of(who.kind, who.number, SUBJECT_KEY) == _read(name).subject


@pytest.mark.parametrize("name", CODES)
def test_a_credential_prints_nothing_of_the_person(name: str) -> None:
    """Whatever logs one, or prints one in a trace, gives initials and pseudonym."""
    assert told(repr(_read(name))) == []


@pytest.mark.parametrize("name", CODES)
def test_no_event_holds_anything_of_the_person(name: str) -> None:
    """What is stored and published for the city has neither number, name, birth date, address nor phone."""
    gate = Gate(site(), city({CODES[name]: _read(name)}))
    now = Now(monotonic_ns=0, utc=START, utc_trusted=True)
    effects = gate.step(Seen(sightings=(sighting(CODES[name], 0),)), now)
    events = [event for effect in effects if isinstance(effect, Record) for event in effect.events]
    stored = (StoredEvent(ledger="a" * 16, sequence=at, event=event) for at, event in enumerate(events, 1))
    documents = [encode_event(each, ORIGIN).decode() for each in stored]
    assert documents
    assert [told(document) for document in documents] == [[]] * len(documents)
    assert told(repr([effect for effect in effects if not isinstance(effect, Record)])) == []
    assert all(INITIALS not in document for document in documents)


def test_the_search_for_private_words_finds_them() -> None:
    """The codes themselves are full of them, but for the declaration."""
    plain = [name for name in CODES if not name.startswith(("hc1", "shc", "declaration"))]
    assert [bool(told(CODES[name].decode())) for name in plain] == [True] * len(plain)
    assert told(CODES["declaration"].decode()) == []


@pytest.mark.parametrize(("field", "value"), [(0, "04819900073"), (2, f"{NAME} 7"), (3, "30021999"), (4, "x")])
def test_a_broken_card_is_refused_without_a_word_of_it(field: int, value: str) -> None:
    """The refusal names the field."""
    fields = CODES["cccd"].decode().split("|")
    fields[field] = value
    refusal = read("|".join(fields).encode(), KEYRING)
    assert isinstance(refusal, Refusal)
    assert told(repr(refusal)) == []


def test_every_document_with_the_new_number_is_one_person_s() -> None:
    """Identity card, national code and declaration meet; old card, insurance and platform are for the city to join."""
    subjects = {name: _read(name).subject for name in CODES}
    same = {"cccd", "cccd, never had an old number", "cccd of 2024", "vn1405", "declaration"}
    assert {name for name, subject in subjects.items() if subject == subject_of("id", NUMBER, SUBJECT_KEY)} == same
    assert subjects["vn1405, old number"] == subject_of("id", OLD_NUMBER, SUBJECT_KEY)
    assert subjects["vn1405, masked"] == subjects["vn1405, passport"] == subject_of("qid", QID, SUBJECT_KEY)
    assert subjects["hc1"] == subjects["shc"]
    assert len(set(subjects.values())) == 6


@st.composite
def _documents(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    """A number, and everything a person may carry that bears it."""
    birth = draw(st.dates(START.date() - timedelta(days=36_000), START.date() - timedelta(days=6_000)))
    male = draw(st.booleans())
    century = 2 * (birth.year // 100 - 19) + (not male)
    number = f"{draw(st.integers(1, 96)):03}{century}{birth.year % 100:02}{draw(st.integers(0, 999_999)):06}"
    name = draw(st.sampled_from([NAME, "Ngô Ân", "Lê Thị Ý Nhi"]))
    card = [number, "", name, f"{birth:%d%m%Y}", "Nam" if male else "Nữ", "Đà Nẵng", "15042021"]
    had_another = [number, draw(st.integers(0, 10**9 - 1).map("{:09}".format)), *card[2:]]
    family = ["", "Ngô Văn Cha", "Lê Thị Mẹ", ""]
    born = draw(st.sampled_from([f"{birth:%Y-%m-%d}", f"{birth:%Y}-**-**"]))
    ext = draw(st.sampled_from(["", "<0", f"<{1 if male else 2}<<0905000000"]))
    national = [number, "NGO AN", born, draw(st.sampled_from("01")), draw(st.sampled_from([QID, ""])), ext]
    without = [number, *card[2:]]
    return number, [card, had_another, [*card, *family], [*had_another, *family], without, national]


@settings(max_examples=50, deadline=None)
@given(_documents())
def test_one_number_is_one_subject_on_whatever_it_stands(documents: tuple[str, list[list[str]]]) -> None:
    """Cards of 6, 7 and 11 fields, with and without an old number, and the national code: one person."""
    number, carried = documents
    results = [read("|".join(fields).encode(), UNSEALED) for fields in carried]
    subjects = [result.subject if isinstance(result, Credential) else result.detail for result in results]
    assert subjects == [subject_of("id", number, SUBJECT_KEY)] * len(carried)


@pytest.mark.parametrize("phone", ["", "0905 123 987", "090*****87", "<script>", "1" * 16])
def test_only_what_can_be_called_is_sealed_as_a_phone(phone: str) -> None:
    """A masked or broken phone is left out; the code is read all the same."""
    code = f"{NUMBER}|QUACH THI DIEU HUONG|{BIRTHS[0]}|0|{QID}|<2<<{phone}"
    result = read(code.encode(), KEYRING)
    assert isinstance(result, Credential)
    who = opened(result.sealed, AUTHORITY)
    assert who
    assert who.phone == ""
