"""The order of the checks, and how long each may take.

A check that does not come back is left behind: its thread is no reason for the rest to wait. The command line calls
`examine`.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial

from kiosk.doctor import camera_checks, line_checks, link_checks, machine_checks, trust_checks
from kiosk.doctor.case import Case
from kiosk.doctor.finding import Finding, bad, ok

Check = Callable[[Case], list[Finding]]

CHECKS: tuple[tuple[str, float, Check], ...] = (
    ("camera", 15.0, camera_checks.camera),
    ("lines", 10.0, line_checks.lines),
    ("broker name", 40.0, link_checks.link),
    ("certificate", 5.0, trust_checks.certificates),
    ("trust", 20.0, trust_checks.city),
    ("outbox", 15.0, machine_checks.storage),
    ("heat", 5.0, machine_checks.computer),
    ("page", 10.0, machine_checks.services),
)
"""The first finding of each, the seconds it may take beside those that a code is held up, and what it is."""


def examine(case: Case) -> Iterator[Finding]:
    """Give every finding as soon as it is there, always in the same order."""
    yield _door(case)
    for name, within_s, check in CHECKS:
        yield from within(name, within_s + case.hold_a_code_s, partial(check, case))


def _door(case: Case) -> Finding:
    if case.running:
        shown = case.running.view.get("screen", "")
        fault = str(case.running.view.get("fault", ""))
        if shown in {"out_of_order", "locked", "fire"}:
            return bad(
                "door",
                f"runs, and its screen shows {shown}{fault and '; '}{fault}",
                "see below, and docs/operations.md",
            )
        return ok("door", "runs; it is asked and not disturbed")
    if case.held.by:
        return bad("door", f"{case.held.by} has it, and no page answers", "wait for its end, or end it")
    return ok("door", "does not run; everything is tried")


def within(name: str, within_s: float, check: Callable[[], list[Finding]]) -> list[Finding]:
    """Do a check in a thread that is left behind if it takes longer."""
    found: list[Finding] = []
    bugs: list[BaseException] = []

    def run() -> None:
        try:
            found.extend(check())
        except BaseException as bug:  # noqa: BLE001 - the one broad except of this thread; raised again below
            bugs.append(bug)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(within_s)
    if bugs:
        raise bugs[0]
    if thread.is_alive():
        return [bad(name, f"no answer within {within_s:.0f} s", "a driver or the disk hangs: restart the computer")]
    return found
