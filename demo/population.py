"""Who comes to the door in the demo, and what each of them should get.

A seeded mix: every kind once, then by weight. It writes the codes; the daemon never sees this module. Every name and
number in it is made up.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import base45
from cryptography.hazmat.primitives.asymmetric import ec

from city.declare import declaration_payload
from kiosk.credentials.cose import kid_of
from kiosk.credentials.subject import subject_of
from kiosk.messages import Decision, Reason, Scheme, Symptom, Visit
from kiosk.testing.visitors import Medium, Showing

MALE_1990 = "048090{serial:06d}"
"""Da Nang, a man, born in 1990; see domain rules in kiosk/credentials/cccd.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one code should lead to. `or_left`: it may also have gone before its turn, somebody else being judged."""

    decision: Decision
    reason: Reason
    scheme: Scheme | None
    alert: bool = False
    or_left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """One visit: what is held up, and what should come of each code."""

    kind: str
    showing: Showing
    expected: tuple[Expected, ...]


GRANTED = Expected(decision=Decision.GRANTED, reason=Reason.NO_RISK, scheme=Scheme.DECLARATION)


def _denied(reason: Reason, scheme: Scheme | None = None, *, alert: bool = False) -> Expected:
    return Expected(decision=Decision.DENIED, reason=reason, scheme=scheme, alert=alert)


def _held(reason: Reason, scheme: Scheme | None = None) -> Expected:
    return Expected(decision=Decision.HELD, reason=reason, scheme=scheme)


def _risk(reason: Reason) -> Expected:
    return _denied(reason, Scheme.DECLARATION, alert=True)


Codes = list[tuple[bytes, Expected]]


class Population:
    """Makes visitors, each with their own number.

    Args:
        seed: the same seed makes the same mix (signatures differ: ECDSA is randomised).
        issuer: the key the kiosk trusts.
        subject_key: the city's key for pseudonyms.
        now: when the demo begins.
    """

    def __init__(self, seed: int, issuer: ec.EllipticCurvePrivateKey, subject_key: bytes, now: datetime) -> None:
        self._random = random.Random(seed)
        self._issuer = issuer
        self._stranger = ec.generate_private_key(ec.SECP256R1())
        self._subject_key = subject_key
        self._now = now
        self._serial = 0
        self._last_healthy = b""
        self._kinds: dict[str, tuple[Callable[[], Codes], int]] = {
            "healthy": (self._healthy, 12),
            "symptom": (self._symptom, 3),
            "epidemic area": (self._area, 2),
            "contact": (self._contact, 2),
            "expired": (self._expired, 2),
            "forged": (self._forged, 2),
            "unknown issuer": (self._unknown_issuer, 1),
            "ID card": (self._id_card, 3),
            "personal QR": (self._personal_qr, 2),
            "insurance card": (self._insurance_card, 2),
            "broken ID card": (self._broken_card, 1),
            "unknown code": (self._unknown, 2),
            "place code": (self._place, 1),
            "vaccine certificate": (self._certificate, 1),
            "nonsense": (self._nonsense, 1),
            "a command": (self._command, 1),
            "two healthy": (self._two_healthy, 2),
            "healthy and at risk": (self._healthy_and_at_risk, 1),
            "same again": (self._again, 2),
        }

    def visitors(self, number: int) -> list[Visitor]:
        """Draw so many visitors; "same again" follows a healthy one, whose code it is."""
        kinds = list(self._kinds)[:number]
        weights = [weight for _, weight in self._kinds.values()]
        kinds += self._random.choices(list(self._kinds), weights, k=number - len(kinds))
        self._random.shuffle(kinds)
        return [self._visitor(kind) for kind in _after_healthy(kinds)]

    def _visitor(self, kind: str) -> Visitor:
        codes = self._kinds[kind][0]()
        medium = Medium.CARD if "card" in kind else self._random.choice(list(Medium))
        showing = Showing(codes=tuple(code for code, _ in codes), medium=medium, seed=self._random.getrandbits(31))
        return Visitor(kind=kind, showing=showing, expected=tuple(expected for _, expected in codes))

    def _number(self) -> str:
        self._serial += 1
        return MALE_1990.format(serial=self._serial)

    def _declare(
        self,
        *,
        hours_ago: float = 2.0,
        symptoms: tuple[Symptom, ...] = (),
        visits: tuple[Visit, ...] = (),
        contact: bool = False,
        key: ec.EllipticCurvePrivateKey | None = None,
        kid: bytes | None = None,
    ) -> bytes:
        return declaration_payload(
            key=key or self._issuer,
            kid=kid,
            sub=subject_of("id", self._number(), self._subject_key),
            initials=".".join(self._random.sample("ABDHKLMNPQTV", 3)) + ".",
            issued_at=self._now - timedelta(hours=hours_ago),
            symptoms=symptoms,
            visits=visits,
            contact=contact,
        )

    def _days_ago(self, days: int, area: str) -> tuple[Visit, ...]:
        return (Visit(area=area, left_on=(self._now - timedelta(days=days)).date()),)

    def _healthy(self) -> Codes:
        harmless = self._random.choice([(), self._days_ago(3, "46"), self._days_ago(40, "79")])
        self._last_healthy = self._declare(visits=harmless)
        return [(self._last_healthy, GRANTED)]

    def _symptom(self) -> Codes:
        return [(self._declare(symptoms=(self._random.choice(list(Symptom)),)), _risk(Reason.AT_RISK_SYMPTOM))]

    def _area(self) -> Codes:
        return [(self._declare(visits=self._days_ago(5, "79769")), _risk(Reason.AT_RISK_AREA))]

    def _contact(self) -> Codes:
        return [(self._declare(contact=True), _risk(Reason.AT_RISK_CONTACT))]

    def _expired(self) -> Codes:
        return [(self._declare(hours_ago=30), _held(Reason.DECLARATION_EXPIRED, Scheme.DECLARATION))]

    def _forged(self) -> Codes:
        code = self._declare(key=self._stranger, kid=kid_of(self._issuer.public_key()))
        return [(code, _denied(Reason.SIGNATURE_INVALID, Scheme.DECLARATION))]

    def _unknown_issuer(self) -> Codes:
        return [(self._declare(key=self._stranger), _denied(Reason.ISSUER_UNKNOWN, Scheme.DECLARATION))]

    def _id_card(self) -> Codes:
        text = f"{self._number()}||Nguyễn Văn Mẫu|01011990|Nam|Tổ 1, Hòa Cường Bắc, Hải Châu, Đà Nẵng|15042021"
        return [(text.encode(), _held(Reason.NO_DECLARATION, Scheme.CCCD))]

    def _personal_qr(self) -> Codes:
        self._serial += 1
        text = f"******{self._serial:06d}|TRAN THI MAU|1990-**-**|0|1629{self._serial:014d}|<2<<"
        return [(text.encode(), _held(Reason.NO_DECLARATION, Scheme.VN1405))]

    def _insurance_card(self) -> Codes:
        self._serial += 1
        name, address = ("Phạm Thị Mẫu".encode().hex(), "Hải Châu, Đà Nẵng".encode().hex())
        number = f"4821{self._serial:06d}"
        text = (
            f"DN448{number}|{name}|01/01/1990|2|{address}|48 - 001|01/01/2021|31/12/2021|15/12/2020|48{number}|-|4"
            "|01/01/2025|0123456789abcdef-7102|$"
        )
        return [(text.encode(), _held(Reason.NO_DECLARATION, Scheme.BHYT))]

    def _broken_card(self) -> Codes:
        text = f"{self._number()}||Nguyễn Văn Mẫu|31021990|Nam|Hải Châu, Đà Nẵng|15042021"
        return [(text.encode(), _denied(Reason.MALFORMED, Scheme.CCCD))]

    def _unknown(self) -> Codes:
        text = f"https://example.vn/menu?table={self._random.randrange(100)}"
        return [(text.encode(), _denied(Reason.UNKNOWN_FORMAT))]

    def _place(self) -> Codes:
        text = f"https://qr.tokhaiyte.vn/{self._random.randrange(10**8):08d}"
        return [(text.encode(), _denied(Reason.PLACE_CODE))]

    def _certificate(self) -> Codes:
        code = b"HC1:" + base45.b45encode(self._random.randbytes(240))  # as long as a real one; no signature in it
        return [(code, _held(Reason.UNSUPPORTED_CERTIFICATE))]

    def _nonsense(self) -> Codes:
        return [(self._random.randbytes(60), _denied(Reason.UNKNOWN_FORMAT))]

    def _command(self) -> Codes:
        return [(b"KIOSK:UNLOCK;relay=entry;seconds=60", _denied(Reason.UNKNOWN_FORMAT))]

    def _two_healthy(self) -> Codes:
        return [*self._healthy(), *self._healthy()]

    def _healthy_and_at_risk(self) -> Codes:
        ((code, granted),) = self._healthy()
        may_leave = Expected(decision=granted.decision, reason=granted.reason, scheme=granted.scheme, or_left=True)
        return [(code, may_leave), *self._symptom()]

    def _again(self) -> Codes:
        return [(self._last_healthy, _held(Reason.ALREADY_PRESENTED, Scheme.DECLARATION))]


def _after_healthy(kinds: list[str]) -> list[str]:
    """Put each "same again" right after a healthy visitor of its own; without one it becomes healthy itself."""
    again = kinds.count("same again")
    ordered = []
    for kind in kinds:
        if kind == "same again":
            continue
        ordered.append(kind)
        if kind == "healthy" and again:
            ordered.append("same again")
            again -= 1
    return [*ordered, *["healthy"] * again]
