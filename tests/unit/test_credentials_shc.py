from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kiosk.credentials import Keyring, read, subject_of
from kiosk.credentials.issuer import Issuer, Use
from kiosk.credentials.packing import MAX_INFLATED
from kiosk.messages import Certificate, CertificateKind, Credential, Reason, Refusal, Scheme
from tests.health_certificates import (
    COVID,
    EXPIRES,
    ISSUED,
    PATIENT,
    SUBJECT_KEY,
    URL,
    card,
    certificate,
    coded,
    digits,
    dose,
    hc1,
    jwk,
    jws,
    keyring,
    result,
    signature,
)

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = Issuer.from_jwk(jwk(KEY), url=URL)
RING = keyring(ISSUER)
NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

VACCINATED = Certificate(
    kind=CertificateKind.VACCINATION,
    country="",
    issued_at=ISSUED,
    expires_at=NEVER,
    on=date(2021, 9, 15),
    product="208",
    dose=2,
)
TESTED = Certificate(
    kind=CertificateKind.TEST,
    country="",
    issued_at=ISSUED,
    expires_at=NEVER,
    on=date(2021, 12, 19),
    product="94558-4",
    detected=False,
)
TWO_DOSES = (PATIENT, dose("2021-08-20"), dose("2021-09-15"))


def _held(fact: Certificate, initials: str = "N.V.A.", names: str = "NGUYEN|VANAN|1990-02-01") -> Credential:
    return Credential(
        scheme=Scheme.SHC, subject=subject_of("cert", names, SUBJECT_KEY), initials=initials, certificate=fact
    )


def _read(content: object, ring: Keyring = RING) -> Credential | Refusal:
    """The card as read, but for its digest, which is another for each."""
    result = read(digits(jws(KEY, content)), ring)
    return result if isinstance(result, Refusal) else replace(result, digest=b"")


def _refused(result: Credential | Refusal) -> tuple[Reason, str]:
    assert isinstance(result, Refusal)
    assert result.scheme is Scheme.SHC
    return result.reason, result.detail.partition(":")[0]


def test_doses_are_counted_and_the_latest_tells_the_day() -> None:
    """Two entries are two doses; their order in the card does not matter."""
    assert _read(card(*TWO_DOSES)) == _held(VACCINATED)
    assert _read(card(*reversed(TWO_DOSES))) == _held(VACCINATED)


def test_a_card_and_an_hc1_certificate_give_one_subject() -> None:
    """Who shows a card today and a certificate tomorrow is recognised."""
    signer = Issuer.from_certificate(certificate(OTHER_KEY))
    ring = keyring(ISSUER, signer)
    results = (_read(card(*TWO_DOSES), ring), read(hc1(OTHER_KEY, signer), ring))
    assert [r.subject for r in results if isinstance(r, Credential)] == [_held(VACCINATED).subject] * 2


def test_a_laboratory_result_is_a_test() -> None:
    """The latest final result counts, detected or not."""
    assert _read(card(PATIENT, result("2021-12-19"))) == _held(TESTED)
    later = result("2021-12-20T08:00:00+07:00", "260373001")
    assert _read(card(PATIENT, later, result("2021-12-19"))) == _held(
        replace(TESTED, on=date(2021, 12, 20), detected=True)
    )
    assert _read(card(PATIENT, result("2021-12-19", "1"))) == _held(replace(TESTED, detected=None))


def test_a_card_with_both_is_a_vaccination() -> None:
    """A test beside the doses changes nothing."""
    assert _read(card(*TWO_DOSES, result("2021-12-19"))) == _held(VACCINATED)


@pytest.mark.parametrize(
    "entry",
    [
        dose("2021-10-01", "141"),
        dose("2021-10-01", "2081"),
        dose("2021-10-01", status="entered-in-error"),
        dose("2021-10-01", vaccineCode=None),
        dose("2021-10-01", vaccineCode={"coding": [None, "208"]}),
        {"resourceType": "Location"},
        None,
        "text",
    ],
)
def test_other_entries_do_not_count(entry: object) -> None:
    """A flu shot, a dose not given and whatever else stands in a card is no dose against COVID-19."""
    assert _read(card(*TWO_DOSES, entry)) == _held(VACCINATED)


def test_codes_of_other_lists_count_where_the_card_is_for_covid() -> None:
    """A vaccine under an ATC code is told by the card's own type."""
    other = dose("2021-09-15", vaccineCode={"coding": [{"system": "http://www.whocc.no/atc", "code": "J07BX03"}]})
    assert _read(card(PATIENT, other)) == _held(replace(VACCINATED, dose=1, product="J07BX03"))
    assert _refused(_read(card(PATIENT, other, types=COVID[:1])))[0] is Reason.MALFORMED


def test_a_dose_without_a_day_counts() -> None:
    """What is not told is not guessed."""
    undated = dose("", occurrenceDateTime=None)
    assert _read(card(PATIENT, undated)) == _held(replace(VACCINATED, dose=1, on=None))


def test_an_end_is_read_where_a_card_has_one() -> None:
    """Cards rarely expire; one that does says so."""
    assert _read(card(*TWO_DOSES, exp=EXPIRES.timestamp())) == _held(replace(VACCINATED, expires_at=EXPIRES))


@pytest.mark.parametrize("change", [{"nbf": None}, {"nbf": "2021"}, {"nbf": 1.6e12}, {"exp": None}, {"exp": -1}])
def test_times_must_be_seconds(change: dict[str, object]) -> None:
    """Milliseconds, texts and nulls are no times."""
    assert _refused(_read(card(*TWO_DOSES, **change))) == (Reason.MALFORMED, "nbf or exp")


@pytest.mark.parametrize(
    "content",
    [
        card(),
        card(PATIENT),
        card(*TWO_DOSES[1:]),
        card(*TWO_DOSES, PATIENT),
        card(PATIENT, result("2021-12-19", status="preliminary")),
        card(PATIENT, result("2021-12-19"), types=COVID[:1]),
        card(*TWO_DOSES, vc=None),
        card(*TWO_DOSES, vc={"credentialSubject": {"fhirBundle": {"entry": {}}}}),
    ],
)
def test_a_card_without_one_patient_and_an_event_is_malformed(content: object) -> None:
    """Several patients, none, or nothing about COVID-19."""
    assert _refused(_read(content)) == (Reason.MALFORMED, "bundle")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"name": []},
        {"name": [{}]},
        {"name": [{"family": 5, "given": [None, "1"]}]},
        {"birthDate": None},
        {"birthDate": "1990"},
        {"birthDate": "1990-02"},
    ],
)
def test_a_patient_who_cannot_be_told_apart_is_malformed(changes: dict[str, object]) -> None:
    """Name and whole birth date are the person; a card has no number."""
    assert _refused(_read(card({**PATIENT, **changes}, *TWO_DOSES[1:]))) == (Reason.MALFORMED, "patient")


@pytest.mark.parametrize("header", [{"alg": "RS256"}, {"alg": "none"}, {"alg": None}, {"zip": "GZ"}, {"zip": None}])
def test_another_algorithm_is_malformed(header: dict[str, object]) -> None:
    """ES256 over DEFLATE, and no other, least of all none."""
    assert _refused(read(digits(jws(KEY, card(*TWO_DOSES), **header)), RING)) == (Reason.MALFORMED, "header")


@pytest.mark.parametrize("kid", [None, "", "x", 5, ["a"], jwk(OTHER_KEY)["kid"], f"{jwk(KEY)['kid']}="])
def test_an_unknown_key_is_nobody_s(kid: object) -> None:
    """A kid that was not trusted, or is none."""
    assert _refused(read(digits(jws(KEY, card(*TWO_DOSES), kid=kid)), RING)) == (Reason.ISSUER_UNKNOWN, "header")


def test_a_key_speaks_for_its_own_issuer_only() -> None:
    """A card that names another issuer than the key's is not that issuer's."""
    assert _refused(_read(card(*TWO_DOSES, iss="https://other.example"))) == (Reason.ISSUER_UNKNOWN, "iss")
    assert _refused(_read(card(*TWO_DOSES, iss=None))) == (Reason.ISSUER_UNKNOWN, "iss")


def test_a_forgery_under_a_trusted_kid_is_refused() -> None:
    """Naming a key does not help who cannot sign with it."""
    forged = jws(OTHER_KEY, card(*TWO_DOSES), kid=jwk(KEY)["kid"])
    assert _refused(read(digits(forged), RING))[0] is Reason.SIGNATURE_INVALID


def test_an_issuer_signs_only_what_it_is_for() -> None:
    """A laboratory's key signs no vaccination."""
    laboratory = keyring(replace(ISSUER, uses=frozenset({Use.TEST})))
    assert _refused(_read(card(*TWO_DOSES), laboratory)) == (Reason.ISSUER_NOT_ENTITLED, "issuer")
    assert _read(card(PATIENT, result("2021-12-19")), laboratory) == _held(TESTED)


def test_a_key_s_own_time_binds_its_cards() -> None:
    """Where the city gave a key dates, a card issued outside them is refused, and one inside ends with the key."""
    end = datetime(2022, 1, 1, tzinfo=UTC)
    assert _read(card(*TWO_DOSES), keyring(replace(ISSUER, not_before=ISSUED, not_after=end))) == _held(
        replace(VACCINATED, expires_at=end)
    )
    late = keyring(replace(ISSUER, not_before=end))
    assert _refused(_read(card(*TWO_DOSES), late)) == (Reason.ISSUER_NOT_ENTITLED, "issuer")


@pytest.mark.parametrize("text", [b"shc:/1/3/5676", b"shc:/2/3/", b"shc:/1/1/567629095243"])
def test_a_part_of_a_card_in_several_codes_is_refused_as_that(text: bytes) -> None:
    """The guard learns that this is a card, and why it is not read."""
    assert read(text, RING) == Refusal(
        reason=Reason.UNSUPPORTED_CERTIFICATE,
        detail="payload: one part of a card in several codes, not read",
        scheme=Scheme.SHC,
    )


GOOD = jws(KEY, card(*TWO_DOSES))


@pytest.mark.parametrize(
    "text",
    [
        b"shc:/",
        b"shc:/5",
        b"shc:/567",
        b"shc:/78",
        b"shc:/eyJ",
        "shc:/\u0665\u0666".encode(),
        digits(GOOD)[:-1],
        digits(GOOD.replace(".", "")),
        digits(f"{GOOD}.{GOOD}"),
        digits(f"{'A' * 300}{GOOD}"),
        digits("e30.e30.e30"),
        digits(f"{coded(b'[' * 150)}.x.x"),
    ],
)
def test_text_that_is_no_card_is_malformed(text: bytes) -> None:
    """Half a pair, a pair beyond the alphabet, other than three parts, or a header that is no map."""
    assert _refused(read(text, RING))[0] is Reason.MALFORMED


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"[" * 9000, b"1" * 9000, b"\xff", b" " * (MAX_INFLATED + 1), b" " * 600_000],
)
def test_signed_content_that_is_no_map_is_nobody_s(content: bytes) -> None:
    """Deep, huge, broken or too large content under a good signature ends in a refusal."""
    assert _refused(read(digits(jws(KEY, content)), RING)) == (Reason.ISSUER_UNKNOWN, "iss")


def test_no_digit_of_a_card_can_be_changed() -> None:
    """Whichever digit is another: refused; the signature has one spelling only."""
    text = digits(GOOD)
    for at in (*range(5, len(text), 61), *range(len(text) - 6, len(text))):
        for other in b"0123456789":
            changed = text[:at] + bytes([other]) + text[at + 1 :]
            assert isinstance(read(changed, RING), Refusal) is (changed != text), at


def test_a_signature_in_another_encoding_is_invalid() -> None:
    """DER in place of the two numbers, as some libraries sign."""
    body = GOOD.rpartition(".")[0]
    raw = signature(KEY, body.encode())
    for other in (b"", raw + b"\x00", raw[:63], b"\x30\x44\x02\x20" + raw[:32] + b"\x02\x20" + raw[32:]):
        assert _refused(read(digits(f"{body}.{coded(other)}"), RING))[0] is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("change", [{"kty": "RSA"}, {"crv": "P-384"}, {"kid": "x"}, {"kid": None}])
def test_a_key_that_does_not_prove_its_kid_is_no_issuer(change: dict[str, object]) -> None:
    """Only P-256 keys whose kid is their thumbprint are trusted."""
    with pytest.raises(ValueError, match=r"thumbprint|elliptic"):
        Issuer.from_jwk({**jwk(KEY), **change}, url=URL)


def test_an_issuer_needs_a_name() -> None:
    """A key without its issuer's address would speak for anybody."""
    with pytest.raises(ValueError, match="of a named issuer"):
        Issuer.from_jwk(jwk(KEY), url="")


def test_an_hc1_signer_signs_no_card() -> None:
    """A certificate's key has no address, and so no cards, though a card named its kid."""
    signer = replace(Issuer.from_certificate(certificate(KEY)), kid=ISSUER.kid)
    for iss in (URL, ""):
        assert _refused(_read(card(*TWO_DOSES, iss=iss), keyring(signer))) == (Reason.ISSUER_UNKNOWN, "iss")
    wrong_kind = replace(signer, key=rsa.generate_private_key(65537, 2048).public_key(), url=URL)
    assert _refused(_read(card(*TWO_DOSES), keyring(wrong_kind)))[0] is Reason.SIGNATURE_INVALID
