"""What every torture has in common: its arguments, its bar and its last line."""

import argparse
import json
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import Progress

from kiosk.clock import S, SystemClock

PASSED, FAILED, UNABLE = 0, 1, 4
MOST_SAID = 10
"""Faults; the figures count them all."""

ERRORS = Console(stderr=True)
"""The bar goes here, so that `--json` is alone on standard output."""


def parser(name: str, doc: str | None, *, seconds: int) -> argparse.ArgumentParser:
    """Arguments every torture takes."""
    made = argparse.ArgumentParser(
        prog=f"scripts/torture {name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    made.add_argument("--seconds", type=int, default=seconds, help="ends early after so many; default: %(default)s")
    made.add_argument("--json", action="store_true", help="one JSON object instead of the verdict's line")
    return made


def bounded(rounds: Iterable[int], total: int, seconds: int, what: str) -> Iterator[int]:
    """Count rounds on a bar; ends with them or with the time."""
    clock = SystemClock()
    deadline_ns = clock.now().monotonic_ns + seconds * S
    with Progress(console=ERRORS, transient=True, disable=not ERRORS.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        for one in rounds:
            if clock.now().monotonic_ns > deadline_ns:
                return
            yield one
            bar.advance(task)


def tell(name: str, figures: dict[str, Any], faults: list[str], *, as_json: bool) -> int:
    """Print the verdict; the answer is the exit code."""
    if as_json:
        print(json.dumps({"torture": name, "passed": not faults, **figures, "faults": faults[:MOST_SAID]}))
    else:
        said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
        print(f"{name}: {'FAILED' if faults else 'passed'}: {said}")
        for fault in faults[:MOST_SAID]:
            print(f"  {fault}")
    return FAILED if faults else PASSED
