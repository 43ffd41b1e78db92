"""Visitors of the demo who show the city's signed declaration, good and bad."""

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec

from demo.cast import Cast, Codes, Kinds, denied, granted, held, risk
from kiosk.credentials.cose import kid_of
from kiosk.messages import Flag, Reason, Scheme, Symptom


class Declaring:
    """Makes their codes.

    Args:
        cast: who they are.
    """

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._stranger = ec.generate_private_key(ec.SECP256R1())
        self._last_healthy = b""

    def kinds(self) -> Kinds:
        """What each kind is called, how it is made, and its weight."""
        return {
            "healthy": (self._healthy, 12),
            "symptom": (self._symptom, 3),
            "infected, on the list": (self._listed_healthy, 1),
            "epidemic area": (self._area, 2),
            "contact": (self._contact, 2),
            "expired": (self._expired, 2),
            "forged": (self._forged, 2),
            "unknown issuer": (self._unknown_issuer, 1),
            "two healthy": (self._two_healthy, 2),
            "healthy and at risk": (self._healthy_and_at_risk, 1),
            "same again": (self._again, 2),
        }

    def _healthy(self) -> Codes:
        harmless = self._cast.random.choice([(), self._cast.days_ago(3, "46"), self._cast.days_ago(40, "79")])
        self._last_healthy = self._cast.declare(visits=harmless)
        return [(self._last_healthy, granted(Scheme.DECLARATION))]

    def _symptom(self) -> Codes:
        code = self._cast.declare(symptoms=(self._cast.random.choice(list(Symptom)),))
        return [(code, risk(Reason.AT_RISK_SYMPTOM, Scheme.DECLARATION))]

    def _area(self) -> Codes:
        code = self._cast.declare(visits=self._cast.days_ago(5, "79769"))
        return [(code, risk(Reason.AT_RISK_AREA, Scheme.DECLARATION))]

    def _contact(self) -> Codes:
        return [(self._cast.declare(contact=True), risk(Reason.AT_RISK_CONTACT, Scheme.DECLARATION))]

    def _expired(self) -> Codes:
        return [(self._cast.declare(hours_ago=30), held(Reason.DECLARATION_EXPIRED, Scheme.DECLARATION))]

    def _forged(self) -> Codes:
        code = self._cast.declare(key=self._stranger, kid=kid_of(self._cast.issuer.public_key()))
        return [(code, denied(Reason.SIGNATURE_INVALID, Scheme.DECLARATION))]

    def _unknown_issuer(self) -> Codes:
        return [(self._cast.declare(key=self._stranger), denied(Reason.ISSUER_UNKNOWN, Scheme.DECLARATION))]

    def _two_healthy(self) -> Codes:
        return [*self._healthy(), *self._healthy()]

    def _healthy_and_at_risk(self) -> Codes:
        ((code, granted),) = self._healthy()
        return [(code, replace(granted, or_left=True)), *self._symptom()]

    def _again(self) -> Codes:
        return [(self._last_healthy, held(Reason.ALREADY_PRESENTED, Scheme.DECLARATION))]

    def _listed_healthy(self) -> Codes:
        who = self._cast.person()
        self._cast.listed[self._cast.subject("id", who.number)] = Flag.F0
        return [(self._cast.declare(who), risk(Reason.AT_RISK_LISTED, Scheme.DECLARATION))]
