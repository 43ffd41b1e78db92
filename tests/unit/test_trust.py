from dataclasses import replace
from datetime import UTC, date, datetime

import cbor2
import pytest

from city import signing, trust
from kiosk.credentials.issuer import Issuer, Use, by_kid
from kiosk.risk import EpidemicArea
from kiosk.trust import Bundle, encoded, follows, read_bundle

CITY, OFFICE, STRANGER = (signing.new_key() for _ in range(3))
CITY_KEY = signing.load_key(CITY)
DECLARER = trust.issuer_of(OFFICE, Use.DECLARATION)
SHC: Issuer = replace(
    trust.issuer_of(STRANGER, Use.VACCINATION, Use.TEST),
    not_before=datetime(2021, 1, 1, tzinfo=UTC),
    not_after=datetime(2023, 1, 1, tzinfo=UTC),
    url="https://example.org/issuer",
)
BUNDLE = Bundle(
    version=7,
    made_at=datetime(2021, 11, 22, 6, tzinfo=UTC),
    issuers=by_kid([DECLARER, SHC]),
    revoked=frozenset({bytes(16), bytes(range(16))}),
    areas=(
        EpidemicArea(code="79", since=date(2021, 5, 27)),
        EpidemicArea(code="48492", since=date(2021, 11, 1), until=date(2021, 11, 15)),
    ),
    rules_toml='version = "x"',
    authority_pem=trust.new_authority()[1],
    command_pem=signing.public_pem(STRANGER),
)
SIGNED = trust.signed(BUNDLE, key=CITY_KEY)


def test_a_bundle_says_what_the_city_said() -> None:
    """Keys, uses, times, revocations, areas, rules: all of it, after the signature was good."""
    assert read_bundle(SIGNED, trust.city_issuers(CITY)) == BUNDLE


def test_a_city_may_leave_the_areas_to_the_rules() -> None:
    """No areas is not the same as an empty list of them."""
    for areas in (None, ()):
        bundle = replace(BUNDLE, areas=areas)
        assert read_bundle(trust.signed(bundle, key=CITY_KEY), trust.city_issuers(CITY)) == bundle


def test_no_changed_byte_goes_unnoticed() -> None:
    """Nor a missing one."""
    city = trust.city_issuers(CITY)
    for at in range(0, len(SIGNED), 3):
        changed = bytearray(SIGNED)
        changed[at] ^= 4
        assert isinstance(read_bundle(bytes(changed), city), str), at
        assert isinstance(read_bundle(SIGNED[:at], city), str), at


def test_only_the_city_says_whom_to_believe() -> None:
    """Not a stranger, and not an issuer of declarations, whose key the kiosk knows."""
    by_office = trust.signed(BUNDLE, key=signing.load_key(OFFICE))
    assert read_bundle(by_office, trust.city_issuers(CITY)) == "not by the city: header: no trusted key bears this kid"
    assert read_bundle(by_office, by_kid([DECLARER])) == "signed by a key that may not sign trust bundles"


def test_an_old_bundle_cannot_be_played_again() -> None:
    """Neither the same number nor a lower one takes the place of what is held."""
    assert follows(None, BUNDLE) == ""
    assert follows(replace(BUNDLE, version=6), BUNDLE) == ""
    assert follows(BUNDLE, BUNDLE) == "version 7 is not newer than 7, which is held"
    assert follows(replace(BUNDLE, version=8), BUNDLE) == "version 7 is not newer than 8, which is held"


@pytest.mark.parametrize(
    ("key", "value"),
    [(2, "7"), (3, 10**30), (4, [[b"", b"no key", 1, None, None, ""]]), (6, [["79"]]), (5, [b"short"]), (7, 3), (8, 1)],
)
def test_what_this_version_does_not_know_is_refused_whole(key: int, value: object) -> None:
    """A bundle from the city's own mistaken program changes nothing."""
    fields = cbor2.loads(encoded(BUNDLE)) | {key: value}
    answer = read_bundle(signing.sign1(cbor2.dumps(fields), key=CITY_KEY), trust.city_issuers(CITY))
    assert isinstance(answer, str)
    assert answer.startswith("the city's, but not of this version (")


def test_another_document_of_the_city_is_no_bundle() -> None:
    """What the city signed for one purpose does not serve for another."""
    other = signing.sign1(cbor2.dumps({1: "risk-list"}), key=CITY_KEY)
    assert read_bundle(other, trust.city_issuers(CITY)) == "the city's, but no trust bundle"
