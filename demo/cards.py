"""What stands in the codes of cards and apps that say who somebody is, each with the identity it holds.

The city's health authority must get exactly this identity when it opens what a kiosk has sealed. Pure; the formats are
those of `kiosk.credentials`, written here from their descriptions and not with its code.
"""

from dataclasses import dataclass

from demo.people import Person
from kiosk.credentials.sealing import Identity
from kiosk.messages import Scheme

APP = "https://app.khaibaoyte.example/c/"
"""Beginning of the links of a made-up city app; the demo's rules name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One code and whom it names. `kind` and `number` are what the city makes the pseudonym of."""

    scheme: Scheme
    code: bytes
    kind: str
    number: str
    who: Identity | None


def identity_card(person: Person, *, old_number: bool = False, of_2024: bool = False) -> Card:
    """The chip identity card, CCCD: 7 fields, or 11 with the family of the 2024 layout."""
    born, number = f"{person.born:%d%m%Y}", person.old_number if old_number else ""
    fields = [person.number, number, person.name, born, "Nam" if person.male else "Nữ", person.address, "15042021"]
    family = [*person.parents, "", ""] if of_2024 else []
    who = Identity(kind="id", number=person.number, name=person.name, born=born, address=person.address)
    code = "|".join([*fields, *family]).encode()
    return Card(scheme=Scheme.CCCD, code=code, kind="id", number=person.number, who=who)


def personal_qr(person: Person, *, masked: bool) -> Card:
    """The national personal QR (Decision 1405), with what its display mode masks, or without a mask."""
    document = "*" * 6 + person.number[6:] if masked else person.number
    born = f"{person.born:%Y}-**-**" if masked else person.born.isoformat()
    kind, number = ("qid", person.qid) if masked else ("id", person.number)
    sex = 1 if person.male else 2
    text = f"{document}|{person.plain_name}|{born}|0|{person.qid}|<{sex}<{person.insurance}<{person.phone}"
    who = Identity(
        kind=kind,
        number=number,
        name=person.plain_name,
        born=born,
        phone=person.phone,
        document=document if masked else "",
    )
    return Card(scheme=Scheme.VN1405, code=text.encode(), kind=kind, number=number, who=who)


def insurance_card(person: Person) -> Card:
    """The health-insurance card, BHYT: name and address in hex, `$` at the end."""
    document, born = f"DN448{person.insurance}", f"{person.born:%d/%m/%Y}"
    fields = [document, person.name.encode().hex(), born, "1" if person.male else "2", person.address.encode().hex()]
    rest = f"48 - 001|01/01/2021|31/12/2021|15/12/2020|48{person.insurance}|-|4|01/01/2025|0123456789abcdef-7102|$"
    who = Identity(kind="bhyt", number=person.insurance, name=person.name, born=born, document=document)
    code = "|".join([*fields, rest]).encode()
    return Card(scheme=Scheme.BHYT, code=code, kind="bhyt", number=person.insurance, who=who)


def app_link(token: str) -> Card:
    """A city app's link: only the city knows whose it is."""
    text = f"{APP}{token}"
    return Card(scheme=Scheme.LINK, code=text.encode(), kind="link", number=text, who=None)
