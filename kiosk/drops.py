"""PURE. What the outbox says of events it has dropped, and how the city reads it.

The gap in a ledger's sequences is no loss alarm where a report explains it. The outbox writes `reported` into the
detail of a fault of its own stage; whoever looks for gaps reads it back with `explained`.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

_REPORT = re.compile(r"dropped [0-9]+ events beyond outbox\.[a-z_]+, no alert among them: sequences ([0-9, -]+)")


def reported(sequences: list[int], key: str) -> str:
    """Write the detail of a drop. `key` is the bound in [outbox]; the sequences rise."""
    spans = ", ".join(_spans(sequences))
    return f"dropped {len(sequences)} events beyond outbox.{key}, no alert among them: sequences {spans}"


def explained(detail: str) -> list[range]:
    """Read the sequences out of a fault's detail; none where it reports no drop."""
    said = _REPORT.fullmatch(detail)
    spans = [span.partition("-") for span in said[1].split(", ")] if said else []
    return [range(int(first), int(last or first) + 1) for first, _, last in spans]


def _spans(sequences: Iterable[int]) -> Iterator[str]:
    for _, run in groupby(enumerate(sequences), key=lambda at: at[1] - at[0]):
        numbers = [number for _, number in run]
        yield f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
