"""What the technician sees: one row a door while it is worked on, and the same for a program as JSON."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from fleet.inventory import Door
from fleet.work import Outcome, Status

COLOUR = {
    Status.GREEN: "green",
    Status.CHANGED: "green",
    Status.WOULD_CHANGE: "yellow",
    Status.SKIPPED: "yellow",
}


class LiveTable:
    """A table that is drawn again at every step; on something that is no terminal, once at the end."""

    def __init__(self, console: Console, doors: Iterable[Door]) -> None:
        self._console = console
        self._rows = {door.device: (door, "waiting") for door in doors}
        self._live = Live(self._drawn(), console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def told(self, door: Door, step: str) -> None:
        """Show where a door is."""
        self._rows[door.device] = (door, step)
        self._live.update(self._drawn())

    def _drawn(self) -> Table:
        table = Table("door", "host", "site", "now")
        for door, step in self._rows.values():
            table.add_row(escape(door.device), escape(door.host), escape(door.site), escape(step))
        return table


def report(console: Console, outcomes: Iterable[Outcome]) -> None:
    """The end of it, a row a door: what became of it, what was done, and what to do."""
    table = Table("door", "host", "status", "s", "what")
    for outcome in outcomes:
        what = "\n".join(text for text in (*outcome.steps, outcome.detail) if text)
        status = f"[{COLOUR.get(outcome.status, 'red')}]{outcome.status}[/]"
        table.add_row(escape(outcome.device), escape(outcome.host), status, f"{outcome.seconds:.1f}", escape(what))
    console.print(table)


def as_json(verb: str, outcomes: Iterable[Outcome]) -> str:
    """One document for a program."""
    return json.dumps({"verb": verb, "doors": [asdict(outcome) for outcome in outcomes]}, ensure_ascii=False, indent=2)
