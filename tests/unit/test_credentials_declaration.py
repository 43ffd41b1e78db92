import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import pytest
import zxingcpp
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from city.declare import declaration_payload, qr, sign, write_png
from city.signing import load_key, new_key, public_pem
from kiosk.credentials import Keyring, initials_of, read, subject_of
from kiosk.credentials.cose import kid_of
from kiosk.credentials.issuer import CERTIFICATE_USES
from kiosk.messages import Credential, Declaration, Reason, Refusal, Scheme, Symptom, Visit

DOC = Path(__file__).parents[2] / "docs" / "declaration.md"

SUBJECT_KEY = b"k" * 32
PRIVATE_PEM = new_key()
KEY = load_key(PRIVATE_PEM)
KEYRING = Keyring.from_pem(subject_key=SUBJECT_KEY, issuer_pems=[public_pem(PRIVATE_PEM)])
STRANGER = load_key(new_key())

SUBJECT = subject_of("id", "048090000001", SUBJECT_KEY)
ISSUED = datetime(2021, 11, 20, 1, 0, tzinfo=UTC)
IAT = int(ISSUED.timestamp())
HEALTH = -70001
CLAIMS: dict[int, object] = {
    2: SUBJECT,
    4: IAT + 86400,
    6: IAT,
    HEALTH: {1: "N.V.A.", 2: 0, 3: [], 4: False, 5: False},
}
HEALTHY = declaration_payload(key=KEY, sub=SUBJECT, initials="N.V.A.", issued_at=ISSUED)
MOST_VISITS = [Visit(area="20194", left_on=date(2021, 11, day)) for day in range(1, 9)]
LARGEST = declaration_payload(
    key=KEY,
    sub=SUBJECT,
    initials="Ễ.Ữ.Ợ.Ặ.",
    issued_at=ISSUED,
    lifetime=timedelta(days=7),
    symptoms=tuple(Symptom),
    visits=MOST_VISITS,
    contact=True,
    by_proxy=True,
)


def _with_health(**changes: object) -> dict[int, object]:
    health: dict[int, object] = {1: "N.V.A.", 2: 0, 3: [], 4: False, 5: False}
    names = {"initials": 1, "symptoms": 2, "visits": 3, "contact": 4, "by_proxy": 5}
    return CLAIMS | {HEALTH: health | {names[name]: value for name, value in changes.items()}}


def _credential(declaration: Declaration, initials: str = "N.V.A.") -> Credential:
    return Credential(scheme=Scheme.DECLARATION, subject=SUBJECT, initials=initials, declaration=declaration)


def _facts(payload: bytes, keyring: Keyring = KEYRING) -> Credential | Refusal:
    """What is read, but for its digest, which is another for each content."""
    result = read(payload, keyring)
    return result if isinstance(result, Refusal) else replace(result, digest=b"")


def _refused(payload: bytes, keyring: Keyring = KEYRING) -> tuple[Reason, Scheme | None]:
    refusal = read(payload, keyring)
    assert isinstance(refusal, Refusal)
    return refusal.reason, refusal.scheme


def test_a_healthy_declaration_says_so() -> None:
    """By default a declaration is for 24 hours and declares nothing."""
    assert _facts(HEALTHY) == _credential(
        Declaration(
            issued_at=ISSUED,
            expires_at=ISSUED + timedelta(hours=24),
            symptoms=(),
            visits=(),
            contact=False,
            by_proxy=False,
        )
    )


def test_the_largest_declaration_is_read_whole() -> None:
    """All symptoms, eight visits with commune codes, seven days and four accented initials come back."""
    assert _facts(LARGEST) == _credential(
        Declaration(
            issued_at=ISSUED,
            expires_at=ISSUED + timedelta(days=7),
            symptoms=(Symptom.COUGH, Symptom.FEVER, Symptom.SHORT_OF_BREATH),
            visits=tuple(MOST_VISITS),
            contact=True,
            by_proxy=True,
        ),
        "Ễ.Ữ.Ợ.Ặ.",
    )


def test_codes_stay_small_enough_to_print_on_a_card() -> None:
    """A healthy code is QR version 9, the largest version 12, both in alphanumeric mode at level M."""
    codes = [qr(HEALTHY), qr(LARGEST)]
    assert [(code.version, code.mode, code.error) for code in codes] == [
        (9, "alphanumeric", "M"),
        (12, "alphanumeric", "M"),
    ]
    assert [len(HEALTHY), len(LARGEST)] == [239, 374]


def test_a_written_picture_holds_the_payload(tmp_path: Path) -> None:
    """Another library reads from the PNG exactly the bytes that were signed."""
    picture = tmp_path / "code.png"
    write_png(LARGEST, picture, scale=4)
    image = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert [code.bytes for code in zxingcpp.read_barcodes(image)] == [LARGEST]


def test_an_expired_declaration_is_still_a_credential() -> None:
    """Expiry is a fact that goes on, not a refusal."""
    old = declaration_payload(
        key=KEY,
        sub=SUBJECT,
        initials="N.V.A.",
        issued_at=datetime(2020, 1, 1, tzinfo=UTC),
        lifetime=timedelta(seconds=1),
    )
    credential = read(old, KEYRING)
    assert isinstance(credential, Credential)
    assert credential.declaration is not None
    assert credential.declaration.expires_at == datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_a_declaration_and_the_identity_card_give_one_subject() -> None:
    """Whoever shows the card after the declaration is recognised."""
    card = "048090000001||Nguyễn Văn An|01021990|Nam|Đà Nẵng|15042021".encode()
    subjects = {result.subject for result in map(_read, (HEALTHY, card)) if isinstance(result, Credential)}
    assert subjects == {SUBJECT}


def _read(payload: bytes) -> Credential | Refusal:
    return read(payload, KEYRING)


def test_a_code_bears_neither_number_nor_name() -> None:
    """The person appears as pseudonym and initials only: the same code comes from any name with these initials."""
    first, second = (
        sign(CLAIMS | {HEALTH: {1: initials_of(name), 2: 0, 3: [], 4: False, 5: False}}, key=KEY)
        for name in ("Nguyễn Văn An", "Ngô Vĩnh Anh")
    )
    assert read(first, KEYRING) == read(second, KEYRING) == read(HEALTHY, KEYRING)


def test_an_unknown_issuer_is_refused() -> None:
    """A declaration by a key the kiosk was not given is not read further."""
    stranger = declaration_payload(key=STRANGER, sub=SUBJECT, initials="N.V.A.", issued_at=ISSUED)
    assert _refused(stranger) == (Reason.ISSUER_UNKNOWN, Scheme.DECLARATION)


def test_a_forgery_under_a_trusted_kid_is_refused() -> None:
    """Naming the city's key does not help who cannot sign with it."""
    forged = declaration_payload(
        key=STRANGER, kid=kid_of(KEY.public_key()), sub=SUBJECT, initials="N.V.A.", issued_at=ISSUED
    )
    assert _refused(forged) == (Reason.SIGNATURE_INVALID, Scheme.DECLARATION)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"uses": CERTIFICATE_USES}, "issuer: may not sign declarations"),
        ({"not_before": ISSUED + timedelta(seconds=1)}, "issuer: might not sign at the time of issue"),
        ({"not_after": ISSUED - timedelta(seconds=1)}, "issuer: might not sign at the time of issue"),
    ],
)
def test_an_issuer_signs_declarations_only_if_and_while_it_may(change: dict[str, Any], detail: str) -> None:
    """A key for certificates signs no declaration, and a key signs none outside its own time."""
    ((kid, (issuer,)),) = KEYRING.issuers.items()
    ring = Keyring(subject_key=SUBJECT_KEY, issuers={kid: (replace(issuer, **change),)})
    assert read(HEALTHY, ring) == Refusal(reason=Reason.ISSUER_NOT_ENTITLED, detail=detail, scheme=Scheme.DECLARATION)
    in_time = replace(issuer, not_before=ISSUED, not_after=ISSUED)
    assert read(HEALTHY, Keyring(subject_key=SUBJECT_KEY, issuers={kid: (in_time,)})) == read(HEALTHY, KEYRING)


def test_content_is_not_judged_before_the_signature() -> None:
    """Broken claims by a stranger are a stranger's: the refusal tells nothing about them."""
    assert _refused(sign({}, key=STRANGER)) == (Reason.ISSUER_UNKNOWN, Scheme.DECLARATION)
    assert _refused(sign({}, key=STRANGER, kid=kid_of(KEY.public_key())))[0] is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "payload",
    [
        b"TKYT1:",
        b"TKYT1:A",
        b"TKYT1:AB",
        b"TKYT1:abc",
        b"TKYT1:???",
        b"TKYT1:::::::",
        "TKYT1:Nguyễn".encode(),
        b"TKYT1:" + b"0" * 763,
        b"TKYT1:" + b"0" * 2000,
        HEALTHY[:-1],
        HEALTHY[:-3],
        HEALTHY + b"0",
        HEALTHY + b"000",
        HEALTHY + HEALTHY,
        HEALTHY.lower().replace(b"tkyt1", b"TKYT1"),
    ],
)
def test_text_that_carries_no_message_is_malformed(payload: bytes) -> None:
    """After the prefix only base45 of one whole message, of bounded length, counts."""
    assert _refused(payload) == (Reason.MALFORMED, Scheme.DECLARATION)


def test_a_text_beyond_the_limit_is_not_even_decoded() -> None:
    """Above 768 characters a declaration is refused as text, whoever signed it."""
    refusal = read(sign(CLAIMS | {1: "x" * 600}, key=KEY), KEYRING)
    assert refusal == Refusal(
        reason=Reason.MALFORMED, detail="text: not base45, or too long", scheme=Scheme.DECLARATION
    )


@pytest.mark.parametrize(
    ("claims", "field"),
    [
        ({}, "claims"),
        ({claim: value for claim, value in CLAIMS.items() if claim != 6}, "claims"),
        (CLAIMS | {5: IAT}, "claims"),
        (CLAIMS | {"extra": 1}, "claims"),
        (CLAIMS | {HEALTH: []}, "claims"),
        (CLAIMS | {HEALTH: {}}, "health claim"),
        (CLAIMS | {HEALTH: {1: "N.", 2: 0, 3: [], 4: False, 5: False, 6: True}}, "health claim"),
        (CLAIMS | {1: ""}, "iss"),
        (CLAIMS | {1: "too long for us"}, "iss"),
        (CLAIMS | {1: 7}, "iss"),
        (CLAIMS | {2: SUBJECT.upper()}, "sub"),
        (CLAIMS | {2: "048090000001"}, "sub"),
        (CLAIMS | {2: bytes.fromhex(SUBJECT)}, "sub"),
        (CLAIMS | {6: float(IAT)}, "iat"),
        (CLAIMS | {6: True}, "iat"),
        (CLAIMS | {6: -1}, "iat"),
        (CLAIMS | {6: 2**63}, "iat"),
        (CLAIMS | {6: datetime(2021, 11, 20, tzinfo=UTC)}, "iat"),
        (CLAIMS | {4: IAT + 0.5}, "exp"),
        (CLAIMS | {4: 2**64 - 1}, "exp"),
        (CLAIMS | {4: IAT}, "exp"),
        (CLAIMS | {4: IAT - 1}, "exp"),
        (CLAIMS | {4: IAT + 7 * 86400 + 1}, "exp"),
        (_with_health(initials=""), "initials"),
        (_with_health(initials=None), "initials"),
        (_with_health(initials="Nguyễn"), "initials"),
        (_with_health(initials="N.V.A"), "initials"),
        (_with_health(initials="N.V.A.B.C."), "initials"),
        (_with_health(initials="1.2."), "initials"),
        (_with_health(symptoms=8), "symptoms"),
        (_with_health(symptoms=9), "symptoms"),
        (_with_health(symptoms=-1), "symptoms"),
        (_with_health(symptoms=False), "symptoms"),
        (_with_health(symptoms=["cough"]), "symptoms"),
        (_with_health(visits={}), "visits"),
        (_with_health(visits=[["48", 18951]] * 9), "visits"),
        (_with_health(visits=[["48"]]), "visits"),
        (_with_health(visits=[["4", 18951]]), "visits"),
        (_with_health(visits=[["Đà Nẵng", 18951]]), "visits"),
        (_with_health(visits=[[48, 18951]]), "visits"),
        (_with_health(visits=[["48", -1]]), "visits"),
        (_with_health(visits=[["48", "2021-11-20"]]), "visits"),
        (_with_health(visits=["48"]), "visits"),
        (_with_health(contact=0), "contact"),
        (_with_health(by_proxy=None), "by proxy"),
    ],
)
def test_a_signed_but_broken_claim_is_named(claims: dict[int, object], field: str) -> None:
    """Even the city's own signature does not carry a claim this version does not know; nothing reads as healthy."""
    refusal = read(sign(claims, key=KEY), KEYRING)
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.scheme) == (Reason.MALFORMED, Scheme.DECLARATION)
    assert refusal.detail.startswith(f"{field}:")


def test_a_short_issuer_name_is_let_through() -> None:
    """`iss` is optional and changes nothing: the kid names the issuer."""
    assert _facts(sign(CLAIMS | {1: "DN"}, key=KEY)) == _facts(HEALTHY)


def test_the_office_does_not_write_what_kiosks_refuse() -> None:
    """A lifetime or a number of visits beyond the format stops at the issuing office."""
    for lifetime in (timedelta(), timedelta(days=7, seconds=1), timedelta(milliseconds=1)):
        with pytest.raises(ValueError, match="at least a second and at most 7 days"):
            declaration_payload(key=KEY, sub=SUBJECT, initials="N.", issued_at=ISSUED, lifetime=lifetime)
    with pytest.raises(ValueError, match="at most 8 visits, not 9"):
        declaration_payload(
            key=KEY, sub=SUBJECT, initials="N.", issued_at=ISSUED, visits=[*MOST_VISITS, MOST_VISITS[0]]
        )


def test_an_issuing_key_of_the_wrong_kind_is_refused() -> None:
    """Only unencrypted P-256 private keys sign declarations."""
    with pytest.raises(ValueError, match="not an unencrypted private key"):
        load_key(public_pem(PRIVATE_PEM))
    p384 = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(ValueError, match="not an elliptic-curve key on P-256"):
        load_key(p384.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _block(text: str, title: str) -> str:
    found = re.search(rf"{title}:\n\n```text\n(.*?)\n```", text, re.DOTALL)
    assert found is not None, title
    return found.group(1)


def test_the_documented_example_decodes_as_documented() -> None:
    """docs/declaration.md shows a real code under a real key, and says what it holds."""
    doc = DOC.read_text("utf-8")
    subject_key = bytes.fromhex(_block(doc, "Subject key"))
    private_pem = _block(doc, "Private key").encode()
    public = _block(doc, "Public key").encode() + b"\n"
    assert public_pem(private_pem) == public
    assert kid_of(load_key(private_pem).public_key()).hex() == _block(doc, "kid")
    payload = _block(doc, "Text of the code").encode()
    keyring = Keyring.from_pem(subject_key=subject_key, issuer_pems=[public])
    assert _facts(payload, keyring) == Credential(
        scheme=Scheme.DECLARATION,
        subject=subject_of("id", _block(doc, "Number"), subject_key),
        initials=initials_of(_block(doc, "Name")),
        declaration=Declaration(
            issued_at=datetime(2021, 11, 20, 1, 0, tzinfo=UTC),
            expires_at=datetime(2021, 11, 21, 1, 0, tzinfo=UTC),
            symptoms=(Symptom.COUGH,),
            visits=(Visit(area="79", left_on=date(2021, 11, 15)),),
            contact=False,
            by_proxy=True,
        ),
    )
    assert _block(doc, "Subject") == subject_of("id", _block(doc, "Number"), subject_key)
