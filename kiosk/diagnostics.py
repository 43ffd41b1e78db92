"""PURE. What a technician wants to know of a door from afar, as one JSON document without anything personal.

Decides what is told, and what is left out where it would not fit. Refuses to know where figures come from
(`kiosk.machine` looks at the computer). Called by `kiosk.commanding` for the order `diagnostics` (docs/commands.md).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from kiosk.clock import Now

MOST_BYTES = 8 * 1024
LONGEST_FAULT = 200
"""Characters of one fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What the door holds. Versions are 0 and times None where there is nothing."""

    trust_version: int
    risk_list_version: int
    risk_list_made: datetime | None
    certificate_until: datetime | None
    waiting: int
    last_command: int


def report(
    now: Now,
    *,
    version: str,
    boot_id: str,
    faults: Mapping[str, str],
    vitals: Mapping[str, float | None],
    holdings: Holdings,
) -> str:
    """Write it in at most `MOST_BYTES`; faults that do not fit are counted. `vitals` are `kiosk.machine.Vitals`."""
    faulty = [(stage, fault[:LONGEST_FAULT]) for stage, fault in sorted(faults.items()) if fault]
    made = holdings.risk_list_made
    told = {
        "version": version,
        "at": now.utc.isoformat(),
        "utc_trusted": now.utc_trusted,
        "boot_id": boot_id,
        **vitals,
        **{name: held.isoformat() if isinstance(held, datetime) else held for name, held in asdict(holdings).items()},
        "risk_list_age_s": int((now.utc - made).total_seconds()) if made and now.utc_trusted else None,
    }
    for fitting in range(len(faulty), -1, -1):
        left_out = {"faults_left_out": len(faulty) - fitting} if fitting < len(faulty) else {}
        text = json.dumps({**told, "faults": dict(faulty[:fitting]), **left_out})
        if len(text) <= MOST_BYTES:
            break
    return text
