"""People for the demo, all made up: who they are follows from a serial number alone.

Decides what stands on their cards. The test that nobody's data leaves the visitors' own hands asks here what to look
for. Pure.
"""

import unicodedata
from dataclasses import dataclass
from datetime import date

FAMILIES = ("Nguyễn", "Trần", "Lê", "Phạm", "Huỳnh", "Hoàng", "Võ")
GIVEN = (
    *("Mẫu", "Thử", "Nháp", "Ví Dụ", "Minh Họa", "Giả Định"),
    *("Diễn Tập", "Mô Phỏng", "Thí Điểm", "Tượng Trưng", "Đặt Tên"),
)
"""No real names: sample, try, draft, example, illustration, assumption, drill, simulation, trial, symbol, placeholder.
Their number, that of the families and two have no common divisor, so that 154 people in a row have names of their own.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One made-up person of Da Nang."""

    serial: int
    male: bool
    family: str
    given: str
    born: date

    @property
    def name(self) -> str:
        """The whole name, family first."""
        return f"{self.family} {self.given}"

    @property
    def plain_name(self) -> str:
        """In capitals without diacritics, as some codes have it."""
        return folded(self.name).upper()

    @property
    def number(self) -> str:
        """Of the identity card: province, century and sex, year, serial."""
        return f"048{0 if self.male else 1}{self.born:%y}{self.serial:06d}"

    @property
    def old_number(self) -> str:
        """Of the card before it."""
        return f"2010{self.serial:05d}"

    @property
    def insurance(self) -> str:
        """Of social insurance; it ends the number of the health-insurance card."""
        return f"4821{self.serial:06d}"

    @property
    def qid(self) -> str:
        """Of the national QR platform."""
        return f"1629{self.serial:014d}"

    @property
    def phone(self) -> str:
        """With a prefix that is no longer in use."""
        return f"0100{self.serial:06d}"

    @property
    def address(self) -> str:
        """Where they live."""
        return f"Tổ {self.serial}, Hòa Cường Bắc, Hải Châu, Đà Nẵng"

    @property
    def parents(self) -> tuple[str, str]:
        """Their names, as the identity card of 2024 may have them."""
        return f"{self.family} Văn Phụ Thân", f"{self.family} Thị Mẫu Thân"


def person(serial: int) -> Person:
    """The same for the same serial, from 1."""
    male = serial % 2 == 1
    return Person(
        serial=serial,
        male=male,
        family=FAMILIES[serial % len(FAMILIES)],
        given=f"{'Văn' if male else 'Thị'} {GIVEN[serial % len(GIVEN)]}",
        born=date(1950 + serial % 50, 1 + serial % 12, 1 + serial % 28),
    )


def folded(text: str) -> str:
    """The same text without diacritics."""
    spread = unicodedata.normalize("NFD", text.replace("Đ", "D").replace("đ", "d"))
    return "".join(character for character in spread if not unicodedata.combining(character))
