import zlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import base45
import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kiosk.credentials import Keyring, read, subject_of
from kiosk.credentials.hc1_schema import schema_faults
from kiosk.credentials.issuer import CERTIFICATE_USES, Issuer, Use
from kiosk.credentials.keyring import digest_of
from kiosk.credentials.packing import MAX_INFLATED
from kiosk.messages import Certificate, CertificateKind, Credential, Reason, Refusal, Scheme
from tests.health_certificates import (
    EXPIRES,
    ISSUED,
    NAMES,
    RECOVERY,
    RECOVERY_OID,
    SUBJECT_KEY,
    TEST,
    TEST_OID,
    VACCINATION,
    VACCINATION_OID,
    VALID_FROM,
    VALID_UNTIL,
    Parts,
    certificate,
    claims,
    hc1,
    keyring,
    message,
    payload,
    wrapped,
)

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER, OTHER_ISSUER, RSA_ISSUER = (Issuer.from_certificate(certificate(key)) for key in (KEY, OTHER_KEY, RSA_KEY))
RING = keyring(ISSUER, RSA_ISSUER)

VACCINATED = Certificate(
    kind=CertificateKind.VACCINATION,
    country="VN",
    issued_at=ISSUED,
    expires_at=EXPIRES,
    on=date(2021, 9, 15),
    product="EU/1/20/1528",
    dose=2,
    doses=2,
)
TESTED = Certificate(
    kind=CertificateKind.TEST,
    country="VN",
    issued_at=ISSUED,
    expires_at=EXPIRES,
    on=date(2021, 12, 19),
    product="LP6464-4",
    detected=False,
)
RECOVERED = Certificate(
    kind=CertificateKind.RECOVERY,
    country="VN",
    issued_at=ISSUED,
    expires_at=EXPIRES,
    on=date(2021, 8, 1),
    valid_from=date(2021, 8, 12),
    valid_until=date(2022, 1, 28),
)
IDS = {
    CertificateKind.VACCINATION: VACCINATION["ci"],
    CertificateKind.TEST: TEST["ci"],
    CertificateKind.RECOVERY: RECOVERY["ci"],
}


def _held(fact: Certificate, initials: str = "N.V.A.", names: str = "NGUYEN|VANAN|1990-02-01") -> Credential:
    return Credential(
        scheme=Scheme.HC1,
        subject=subject_of("cert", names, SUBJECT_KEY),
        initials=initials,
        certificate=fact,
        digest=digest_of(str(IDS[fact.kind]).encode()),
    )


def _read(content: object = None, **changes: object) -> Credential | Refusal:
    return read(hc1(KEY, ISSUER, content, **changes), RING)


def _vaccination(**changes: object) -> Credential | Refusal:
    return _read(payload(v=[VACCINATION | changes]))


def _refused(result: Credential | Refusal) -> tuple[Reason, str]:
    assert isinstance(result, Refusal)
    assert result.scheme is Scheme.HC1
    return result.reason, result.detail.partition(":")[0]


@pytest.mark.parametrize(
    ("events", "fact"),
    [({"v": [VACCINATION]}, VACCINATED), ({"t": [TEST]}, TESTED), ({"r": [RECOVERY]}, RECOVERED)],
    ids=["vaccination", "test", "recovery"],
)
def test_every_kind_of_certificate_is_read(events: dict[str, object], fact: Certificate) -> None:
    """Facts, pseudonym and initials come back, and nothing else of the person."""
    assert _read(payload(**events)) == _held(fact)


def test_vietnam_s_own_algorithm_is_read() -> None:
    """A certificate under an RSA key, as Vietnam signs, is worth the same."""
    assert read(hc1(RSA_KEY, RSA_ISSUER), RING) == _held(VACCINATED)


def test_one_person_s_certificates_give_one_subject() -> None:
    """Dose, test and recovery of one person, with or without diacritics and fillers, are one subject."""
    plain = {"fn": "NGUYEN", "gn": "VAN AN"}
    lower = {"fn": "nguyễn", "gn": "Văn  An"}
    results = [_read(payload(t=[TEST])), *(_read({**payload(), "nam": names}) for names in (NAMES, plain, lower))]
    assert {result.subject for result in results if isinstance(result, Credential)} == {_held(VACCINATED).subject}
    assert len(results) == 4


def test_namesakes_are_told_apart_by_birth_date() -> None:
    """The same name with another birth date is another person."""
    other = _read({**payload(), "dob": "1990-02-02"})
    assert other == _held(VACCINATED, names="NGUYEN|VANAN|1990-02-02")
    assert other != _held(VACCINATED)


@pytest.mark.parametrize("born", ["1990", "1990-02", "", None, "1990/02/01", 1990])
def test_without_a_whole_birth_date_the_certificate_s_own_id_counts(born: object) -> None:
    """Too little to tell people apart: two such certificates are never taken for one person's."""
    first, second = (
        _read({**payload(v=[VACCINATION | {"ci": ci}]), "dob": born}) for ci in ("URN:UVCI:1", "URN:UVCI:2")
    )
    assert isinstance(first, Credential)
    assert isinstance(second, Credential)
    assert first.certificate == second.certificate == VACCINATED
    assert first.subject != second.subject


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"mp": " EU/1/20/1528 "}, {}),
        ({"dn": 2.0, "sd": 2.0}, {}),
        ({"dn": 3}, {"dose": 3}),
        ({"dn": 0, "sd": 0}, {"dose": 0, "doses": 0}),
        ({"dn": -1, "sd": 1.5}, {"dose": None, "doses": None}),
        ({"dn": "2", "sd": None}, {"dose": None, "doses": None}),
        ({"dn": float("nan"), "sd": float("inf")}, {"dose": None, "doses": None}),
        ({"dn": True}, {"dose": None}),
        ({"dt": ""}, {"on": None}),
        ({"dt": None}, {"on": None}),
        ({"dt": "2021-09-31"}, {"on": None}),
        ({"dt": "2021-09-15T00:00:00"}, {}),
        ({"dt": datetime(2021, 9, 15, 12, tzinfo=UTC)}, {}),
        ({"mp": None}, {"product": ""}),
        ({"is": 'B\\"ộ\\" Y tế'}, {}),
        ({"co": "UNHCR", "nn": None}, {}),
    ],
)
def test_the_oddities_of_real_countries_are_read(changes: dict[str, object], fact: dict[str, object]) -> None:
    """Spaces, floats, odd counts, empty, broken and tagged dates, nulls, escapes: what can be told is told."""
    assert _vaccination(**changes) == _held(replace(VACCINATED, **fact))  # type: ignore[arg-type]


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_null_and_empty_lists_are_no_events(nothing: object) -> None:
    """A country that writes the two kinds a certificate is not of as null or empty is read."""
    assert _read(payload(v=[VACCINATION], t=nothing, r=nothing)) == _held(VACCINATED)


@pytest.mark.parametrize(
    "names",
    [
        {"fnt": "NGUYEN<1.-'", "gnt": "VAN_AN", "fn": "Nguyễn", "gn": "Văn An"},
        {"fnt": " NGUYEN ", "gnt": "VAN<<AN<<<<", "fn": " Nguyễn", "gn": "Văn An "},
        {"fnt": None, "gnt": "", "fn": "Nguyễn", "gn": "Văn An"},
        {"fnt": "NGUYEN", "gnt": "VAN<AN"},
    ],
)
def test_special_signs_and_missing_spellings_leave_the_person(names: dict[str, object]) -> None:
    """Only letters identify, and either spelling of a name will do."""
    assert _read({**payload(), "nam": names}) == _held(VACCINATED)


def test_one_name_is_enough() -> None:
    """Somebody with a family name only is read, and initials come from what there is."""
    result = _read({**payload(), "nam": {"fn": "Ánh", "fnt": "ANH"}})
    assert result == _held(VACCINATED, "Á.", "ANH||1990-02-01")


@pytest.mark.parametrize("names", [None, {}, [], {"fn": "", "gn": "1 2"}, {"fnt": "<<<"}, {"fn": 5}])
def test_nobody_s_certificate_is_malformed(names: object) -> None:
    """A certificate without a name that has letters cannot be held against a person."""
    assert _refused(_read({**payload(), "nam": names})) == (Reason.MALFORMED, "name")


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        "text",
        payload(v=[]),
        payload(v=[VACCINATION, VACCINATION]),
        payload(v=[VACCINATION], t=[TEST]),
        payload(v=[VACCINATION], t=[TEST], r=[RECOVERY]),
        payload(v=[None]),
        payload(v=["text"]),
        payload(v=VACCINATION, t=[TEST]),
    ],
)
def test_none_and_several_events_are_refused(content: object) -> None:
    """Which of several events would count is nobody's to guess at a door."""
    assert _refused(_read(content)) == (Reason.MALFORMED, "events")


def test_the_result_of_a_test_is_told_only_where_it_is_coded() -> None:
    """Detected, not detected, and for any other text neither (the public list's DGC7)."""
    results = [_read(payload(t=[TEST | {"tr": code}])) for code in ("260373001", "260415000", "NEGATIVO", "", None)]
    facts = [r.certificate.detected for r in results if isinstance(r, Credential) and r.certificate]
    assert facts == [True, False, None, None, None]


def test_a_sample_from_the_future_is_told_as_it_is() -> None:
    """Parsing knows no clock: the day goes on as a fact (the public list's DGC8)."""
    result = _read(payload(t=[TEST | {"sc": "2035-01-01T00:00:00Z"}]))
    assert result == _held(replace(TESTED, on=date(2035, 1, 1)))


@pytest.mark.parametrize(
    "exp", [None, "2022-12-20", True, -1, 10**12, datetime(1, 1, 1, tzinfo=UTC), float("nan"), float("inf"), 2**64 - 1]
)
def test_a_certificate_without_an_end_is_malformed(exp: object) -> None:
    """Expiry must be a time."""
    assert _refused(_read(exp=exp)) == (Reason.MALFORMED, "exp")


@pytest.mark.parametrize(
    "exp", [EXPIRES.timestamp(), EXPIRES, cbor2.CBORTag(1, int(EXPIRES.timestamp()))], ids=["float", "text", "number"]
)
def test_times_may_be_fractions_or_tagged(exp: object) -> None:
    """Two countries write their times as floats or tagged dates."""
    assert _read(exp=exp) == _held(VACCINATED)


def test_an_expired_certificate_is_still_a_credential() -> None:
    """Expiry is a fact that goes on, not a refusal."""
    ended = ISSUED + timedelta(seconds=1)
    assert _read(exp=int(ended.timestamp())) == _held(replace(VACCINATED, expires_at=ended))


def test_a_certificate_is_good_no_longer_than_its_signer() -> None:
    """An expiry after the signer's own is the signer's."""
    assert _read(exp=int(datetime(2030, 1, 1, tzinfo=UTC).timestamp())) == _held(
        replace(VACCINATED, expires_at=VALID_UNTIL)
    )


@pytest.mark.parametrize("issued", [VALID_FROM - timedelta(seconds=1), VALID_UNTIL + timedelta(seconds=1)])
def test_what_was_issued_outside_the_signer_s_validity_is_refused(issued: datetime) -> None:
    """A key signs nothing before and after its certificate's time."""
    assert _refused(_read(iat=int(issued.timestamp()))) == (Reason.ISSUER_NOT_ENTITLED, "issuer")


def test_a_certificate_that_does_not_say_when_it_was_issued_is_read() -> None:
    """Without a time of issue nothing can be held against the signer's validity."""
    assert _read(iat=None) == _held(replace(VACCINATED, issued_at=None))


ALL_EVENTS: dict[str, dict[str, object]] = {
    TEST_OID: {"t": [TEST]},
    VACCINATION_OID: {"v": [VACCINATION]},
    RECOVERY_OID: {"r": [RECOVERY]},
}


@pytest.mark.parametrize("purpose", ALL_EVENTS)
@pytest.mark.parametrize("oid", ALL_EVENTS)
def test_a_signer_signs_only_what_it_is_for(purpose: str, oid: str) -> None:
    """Each purpose lets one kind through and refuses the two others."""
    issuer = Issuer.from_certificate(certificate(KEY, purpose))
    result = read(hc1(KEY, issuer, payload(**ALL_EVENTS[oid])), keyring(issuer))
    assert isinstance(result, Credential) is (purpose == oid)
    if purpose != oid:
        assert _refused(result) == (Reason.ISSUER_NOT_ENTITLED, "issuer")


@pytest.mark.parametrize(
    ("purposes", "uses"),
    [
        ((), CERTIFICATE_USES),
        ((TEST_OID, RECOVERY_OID), {Use.TEST, Use.RECOVERY}),
        (("1.3.6.1.4.1.0.1847.2021.1.2",), {Use.VACCINATION}),
        (("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.4"), CERTIFICATE_USES),
        (("1.3.6.1.5.5.7.3.2", TEST_OID), {Use.TEST}),
        (("2.23.136.1.1.14.2",), set()),
        (("1.3.6.1.4.1.1847.2021.1.4",), CERTIFICATE_USES),
    ],
)
def test_purposes_of_a_certificate(purposes: tuple[str, ...], uses: set[Use]) -> None:
    """Named kinds limit, none allows all three, ICAO's seals exclude them; never is a declaration among them."""
    assert Issuer.from_certificate(certificate(KEY, *purposes)).uses == uses


def test_kid_and_validity_come_from_the_certificate() -> None:
    """The kid is the start of the certificate's own hash, in DER or PEM."""
    assert (len(ISSUER.kid), ISSUER.not_before, ISSUER.not_after) == (8, VALID_FROM, VALID_UNTIL)
    assert ISSUER.kid != Issuer.from_certificate(certificate(KEY, serial=2)).kid


@pytest.mark.parametrize("broken", [b"", b"\x30\x03\x02\x01\x00", b"-----BEGIN CERTIFICATE-----\n-----END"])
def test_what_is_no_certificate_is_no_issuer(broken: bytes) -> None:
    """A file that is no certificate is named as such."""
    with pytest.raises(ValueError, match=r"not an X\.509 certificate that can be read"):
        Issuer.from_certificate(broken)


def test_a_weak_signer_is_no_issuer() -> None:
    """RSA under 2048 bits is not trusted, whoever says so."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - refused anyway
    with pytest.raises(ValueError, match="neither on a NIST curve nor RSA of 2048 bits"):
        Issuer.from_certificate(certificate(weak))


def test_all_signers_that_share_a_kid_are_tried() -> None:
    """Two certificates may share a kid; the one whose key it was decides what it was for."""
    other = replace(OTHER_ISSUER, kid=ISSUER.kid, uses=frozenset({Use.TEST}))
    assert read(hc1(KEY, ISSUER), keyring(other, ISSUER)) == _held(VACCINATED)
    assert _refused(read(hc1(OTHER_KEY, ISSUER), keyring(ISSUER, other)))[0] is Reason.ISSUER_NOT_ENTITLED


def test_one_key_with_two_certificates_may_sign_what_either_allows() -> None:
    """A key that is certified twice under one kid is entitled by either."""
    for_tests = replace(ISSUER, uses=frozenset({Use.TEST}))
    assert read(hc1(KEY, ISSUER), keyring(for_tests, ISSUER)) == _held(VACCINATED)


def test_an_unknown_signer_and_a_forgery_are_told_apart() -> None:
    """Nobody's kid is unknown; a trusted kid over another's signature is a forgery."""
    assert _refused(read(hc1(OTHER_KEY, OTHER_ISSUER), RING))[0] is Reason.ISSUER_UNKNOWN
    assert _refused(read(hc1(OTHER_KEY, ISSUER), RING))[0] is Reason.SIGNATURE_INVALID


def test_the_city_s_key_signs_no_certificate() -> None:
    """A key for declarations is not one for certificates, though its kid were named."""
    city = Issuer(kid=b"city-key", key=KEY.public_key(), uses=frozenset({Use.DECLARATION}))
    assert _refused(read(hc1(KEY, city), keyring(city))) == (Reason.ISSUER_NOT_ENTITLED, "issuer")


@pytest.mark.parametrize("algorithm", [-35, -36, -38, -8, -257, 5, 0, "ES256", None])
def test_a_wrong_algorithm_is_malformed(algorithm: object) -> None:
    """No third algorithm is tried (the public list's CO4)."""
    cose = message(KEY, ISSUER.kid, claims(payload()), protected={1: algorithm, 4: ISSUER.kid})
    assert _refused(read(wrapped(cose), RING)) == (Reason.MALFORMED, "header")


def test_an_algorithm_that_is_not_the_key_s_is_no_signature() -> None:
    """ES256 said over an RSA key's, or PS256 over an elliptic curve's, is invalid (the public list's CO27)."""
    for key, issuer, algorithm in ((KEY, ISSUER, -37), (RSA_KEY, RSA_ISSUER, -7)):
        cose = message(key, issuer.kid, claims(payload()), protected={1: algorithm, 4: issuer.kid})
        assert _refused(read(wrapped(cose), RING))[0] is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("length", [0, 1, 63, 65, 70, 71, 72, 128, 1000])
def test_a_signature_of_wrong_length_is_only_invalid(length: int) -> None:
    """Longer than two numbers of the curve, or shorter: refused, not crashed on (the public list's CO24)."""
    parts = cbor2.loads(message(KEY, ISSUER.kid, claims(payload()))).value
    for signature in (b"\x00" * length, b"\x5a" * length, (parts[3] * 16)[:length]):
        cose = cbor2.dumps([*parts[:3], signature])
        assert _refused(read(wrapped(cose), RING))[0] is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("length", [0, 1, 7, 9, 16, 32, 300])
def test_a_kid_of_wrong_length_is_nobody_s(length: int) -> None:
    """Shorter and longer kids match no certificate by a part (the public list's CO25 and CO26)."""
    cose = message(KEY, (ISSUER.kid * 40)[:length], claims(payload()))
    assert _refused(read(wrapped(cose), RING))[0] is Reason.ISSUER_UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        b"HC1:",
        b"HC1:A",
        b"HC1:abc",
        b"HC1:::::::",
        "HC1:Nguyễn".encode(),
        b"HC1:" + base45.b45encode(message(KEY, ISSUER.kid, claims(payload()))),
        b"HC1:" + base45.b45encode(zlib.compress(message(KEY, ISSUER.kid, claims(payload())))[:-1]),
        b"HC1:" + base45.b45encode(zlib.compress(message(KEY, ISSUER.kid, claims(payload()))) + b"\x00"),
        b"HC1:" + base45.b45encode(zlib.compress(bytes(MAX_INFLATED + 1))),
        b"HC1:" + base45.b45encode(zlib.compress(bytes(1_500_000))),
        b"HC1:" + base45.b45encode(zlib.compress(b"")),
    ],
)
def test_text_that_carries_no_message_is_malformed(text: bytes) -> None:
    """Not base45, not compressed, cut off, followed by more, or a bomb: all the same, and at once."""
    assert _refused(read(text, RING))[0] is Reason.MALFORMED


def test_a_message_beyond_the_bound_is_not_read_whoever_signed_it() -> None:
    """What unpacks to more than 16 KiB is refused as text, before its signature."""
    allowed, beyond = (claims({**payload(), "x": "x" * length}) for length in (MAX_INFLATED - 1_000, MAX_INFLATED))
    assert read(wrapped(message(KEY, ISSUER.kid, allowed)), RING) == _held(VACCINATED)
    assert _refused(read(wrapped(message(KEY, ISSUER.kid, beyond)), RING)) == (Reason.MALFORMED, "text")


def test_content_is_not_judged_before_the_signature() -> None:
    """Broken content by a stranger is a stranger's."""
    assert _refused(read(hc1(OTHER_KEY, OTHER_ISSUER, {}), RING))[0] is Reason.ISSUER_UNKNOWN
    assert _refused(read(hc1(OTHER_KEY, ISSUER, {}), RING))[0] is Reason.SIGNATURE_INVALID


def test_no_bit_of_what_is_signed_can_be_changed() -> None:
    """Whichever bit of header, content or signature is another: refused."""
    parts = cbor2.loads(message(KEY, ISSUER.kid, claims(payload()))).value
    for part in (0, 2, 3):
        for at in range(0, 8 * len(parts[part]), 7):
            changed = bytearray(parts[part])
            changed[at // 8] ^= 1 << at % 8
            cose = cbor2.dumps([bytes(changed) if place == part else each for place, each in enumerate(parts)])
            assert isinstance(read(wrapped(cose), RING), Refusal), (part, at)


def _faulty(**changes: object) -> list[str]:
    return schema_faults({**payload(v=[VACCINATION | changes]), "ver": "1.3.0"})


def test_what_the_schema_allows_has_no_fault() -> None:
    """Certificates of all three kinds keep the EU's rules."""
    for events in ALL_EVENTS.values():
        assert schema_faults(payload(**events), ISSUED.date()) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"dn": 0}, "dn: not a count"),
        ({"dn": 1.0}, "dn: not a count"),
        ({"dt": ""}, "dt: not a day"),
        ({"co": "XY"}, "co: not a country"),
        ({"co": ""}, "co: not a country"),
        ({"ma": "ORG-99999999"}, "ma: no such number"),
        ({"is": "x" * 81}, "is: not a short text"),
        ({"mp": None}, "mp: not a short text"),
    ],
)
def test_the_schema_is_stricter_than_the_door(changes: dict[str, object], fault: str) -> None:
    """Each fault is named by field; the door reads the certificate all the same."""
    assert _faulty(**changes) == [fault]
    assert isinstance(_vaccination(**changes), Credential)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"ver": "1.3"}, "ver: not three numbers"),
        ({"dob": "1815-08-24"}, "dob: not a date from 1900 on, nor a part of one"),
        ({"dob": "2023-01-01"}, "dob: after the day of issue"),
        ({"dob": None}, "dob: not a date from 1900 on, nor a part of one"),
        ({"nam": {}}, "nam: no standardised name"),
        ({"nam": None}, "nam: not a map"),
        ({"nam": {"fnt": "Nguyen"}}, "fnt: not capitals and fillers"),
        ({"nam": {"fnt": "NGUYEN", "gn": "\U0001f600", "gnt": ""}}, "gnt: empty, and the name is not"),
        ({"v": []}, "v: not a list of one"),
        ({"t": [TEST]}, "events: not one of v, t and r"),
        ({"v": [{name: value for name, value in VACCINATION.items() if name != "sd"}]}, "sd: missing"),
    ],
)
def test_what_breaks_the_schema_is_named(changes: Parts, fault: str) -> None:
    """One broken field gives one fault, without its content."""
    assert schema_faults(payload() | changes, ISSUED.date()) == [fault]


def test_a_rapid_test_s_number_must_be_one_that_was_given() -> None:
    """A device that the EU never listed is a fault."""
    assert schema_faults(payload(t=[TEST | {"ma": "9999", "tt": "LP217198-3"}])) == ["ma: no such number"]
    assert schema_faults(payload(t=[TEST | {"ma": "1304", "tt": "LP217198-3"}])) == []


def test_the_older_schema_let_more_by() -> None:
    """Several events, null lists, doses of 0 and an empty country were no faults before 1.3."""
    old = payload(v=[VACCINATION | {"dn": 0, "co": ""}, VACCINATION], t=None) | {"ver": "1.2.1"}
    assert schema_faults(old) == []
    assert schema_faults(old | {"ver": "1.3.0"}) == ["events: not one of v, t and r"]


def test_the_keyring_keeps_both_kinds_of_issuers() -> None:
    """Adding certificates takes no declaration key away."""
    city = Issuer(kid=b"city-key", key=KEY.public_key(), uses=frozenset({Use.DECLARATION}))
    ring = Keyring(subject_key=SUBJECT_KEY, issuers={city.kid: (city,)}).with_issuers([ISSUER, ISSUER])
    assert ring.issuers == {city.kid: (city,), ISSUER.kid: (ISSUER, ISSUER)}
