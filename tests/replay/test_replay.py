import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiosk import cli, wire
from kiosk.messages import (
    Alert,
    Ask,
    Carry,
    CheckIn,
    ClockStep,
    CommandAnswer,
    Drive,
    Escalation,
    Event,
    Fault,
    Line,
    Opening,
    Passage,
    Record,
    Show,
    TrialVisit,
)
from tests.replay.make_cases import gate_of

CASES = Path(__file__).parent / "cases"

STORIES = {
    "a_visitor_at_risk_is_stopped_and_an_alert_recorded": [
        *("lights", "alert at_risk.symptom", "denied at_risk.symptom"),
        *("lights", "alert at_risk.area", "denied at_risk.area"),
    ],
    "two_healthy_people_at_once_are_let_in_one_after_the_other": [
        *("granted no_risk", "open entry"),
        *("granted no_risk", "open entry"),
    ],
    "the_same_person_again_within_the_window_is_held": [
        *("granted no_risk", "open entry"),
        *("lights", "held already_presented"),
        "lights",
        *("granted no_risk", "open entry"),
    ],
    "the_camera_goes_dark_and_comes_back": [
        *("camera fails", "lights", "lights", "lights", "camera recovers"),
        *("granted no_risk", "open entry"),
    ],
    "an_exit_opens_for_everybody": [
        *("granted no_risk", "open exit"),
        *("open exit", "alert at_risk.symptom", "granted at_risk.symptom"),
        *("granted no_declaration", "open exit"),
        *("granted unknown_format", "open exit"),
    ],
    "a_code_that_cannot_be_trusted_opens_nothing": [
        *("lights", "denied issuer_unknown"),
        *("lights", "held no_declaration"),
        *("lights", "denied unknown_format"),
    ],
    "a_code_held_badly_gets_advice_until_it_is_read": [
        *("advice closer", "advice further"),
        *("granted no_risk", "open entry"),
        "advice reading",
    ],
    "a_card_is_looked_up_and_the_answer_in_time_is_judged": [
        *("ask", "advice reading", "granted no_risk", "open entry"),
        *("ask", "advice reading", "lights", "held no_declaration"),
    ],
    "an_answer_that_is_late_serves_the_next_showing": [
        *("ask", "advice reading", "lights", "held lookup_unavailable"),
        *("granted no_risk", "open entry"),
        *("lights", "held lookup_unavailable"),
    ],
    "who_is_on_the_risk_list_is_stopped_whatever_they_declare": [
        *("lights", "alert at_risk.listed", "denied at_risk.listed"),
        *("granted no_risk", "open entry"),
        *("granted data_stale", "open entry"),
        *("lights", "alert at_risk.symptom", "denied at_risk.symptom data_too_old"),
    ],
    "a_full_disk_holds_people_until_it_is_mended": [
        *("outbox fails", "lights"),
        *("lights", "held record_unavailable"),
        *("lights", "lights", "outbox recovers"),
        *("granted no_risk", "open entry"),
    ],
    "an_alert_that_nobody_answers_is_told_again_and_louder": [
        *("lights", "alert at_risk.symptom", "denied at_risk.symptom"),
        *("escalation 1", "lights", "escalation 2", "lights"),
    ],
    "an_unlocked_entry_opens_again_and_again_and_judges_who_comes": [
        *("unlock done", "command", "open entry"),
        *("lights", "alert at_risk.symptom", "denied at_risk.symptom"),
        *("command", "open entry"),
    ],
    "a_locked_entry_judges_nobody_until_its_release": [
        *("lock done", "lights", "lights", "lights"),
        *("unlock refused", "held left_before_verdict"),
        *("staff_override", "open entry", "lights", "lights"),
        *("release done", "granted no_risk", "open entry"),
    ],
    "a_muted_door_still_calls_staff_to_somebody_at_risk": [
        *("mute done", "granted no_risk", "open entry, silent"),
        *("lights", "alert at_risk.symptom", "denied at_risk.symptom"),
    ],
    "the_clock_is_set_and_only_that_is_told": [
        *("granted no_risk", "open entry"),
        *("clock -30000 ms", "lights", "held already_presented"),
    ],
    "what_the_device_must_do_itself_is_carried_and_answered": [
        *("carry diagnostics", "diagnostics done"),
        *("lock refused", "test done", "lights"),
    ],
}
"""What each case is there to show: its questions, records, drives and advice, in order."""
SILENT = {"a_muted_door_still_calls_staff_to_somebody_at_risk"}
"""The one case where it matters whether the buzzer has a part."""


def _journal(fact: str) -> list[str]:
    return (CASES / fact / "input.jsonl").read_text(encoding="utf-8").splitlines()


def _told(event: Event) -> str:
    match event:
        case CheckIn(decision=decision, reasons=reasons):
            return f"{decision} {' '.join(reasons)}"
        case Alert(reasons=reasons):
            return f"alert {' '.join(reasons)}"
        case Fault(stage=stage, recovered=recovered):
            return f"{stage} {'recovers' if recovered else 'fails'}"
        case Passage() | Opening():
            return event.outcome if isinstance(event, Passage) else event.cause
        case Escalation() | ClockStep():
            return f"escalation {event.count}" if isinstance(event, Escalation) else f"clock {event.step_ms} ms"
        case CommandAnswer() | TrialVisit():
            return "trial visit" if isinstance(event, TrialVisit) else _answered(event)


def _answered(answer: CommandAnswer) -> str:
    return f"{answer.order} {'done' if answer.done else 'refused'}"


def _story(fact: str) -> Iterator[str]:
    for line in _journal(fact):
        for effect in wire.decode_entry(line).effects:
            if isinstance(effect, Record):
                yield from map(_told, effect.events)
            elif isinstance(effect, Ask | Carry):
                yield "ask" if isinstance(effect, Ask) else f"carry {effect.command.order}"
            elif isinstance(effect, Drive):
                what = f"open {effect.actuation.grant}" if effect.actuation.grant else "lights"
                sounds = any(change.line is Line.BUZZER for change in effect.actuation.changes)
                yield what if sounds or fact not in SILENT else f"{what}, silent"
            elif isinstance(effect, Show) and effect.view.hint:
                yield f"advice {effect.view.hint}"


def test_every_case_has_its_story() -> None:
    """A folder nobody described would hold nothing."""
    assert {journal.parent.name for journal in CASES.glob("*/input.jsonl")} == set(STORIES)


@pytest.mark.parametrize("fact", STORIES)
def test_a_recorded_case_shows_its_fact(fact: str) -> None:
    """The journal tells what its folder's name says."""
    assert list(_story(fact)) == STORIES[fact]


@pytest.mark.parametrize("fact", STORIES)
def test_a_recorded_case_happens_again(fact: str) -> None:
    """The same inputs at the same times have the same effects, and are written down in the same way."""
    gate = gate_of(CASES / fact / "kiosk.toml")
    then = _journal(fact)
    now = []
    for line in then:
        entry = wire.decode_entry(line)
        effects = tuple(gate.step(entry.given, entry.now))
        now.append(wire.encode_entry(wire.Entry(now=entry.now, given=entry.given, effects=effects)))
    assert now == then


def _replay(fact: str, config: Path) -> int:
    return cli.main(["replay", str(CASES / fact / "input.jsonl"), "--config", str(config)])


def test_the_command_finds_nothing_different_in_a_case(capsys: pytest.CaptureFixture[str]) -> None:
    """It counts the steps and answers 0."""
    fact = "an_exit_opens_for_everybody"
    assert (_replay(fact, CASES / fact / "kiosk.toml"), *capsys.readouterr()) == (
        0,
        f"{len(_journal(fact))} steps replayed, 0 different\n",
        "",
    )


def _case_with_other_rules(fact: str, folder: Path) -> Path:
    shutil.copytree(CASES / "keys", folder / "keys")
    shutil.copytree(CASES / fact, folder / fact)
    rules = (CASES / "rules.toml").read_text(encoding="utf-8")
    held, denied = 'already_presented = { decision = "held"', 'already_presented = { decision = "denied"'
    assert held in rules
    (folder / "rules.toml").write_text(rules.replace(held, denied), encoding="utf-8")
    return folder / fact / "kiosk.toml"


def test_the_command_shows_what_other_rules_would_have_done(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It answers 1 and puts what was recorded above what happens now, for each step that differs."""
    fact = "the_same_person_again_within_the_window_is_held"
    assert _replay(fact, _case_with_other_rules(fact, tmp_path)) == 1
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("(")[0].strip() for line in shown[:3]] == ["step 9: Seen", "then", "now"]
    assert ["'held'" in line for line in shown[1:3]] == [True, False]
    assert ["'denied'" in line for line in shown[1:3]] == [False, True]
    assert shown[-1].startswith(f"{len(_journal(fact))} steps replayed, ")


@pytest.mark.parametrize("content", [b"{}\n", b"[]\n", b"not a journal\n", b"\xff"])
def test_the_command_says_when_a_file_is_not_a_journal(
    content: bytes, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It answers 3 in a sentence that names the file, without a stack trace."""
    journal = tmp_path / "other.jsonl"
    journal.write_bytes(content)
    config = CASES / "an_exit_opens_for_everybody" / "kiosk.toml"
    assert cli.main(["replay", str(journal), "--config", str(config)]) == 3
    first, said = capsys.readouterr().err.splitlines()[:2]
    assert (first, said.startswith(f"  {journal}: not a journal of this version (")) == ("1 to mend:", True)
