"""What people and scripts are told, word for word."""

import pytest

from city.doors import Condition
from city.notices import AlertNotice, DoorNotice, DoorsNotice, GapNotice, LinkNotice, Notice, line, words
from tests.builders import START

ALERT = AlertNotice(
    news="raised",
    at=START,
    device="door-01",
    place="place-0001",
    access_point="main",
    ledger="aa",
    sequence=7,
    direction="entry",
    reasons=("at_risk.symptom", "at_risk.area"),
    subject="01234567",
)
TAKEN = AlertNotice(
    news="acknowledged",
    at=START,
    device="door-01",
    place="place-0001",
    access_point="main",
    ledger="aa",
    sequence=7,
    count=2,
    by="Trần B",
)
SAID: dict[str, tuple[Notice, str, str]] = {
    "raised": (
        ALERT,
        "bold white on red",
        "ALERT  door-01 aa 7  place-0001/main  entry  at_risk.symptom, at_risk.area  subject 01234567",
    ),
    "acknowledged": (
        TAKEN,
        "yellow",
        "acknowledged  door-01 aa 7  place-0001/main  2 times escalated  by Trần B",
    ),
    "silent": (
        DoorNotice(news=Condition.SILENT, at=START, device="door-01", lasted_s=0),
        "bold yellow",
        "door-01  SILENT since then",
    ),
    "back": (
        DoorNotice(news=Condition.ONLINE, at=START, device="door-01", lasted_s=3725),
        "green",
        "door-01  online, after 1:02:05",
    ),
    "many": (
        DoorsNotice(news=Condition.OFFLINE, at=START, doors=12, devices=("door-01", "door-02")),
        "yellow",
        "12 doors  offline: door-01, door-02, ...",
    ),
    "nobody": (
        LinkNotice(hears=False, at=START, doors=32_000),
        "bold white on red",
        "the city hears nobody: the broker or our link; 32000 doors are waited for",
    ),
    "again": (
        LinkNotice(hears=True, at=START, doors=3),
        "green",
        "the city hears doors again, after 22.11. 08:00:00; 3 are waited for",
    ),
    "gap": (
        GapNotice(at=START, device="door-01", ledger="aa", missing=3, first=5, last=9),
        "bold yellow",
        "door-01  GAP in ledger aa: 3 missing in 5 to 9",
    ),
    "filled": (
        GapNotice(at=START, device="door-01", ledger="aa", missing=0, first=0, last=0),
        "green",
        "door-01  no gap any more in ledger aa",
    ),
}


@pytest.mark.parametrize("which", SAID)
def test_a_notice_is_one_line_with_the_time_in_da_nang(which: str) -> None:
    """And a style."""
    notice, style, text = SAID[which]
    assert words(notice) == (style, f"22.11. 08:00:00  {text}")


def test_a_notice_for_a_script_says_what_it_is() -> None:
    """With every field, and the time in UTC."""
    assert line(DoorNotice(news=Condition.SILENT, at=START, device="door-01", lasted_s=90)) == {
        "notice": "door",
        "news": "silent",
        "at": "2021-11-22T01:00:00+00:00",
        "device": "door-01",
        "lasted_s": 90,
    }
    assert [line(notice)["notice"] for notice, _, _ in SAID.values()] == [
        *("alert", "alert", "door", "door", "doors", "link", "link", "gap", "gap")
    ]


def test_what_a_kiosk_calls_itself_gives_no_orders_to_a_terminal() -> None:
    """No escape sequence, no second line."""
    notice = AlertNotice(
        news="raised", at=START, device="d", place="\x1b[2Jp\n", access_point="a\x07", ledger="l", sequence=1
    )
    assert words(notice)[1] == "22.11. 08:00:00  ALERT  d l 1  ?[2Jp?/a?"
