import unicodedata

import pytest

from kiosk.credentials import Keyring, read, subject_of
from kiosk.messages import Credential, Reason, Refusal, Scheme

KEY = b"k" * 32
KEYRING = Keyring(subject_key=KEY, issuers={})

NUMBER = "4821000001"
NAME = "Phạm Thị Mẫu"
ADDRESS = "Hải Châu, Đà Nẵng".encode().hex()
CARD = [
    *(f"DN448{NUMBER}", NAME.encode().hex(), "01/02/1990", "2", ADDRESS, "48 - 001", "01/01/2021", "31/12/2021"),
    *("15/12/2020", f"48{NUMBER}", "-", "4", "01/01/2025", "0123456789abcdef-7102", "$"),
]
"""The layout with the number of 15 characters."""
NEW_CARD = [NUMBER, *CARD[1:12], " 01/01/2025", CARD[13], "4", ADDRESS, "$"]
"""The layout of 2021: the number alone, two more fields, and a blank that real cards have."""


def _with_field(index: int, value: str) -> list[str]:
    fields = list(CARD)
    fields[index] = value
    return fields


def _read_fields(fields: list[str]) -> Credential | Refusal:
    return read("|".join(fields).encode(), KEYRING)


def _insured(initials: str) -> Credential:
    return Credential(scheme=Scheme.BHYT, subject=subject_of("bhyt", NUMBER, KEY), initials=initials)


MAU = _insured("P.T.M.")


@pytest.mark.parametrize("card", [CARD, NEW_CARD], ids=["15 characters", "10 digits"])
def test_both_forms_of_the_number_give_one_subject(card: list[str]) -> None:
    """Old and new card of one person give the same pseudonym and initials, and nothing else."""
    assert _read_fields(card) == MAU


def test_a_change_of_group_or_benefit_leaves_the_subject() -> None:
    """Somebody who changes their job stays the same person."""
    assert _read_fields(_with_field(0, f"HT279{NUMBER}")) == MAU


def test_the_subject_is_no_other_identifier_s() -> None:
    """A social-insurance number is a namespace of its own, pinned so that the city's never drifts."""
    assert MAU.subject == "a55bd7d36347f10937a5a5fbb57277d4"
    assert MAU.subject not in (subject_of("id", NUMBER, KEY), subject_of("qid", NUMBER, KEY))


@pytest.mark.parametrize("noise", ["\r\n", "\n", "\r", "\x00", "\t ", "\x1d\x04"])
def test_what_scanners_add_changes_nothing(noise: str) -> None:
    """Line ends and control characters at both ends give the same credential."""
    assert read(f"{noise}{'|'.join(CARD)}{noise}".encode(), KEYRING) == MAU


@pytest.mark.parametrize(
    ("field", "initials"),
    [
        (NAME.encode().hex().upper(), "P.T.M."),
        (unicodedata.normalize("NFD", NAME).encode().hex(), "P.T.M."),
        (f" {NAME.encode().hex()} ", "P.T.M."),
        (b"PHAM THI MAU".hex(), "P.T.M."),
        (NAME.encode().hex()[:-1], ""),
        (NAME, ""),
        ("PHAM THI MAU", ""),
        ("ABBA", ""),
        (NAME.encode("utf-16-be").hex(), ""),
        (b"Ph?m Th?".hex(), ""),
        ("Nguyễn".encode().hex(" "), ""),
        ("\u0661" * 8, ""),
        (b"<b>An</b>".hex(), ""),
        (("A" * 101).encode().hex(), ""),
        ("4e" * 500, ""),
        ("-", ""),
        ("", ""),
    ],
)
def test_a_name_that_is_not_clean_hex_leaves_the_number(field: str, initials: str) -> None:
    """The card tells who it is by its number; initials come only from a name in hex of UTF-8."""
    assert _read_fields(_with_field(1, field)) == _insured(initials)


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (2, "1990"),
        (3, "1"),
        (4, "-"),
        (4, "not hex"),
        (5, "-"),
        (5, "79-A01"),
        (7, "-"),
        (8, ""),
        (9, "-"),
        (10, "Phạm Văn Cha"),
        (11, "K1"),
        (12, "-"),
    ],
)
def test_what_cards_differ_in_changes_nothing(index: int, value: str) -> None:
    """A birth year alone, fields left empty, and whatever stands for address and guardian."""
    assert _read_fields(_with_field(index, value)) == MAU


def test_a_guardian_that_is_not_utf_8_does_not_hide_the_card() -> None:
    """Some cards have a guardian in the QR standard's default charset."""
    assert read("|".join(_with_field(10, "yên th? hi?p")).encode("iso-8859-1"), KEYRING) == MAU


def test_insurance_that_has_ended_still_tells_who_it_is() -> None:
    """The card is read for the person, not for the insurance."""
    assert _read_fields(_with_field(7, "31/12/2010")) == MAU


@pytest.mark.parametrize(
    ("index", "value", "field"),
    [
        (0, "", "card number"),
        (0, f"DN648{NUMBER}", "card number"),
        (0, f"DN048{NUMBER}", "card number"),
        (0, f"dn448{NUMBER}", "card number"),
        (0, f"D1448{NUMBER}", "card number"),
        (0, "DN401AA31900313", "card number"),
        (0, NUMBER[1:], "card number"),
        (0, f"1{NUMBER}", "card number"),
        (0, "\u0661" * 10, "card number"),
        (2, "", "birth date"),
        (2, "-", "birth date"),
        (2, "29/02/1990", "birth date"),
        (2, "1/2/1990", "birth date"),
        (2, "01/02/1790", "birth date"),
        (2, "1990-02-01", "birth date"),
        (2, "1790", "birth date"),
        (3, "0", "sex"),
        (3, "Nam", "sex"),
        (3, "", "sex"),
        (5, "48001", "clinic"),
        (6, "31/04/2021", "valid from"),
        (7, "31/11/2021", "valid to"),
        (8, "01012021", "issue date"),
        (9, "12345", "serial"),
        (9, "48 4821000001", "serial"),
        (11, "444", "level"),
        (12, "01/13/2025", "five-year date"),
        (13, "", "checksum"),
        (13, "0123456789abcdef", "checksum"),
        (13, "0123456789abcdeg-7102", "checksum"),
        (14, "", "end mark"),
        (14, "$$", "end mark"),
    ],
)
def test_a_broken_card_field_is_named(index: int, value: str, field: str) -> None:
    """A card with one broken field is malformed, and the refusal names that field."""
    refusal = _read_fields(_with_field(index, value))
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.scheme) == (Reason.MALFORMED, Scheme.BHYT)
    assert refusal.detail.startswith(f"{field}:")


@pytest.mark.parametrize("fields", [CARD[1:], CARD[:14], ["x", *CARD[1:14], "x"], [*CARD[:12], "$"]])
def test_without_its_shape_it_is_no_insurance_card(fields: list[str]) -> None:
    """Fewer than fifteen fields, or neither number nor end mark, is an unknown format."""
    result = _read_fields(fields)
    assert isinstance(result, Refusal)
    assert result.reason is Reason.UNKNOWN_FORMAT
