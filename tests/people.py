"""One synthetic person with every code there is, and the words that nothing but a seal may hold."""

from datetime import UTC, date, datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from city import trust
from city.declare import declaration_payload
from city.signing import load_key, new_key
from kiosk.credentials import Keyring, subject_of
from kiosk.credentials.issuer import Issuer, Use
from kiosk.credentials.sealing import Identity, seal_for
from kiosk.messages import Symptom, Visit
from tests.builders import START
from tests.health_certificates import SUBJECT_KEY, URL, VACCINATION, card, certificate, digits, dose, hc1, jwk, jws
from tests.health_certificates import payload as health_payload

NAME, PLAIN_NAME, INITIALS = "Quách Thị Diệu Hương", "QUACH THI DIEU HUONG", "Q.T.D.H."
NUMBER, OLD_NUMBER, INSURANCE, QID = "048199000731", "201777123", "4829900731", "162900000000777123"
PASSPORT, PHONE, ADDRESS = "C7771234", "0905123987", "Tổ 14, Thọ Quang, Sơn Trà, Đà Nẵng"
MOTHER, UVCI = "Trương Thị Khuyên", "URN:UVCI:01:VN:0000000077AB#Q"
BIRTHS = ("1999-02-03", "03021999", "03/02/1999")

AUTHORITY = X25519PrivateKey.generate()
DECLARATIONS = new_key()
SIGNER = ec.generate_private_key(ec.SECP256R1())
HC1_ISSUER, SHC_ISSUER = Issuer.from_certificate(certificate(SIGNER)), Issuer.from_jwk(jwk(SIGNER), url=URL)
ISSUERS = (trust.issuer_of(DECLARATIONS, Use.DECLARATION), HC1_ISSUER, SHC_ISSUER)
AUTHORITY_PEM = AUTHORITY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
LINKS = ("https://khaibaoyte.example/",)
KEYRING = Keyring(subject_key=SUBJECT_KEY, issuers={}, seal=seal_for(AUTHORITY_PEM), links=LINKS).with_issuers(ISSUERS)

_CARD = [NUMBER, OLD_NUMBER, NAME, "03021999", "Nữ", ADDRESS, "15042021"]
_INSURED = [
    *(f"DN448{INSURANCE}", NAME.encode().hex(), "03/02/1999", "2", ADDRESS.encode().hex(), "48 - 001"),
    *("01/01/2021", "31/12/2021", "15/12/2020", f"48{INSURANCE}", MOTHER.encode().hex(), "4", "01/01/2025"),
    *("0123456789abcdef-7102", "$"),
]
_NAMES = {"fn": "Quách", "fnt": "QUACH", "gn": "Thị Diệu Hương", "gnt": "THI<DIEU<HUONG"}
_PATIENT = {
    "resourceType": "Patient",
    "name": [{"family": "Quách", "given": ["Thị", "Diệu", "Hương"]}],
    "birthDate": "1999-02-03",
}


def _text(*fields: str) -> bytes:
    return "|".join(fields).encode()


CODES: dict[str, bytes] = {
    "cccd": _text(*_CARD),
    "cccd, never had an old number": _text(NUMBER, "", *_CARD[2:]),
    "cccd of 2024": _text(*_CARD, "", "Quách Văn Khương", MOTHER, ""),
    "vn1405": _text(NUMBER, PLAIN_NAME, "1999-02-03", "0", QID, f"<2<DN4{INSURANCE}<{PHONE}"),
    "vn1405, masked": _text(f"******{NUMBER[6:]}", PLAIN_NAME, "1999-**-**", "1", QID, f"{QID}<2<<{PHONE}<signature"),
    "vn1405, passport": _text(PASSPORT, PLAIN_NAME, "1999-02-03", "0", QID, ""),
    "vn1405, old number": _text(OLD_NUMBER, PLAIN_NAME, "1999-02-03", "0", "", ""),
    "bhyt": _text(*_INSURED),
    "bhyt, digits alone": _text(INSURANCE, *_INSURED[1:]),
    "hc1": hc1(
        SIGNER,
        HC1_ISSUER,
        {**health_payload(v=[VACCINATION | {"ci": UVCI}]), "nam": _NAMES, "dob": "1999-02-03"},
    ),
    "shc": digits(jws(SIGNER, card(_PATIENT, dose("2021-08-20"), dose("2021-09-15")))),
    "link": f"{LINKS[0]}p/{QID}?phone={PHONE}".encode(),
    "declaration": declaration_payload(
        key=load_key(DECLARATIONS),
        sub=subject_of("id", NUMBER, SUBJECT_KEY),
        initials=INITIALS,
        issued_at=datetime(2021, 11, 22, 0, 0, tzinfo=UTC),
        symptoms=[Symptom.COUGH],
        visits=[Visit(area="79", left_on=date(2021, 11, 15))],
    ),
}
"""Every code of hers."""
assert datetime(2021, 11, 22, 0, 0, tzinfo=UTC) < START

SEALED: dict[str, Identity] = {
    **{
        name: Identity(kind="id", number=NUMBER, name=NAME, born="03021999", address=ADDRESS)
        for name in list(CODES)[:3]
    },
    "vn1405": Identity(kind="id", number=NUMBER, name=PLAIN_NAME, born="1999-02-03", phone=PHONE),
    "vn1405, masked": Identity(
        kind="qid", number=QID, name=PLAIN_NAME, born="1999-**-**", phone=PHONE, document=f"******{NUMBER[6:]}"
    ),
    "vn1405, passport": Identity(kind="qid", number=QID, name=PLAIN_NAME, born="1999-02-03", document=PASSPORT),
    "vn1405, old number": Identity(kind="id", number=OLD_NUMBER, name=PLAIN_NAME, born="1999-02-03"),
    "bhyt": Identity(kind="bhyt", number=INSURANCE, name=NAME, born="03/02/1999", document=f"DN448{INSURANCE}"),
    "bhyt, digits alone": Identity(kind="bhyt", number=INSURANCE, name=NAME, born="03/02/1999", document=INSURANCE),
    "hc1": Identity(kind="cert", number=UVCI, name=NAME, born="1999-02-03"),
}
"""What the health authority gets of each; a SMART Health Card's number is its digest, another for each test run."""


def _runs(number: str) -> set[str]:
    return {number[at : at + 6] for at in range(len(number) - 5)}


_WORDS = {word for text in (NAME, PLAIN_NAME, MOTHER, "Khương") for word in text.split() if len(word) > 4}
PRIVATE = frozenset(
    {
        *(run for number in (NUMBER, OLD_NUMBER, INSURANCE, QID, PHONE, PASSPORT) for run in _runs(number)),
        *_WORDS,
        *(word.encode().hex() for word in _WORDS),
        *("Thọ Quang", "Sơn Trà", ADDRESS.encode().hex()[:20], UVCI, UVCI[-10:]),
        *BIRTHS,
    }
    - {"000000"}
)
"""Six digits in a row of any number of hers, and the words of name and address: long enough never to come by chance."""


def told(text: str) -> list[str]:
    """What a text tells of her that it must not."""
    return sorted(word for word in PRIVATE if word in text)
