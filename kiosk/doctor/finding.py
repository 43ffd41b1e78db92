"""PURE. What a check has found, and how findings are written for people and for programs."""

import json
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

NARROWEST, WIDEST = 60, 120


class Mark(StrEnum):
    """How it stands. `WARN` works now and will not for long, or not well; `UNKNOWN` could not be looked at."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part of the door. `fix` says what to do, and is never empty where `mark` is `BAD`."""

    name: str
    mark: Mark
    said: str
    fix: str = ""


def ok(name: str, said: str) -> Finding:
    """It is as it should be."""
    return Finding(name=name, mark=Mark.OK, said=said)


def warn(name: str, said: str, fix: str) -> Finding:
    """It works, and somebody should see to it."""
    return Finding(name=name, mark=Mark.WARN, said=said, fix=fix)


def bad(name: str, said: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(name=name, mark=Mark.BAD, said=said, fix=fix)


def unknown(name: str, said: str, fix: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(name=name, mark=Mark.UNKNOWN, said=said, fix=fix)


def parted(name: str, sentence: str, fix: str) -> Finding:
    """Make a bad finding of a sentence of ours, "what is wrong: what to do"; `fix` is for one that has no advice."""
    said, _, advice = sentence.partition(": ")
    return bad(name, said, advice or fix)


def is_green(findings: Iterable[Finding]) -> bool:
    """Whether nothing is bad."""
    return all(finding.mark is not Mark.BAD for finding in findings)


_COLOURS = {Mark.OK: "32", Mark.WARN: "33", Mark.BAD: "1;31", Mark.UNKNOWN: "2"}


def table(findings: Sequence[Finding], *, colour: bool, width: int = 0) -> str:
    """Write a line for each, with the fix below, and how many are bad at the end.

    Args:
        findings: at least one.
        colour: for a terminal.
        width: in characters; 0: the terminal's own, within reason.
    """
    wide = width or max(NARROWEST, min(WIDEST, shutil.get_terminal_size((100, 24)).columns))
    names = max(len(finding.name) for finding in findings)
    lines = [line for finding in findings for line in _lines(finding, names, wide, colour=colour)]
    return "\n".join([*lines, "", _summary(findings)])


def _lines(finding: Finding, names: int, width: int, *, colour: bool) -> list[str]:
    mark = f"{finding.mark:7}"
    head = f"\033[{_COLOURS[finding.mark]}m{mark}\033[0m" if colour else mark
    indent = " " * (7 + 1 + names + 2)
    said = textwrap.wrap(finding.said, width - len(indent), break_long_words=False, break_on_hyphens=False)
    fix = textwrap.wrap(
        finding.fix, width - len(indent), initial_indent="> ", subsequent_indent="  ", break_on_hyphens=False
    )
    first, *rest = said or [""]
    return [f"{head} {finding.name:{names}}  {first}", *(indent + line for line in (*rest, *fix))]


def _summary(findings: Sequence[Finding]) -> str:
    counts = {mark: sum(finding.mark is mark for finding in findings) for mark in Mark}
    told = [f"{counts[mark]} {word}" for mark, word in _WORDS.items() if counts[mark]]
    return ", ".join(told)


_WORDS = {Mark.OK: "well", Mark.WARN: "to see to", Mark.BAD: "to mend", Mark.UNKNOWN: "not looked at"}


def document(device: str, findings: Sequence[Finding]) -> str:
    """Write them as one JSON document."""
    told = {"device": device, "green": is_green(findings), "findings": [asdict(finding) for finding in findings]}
    return json.dumps(told, ensure_ascii=False, indent=2)
