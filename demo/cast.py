"""Who takes part in the demo, what their codes should lead to, and what the city knows of them.

Hands out one made-up person after another and signs declarations. `demo.declaring`, `demo.carrying` and
`demo.certifying` make the kinds of visitors with it; the demo provisions the kiosk and fills the city's store from it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from city.declare import declaration_payload
from demo.people import Person, person
from kiosk.credentials.holder import holder_of
from kiosk.credentials.issuer import Issuer
from kiosk.credentials.sealing import Identity
from kiosk.credentials.subject import subject_of
from kiosk.messages import Decision, Flag, Reason, Scheme, Symptom, Visit

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one code should lead to.

    `or_left`: it may also have gone before its turn, somebody else being judged. `who` is what the health authority
    should find in the sealed identity; None where the code names nobody or is refused.
    """

    decision: Decision
    reason: Reason
    scheme: Scheme | None
    alert: bool = False
    or_left: bool = False
    who: Identity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A declaration that the city has, and under which other pseudonyms it finds it."""

    subject: str
    payload: bytes
    issued_at: datetime
    aliases: tuple[str, ...]


Codes = list[tuple[bytes, Expected]]
Kinds = dict[str, tuple[Callable[[], Codes], int]]
"""How to make each kind of visitor, and its weight."""


def granted(scheme: Scheme) -> Expected:
    """Let in."""
    return Expected(decision=Decision.GRANTED, reason=Reason.NO_RISK, scheme=scheme)


def denied(reason: Reason, scheme: Scheme | None = None) -> Expected:
    """Sent away without an alarm."""
    return Expected(decision=Decision.DENIED, reason=reason, scheme=scheme)


def held(reason: Reason, scheme: Scheme | None = None) -> Expected:
    """Left to staff."""
    return Expected(decision=Decision.HELD, reason=reason, scheme=scheme)


def risk(reason: Reason, scheme: Scheme) -> Expected:
    """Sent away, and the health authority alarmed."""
    return Expected(decision=Decision.DENIED, reason=reason, scheme=scheme, alert=True)


class Cast:
    """Everybody so far, and the city's side of them.

    Args:
        seed: the same seed makes the same people do the same (signatures differ: ECDSA is randomised).
        issuer: signs the city's declarations.
        subject_key: the city's key for pseudonyms.
        now: when the demo begins.
    """

    def __init__(self, seed: int, issuer: ec.EllipticCurvePrivateKey, subject_key: bytes, now: datetime) -> None:
        self.random = random.Random(seed)
        self.issuer = issuer
        self.now = now
        self.listed: dict[str, Flag] = {}
        self.declared: list[Declared] = []
        self.issuers: list[Issuer] = []
        self.revoked: set[bytes] = set()
        self._subject_key = subject_key
        self._serial = 0

    def person(self) -> Person:
        """Somebody who has not been here yet."""
        self._serial += 1
        return person(self._serial)

    def subject(self, kind: str, number: str) -> str:
        """The city's pseudonym."""
        return subject_of(kind, number, self._subject_key)

    def holder(self, who: Person) -> str:
        """The pseudonym of whoever holds a certificate, which has no number."""
        born = who.born.isoformat()
        return holder_of(family=who.family, given=who.given, born=born, certificate="", key=self._subject_key) or ""

    def declare(
        self,
        who: Person | None = None,
        *,
        hours_ago: float = 2.0,
        symptoms: tuple[Symptom, ...] = (),
        visits: tuple[Visit, ...] = (),
        contact: bool = False,
        key: ec.EllipticCurvePrivateKey | None = None,
        kid: bytes | None = None,
    ) -> bytes:
        """The code of a declaration. `key` is another issuer's; `kid` names another key than that, for a forgery."""
        return declaration_payload(
            key=key or self.issuer,
            kid=kid,
            sub=self.subject("id", (who or self.person()).number),
            initials=".".join(self.random.sample("ABDHKLMNPQTV", 3)) + ".",
            issued_at=self.now - hours_ago * HOUR,
            symptoms=symptoms,
            visits=visits,
            contact=contact,
        )

    def day(self, days_ago: int) -> date:
        """A day in the past."""
        return (self.now - days_ago * DAY).date()

    def days_ago(self, days: int, area: str) -> tuple[Visit, ...]:
        """A stay that ended so many days ago."""
        return (Visit(area=area, left_on=self.day(days)),)
