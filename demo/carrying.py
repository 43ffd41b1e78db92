"""Visitors of the demo who show what only says who they are, and those who show something else altogether."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from demo.cards import Card, app_link, identity_card, insurance_card, personal_qr
from demo.cast import HOUR, Cast, Codes, Declared, Kinds, denied, granted, held, risk
from demo.people import Person
from kiosk.messages import Flag, Reason, Scheme, Symptom

Make = Callable[[Person], Card]


class Carrying:
    """Makes their codes.

    Args:
        cast: who they are.
    """

    def __init__(self, cast: Cast) -> None:
        self._cast = cast

    def kinds(self) -> Kinds:
        """What each kind is called, how it is made, and its weight."""
        old_and_2024 = partial(identity_card, old_number=True, of_2024=True)
        masked = partial(personal_qr, masked=True)
        return {
            "ID card": (partial(self._nobody, identity_card), 3),
            "ID card, old number": (partial(self._nobody, partial(identity_card, old_number=True)), 2),
            "ID card of 2024": (partial(self._nobody, partial(identity_card, of_2024=True)), 1),
            "ID card of 2024, old number": (partial(self._nobody, old_and_2024), 1),
            "broken ID card": (self._broken_card, 1),
            "personal QR": (partial(self._nobody, partial(personal_qr, masked=False)), 2),
            "masked personal QR": (partial(self._nobody, masked), 2),
            "insurance card": (partial(self._nobody, insurance_card), 2),
            "declared, shows ID card": (partial(self._known, identity_card), 3),
            "declared, shows insurance card": (partial(self._known, insurance_card), 2),
            "declared, shows app link": (partial(self._known, self._link), 2),
            "declared symptoms, shows ID card": (partial(self._known, identity_card, ill=True), 1),
            "contact on the list, shows ID card": (partial(self._listed, identity_card, Flag.F1), 1),
            "must isolate, shows personal QR": (partial(self._listed, masked, Flag.ISOLATE), 1),
            "unknown app link": (partial(self._nobody, self._link), 1),
            "unknown link": (self._unknown, 2),
            "place code": (self._place, 1),
            "foreign place code": (self._foreign_place, 1),
            "nonsense": (self._nonsense, 1),
            "a command": (self._command, 1),
        }

    def _nobody(self, make: Make) -> Codes:
        """Somebody who has not declared; of a link not even that is known."""
        card = make(self._cast.person())
        reason = Reason.UNRESOLVED_CODE if card.scheme is Scheme.LINK else Reason.NO_DECLARATION
        return [(card.code, replace(held(reason, card.scheme), who=card.who))]

    def _known(self, make: Make, *, ill: bool = False) -> Codes:
        """Somebody who has declared; the city finds the declaration by what the card says."""
        who = self._cast.person()
        card, issued_at = make(who), self._cast.now - 3 * HOUR
        symptoms = (Symptom.FEVER,) if ill else ()
        self._cast.declared.append(
            Declared(
                subject=self._cast.subject("id", who.number),
                payload=self._cast.declare(who, hours_ago=3, symptoms=symptoms),
                issued_at=issued_at,
                aliases=(self._cast.subject(card.kind, card.number),),
            )
        )
        expected = risk(Reason.AT_RISK_SYMPTOM, card.scheme) if ill else granted(card.scheme)
        return [(card.code, replace(expected, who=card.who))]

    def _listed(self, make: Make, flag: Flag) -> Codes:
        card = make(self._cast.person())
        self._cast.listed[self._cast.subject(card.kind, card.number)] = flag
        return [(card.code, replace(risk(Reason.AT_RISK_LISTED, card.scheme), who=card.who))]

    def _link(self, _person: Person) -> Card:
        return app_link(self._cast.random.randbytes(12).hex())

    def _broken_card(self) -> Codes:
        who = self._cast.person()
        code = identity_card(who).code.replace(f"|{who.born:%d%m%Y}|".encode(), f"|3102{who.born:%Y}|".encode())
        return [(code, denied(Reason.MALFORMED, Scheme.CCCD))]

    def _unknown(self) -> Codes:
        text = f"https://example.vn/menu?table={self._cast.random.randrange(100)}"
        return [(text.encode(), denied(Reason.UNKNOWN_FORMAT))]

    def _place(self) -> Codes:
        text = f"https://qr.tokhaiyte.vn/{self._cast.random.randrange(10**8):08d}"
        return [(text.encode(), denied(Reason.PLACE_CODE))]

    def _foreign_place(self) -> Codes:
        place = {"typ": "entry", "gln": "7000000000000", "opn": "A place", "adr": "1 Street", "ver": "c19:1"}
        return [(b"NZCOVIDTRACER:" + base64.b64encode(json.dumps(place).encode()), denied(Reason.PLACE_CODE))]

    def _nonsense(self) -> Codes:
        return [(self._cast.random.randbytes(60), denied(Reason.UNKNOWN_FORMAT))]

    def _command(self) -> Codes:
        return [(b"KIOSK:UNLOCK;relay=entry;seconds=60", denied(Reason.UNKNOWN_FORMAT))]
