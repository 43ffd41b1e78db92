"""Visitors of the demo who show a health certificate: of a country that the city trusts, and of others."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import base45

from demo.cast import DAY, HOUR, Cast, Codes, Expected, Kinds, denied, granted, held, risk
from demo.certificates import (
    DETECTED,
    NOT_DETECTED,
    TESTS_ONLY,
    YEAR,
    Event,
    Signer,
    card_signer,
    hc1,
    health_card,
    lab_test,
    recovery,
    signer,
    vaccination,
)
from demo.people import Person
from kiosk.messages import Decision, Flag, Reason, Scheme

Events = Mapping[str, list[Event]]


class Certifying:
    """Makes their codes, and tells the cast whom the city trusts for them and what it has revoked.

    Args:
        cast: who they are.
    """

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._country, self._with_rsa = signer(cast.now), signer(cast.now, rsa_key=True)
        self._for_tests, self._stranger = signer(cast.now, TESTS_ONLY), signer(cast.now)
        self._cards = card_signer()
        trusted = (self._country, self._with_rsa, self._for_tests, self._cards)
        cast.issuers += [each.issuer for each in trusted]

    def kinds(self) -> Kinds:
        """What each kind is called, how it is made, and its weight."""
        vaccinated = vaccination(self._cast.day(60))
        good, insufficient = granted(Scheme.HC1), held(Reason.CERTIFICATE_INSUFFICIENT, Scheme.HC1)
        test = lab_test(self._cast.now - 20 * HOUR, NOT_DETECTED)
        positive = risk(Reason.AT_RISK_POSITIVE_TEST, Scheme.HC1)
        malformed, unknown = denied(Reason.MALFORMED, Scheme.HC1), denied(Reason.ISSUER_UNKNOWN, Scheme.HC1)
        not_entitled = denied(Reason.ISSUER_NOT_ENTITLED, Scheme.HC1)
        return {
            "vaccinated": (lambda: self._shown(vaccinated, good), 3),
            "vaccinated, PS256": (lambda: self._shown(vaccinated, good, by=self._with_rsa), 2),
            "one dose of two": (lambda: self._shown(vaccination(self._cast.day(20), dose=1), insufficient), 1),
            "recovered": (lambda: self._shown(recovery(self._cast.day(60)), good), 1),
            "tested negative": (lambda: self._shown(test, good, by=self._for_tests), 1),
            "tested positive": (lambda: self._shown(lab_test(self._cast.now - 2 * DAY, DETECTED), positive), 1),
            "SMART Health Card": (self._health_card, 1),
            "contact on the list, vaccinated": (self._listed, 1),
            "expired certificate": (self._expired, 1),
            "revoked certificate": (self._revoked, 1),
            "two events in a certificate": (lambda: self._shown({**vaccinated, **test}, malformed), 1),
            "vaccinated, by a key for tests": (
                lambda: self._shown(vaccinated, not_entitled, by=self._for_tests),
                1,
            ),
            "forged certificate": (self._forged, 1),
            "certificate of an unknown country": (
                lambda: self._shown(vaccinated, unknown, by=self._stranger),
                1,
            ),
            "certificate of another kind": (self._other, 1),
        }

    def _shown(
        self,
        events: Events,
        expected: Expected,
        *,
        by: Signer | None = None,
        who: Person | None = None,
        days_ago: int = 1,
        lifetime: timedelta = YEAR,
        kid: bytes | None = None,
    ) -> Codes:
        issued_at = self._cast.now - days_ago * DAY
        of = who or self._cast.person()
        made = hc1(by or self._country, of, events, issued_at=issued_at, lifetime=lifetime, kid=kid)
        opened = expected.alert or expected.decision is not Decision.DENIED
        return [(made.code, replace(expected, who=made.who if opened else None))]

    def _health_card(self) -> Codes:
        days = (self._cast.day(90), self._cast.day(60))
        made = health_card(self._cards, self._cast.person(), *days, issued_at=self._cast.now - 30 * DAY)
        return [(made.code, replace(granted(Scheme.SHC), who=made.who))]

    def _listed(self) -> Codes:
        who = self._cast.person()
        self._cast.listed[self._cast.holder(who)] = Flag.F1
        return self._shown(vaccination(self._cast.day(60)), risk(Reason.AT_RISK_LISTED, Scheme.HC1), who=who)

    def _expired(self) -> Codes:
        expected = held(Reason.CERTIFICATE_EXPIRED, Scheme.HC1)
        return self._shown(vaccination(self._cast.day(60)), expected, days_ago=40, lifetime=30 * DAY)

    def _revoked(self) -> Codes:
        who, events = self._cast.person(), vaccination(self._cast.day(60))
        made = hc1(self._country, who, events, issued_at=self._cast.now - DAY)
        self._cast.revoked.add(made.digest)
        return [(made.code, denied(Reason.CERTIFICATE_REVOKED, Scheme.HC1))]

    def _forged(self) -> Codes:
        expected = denied(Reason.SIGNATURE_INVALID, Scheme.HC1)
        kid = self._country.issuer.kid
        return self._shown(vaccination(self._cast.day(60)), expected, by=self._stranger, kid=kid)

    def _other(self) -> Codes:
        code = b"HC2:" + base45.b45encode(self._cast.random.randbytes(240))  # reserved by the EU for other contents
        return [(code, held(Reason.UNSUPPORTED_CERTIFICATE))]
