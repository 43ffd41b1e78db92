"""What an event costs the card: syncs and bytes written, counted at the kernel, each event stored by itself.

    scripts/torture wear [--events 2000] [--json]

Check-ins as a door sends them, identity sealed, each waited for as a grant is; the city acknowledges each while the
next is under way. Fails beyond 1.1 syncs or 5.5 KB an event.
"""

import subprocess
import sys
import tempfile
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import verdict
import writes

from kiosk import wire
from kiosk.messages import CheckIn, Decision, Direction, Reason, Scheme
from kiosk.outbox import Outbox

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main")
AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
MOST_SYNCS, MOST_BYTES = 1.1, 5500
SEALED = "A" * 200
"""As long as `kiosk.credentials.sealing` makes a name and a number of twelve digits."""


def work(folder: Path, events: int) -> None:
    """Be the door, and the city."""
    box = Outbox(folder / "outbox.sqlite3", ORIGIN, on_health=print, on_change=lambda: None)
    writer = threading.Thread(target=box.write, args=(lambda: None,))
    writer.start()
    for number in range(1, events + 1):
        event = CheckIn(
            at=AT,
            utc_trusted=True,
            direction=Direction.ENTRY,
            decision=Decision.GRANTED,
            reasons=(Reason.NO_RISK,),
            scheme=Scheme.DECLARATION,
            subject=f"{number:032x}",
            data_age_s=3600,
            city_age_s=60,
            sealed=SEALED,
        )
        box.append([event]).wait(30.0)
        if number > 1:
            box.acknowledge(box.ledger, [number - 1])
    box.close()
    writer.join()


def main() -> int:
    """Count, and say."""
    parser = verdict.parser("wear", __doc__, seconds=600)
    parser.add_argument("--events", type=int, default=2000, help="default: %(default)s")
    parser.add_argument("--work-in", type=Path, help="be the process that is counted")
    given = parser.parse_args()
    if given.work_in:
        work(given.work_in, given.events)
        return verdict.PASSED
    with tempfile.TemporaryDirectory() as name:
        folder, trace = Path(name) / "inside", Path(name) / "trace"
        folder.mkdir()
        ours = [sys.executable, __file__, "--work-in", str(folder), "--events", str(given.events)]
        subprocess.run([*writes.command(trace), *ours], check=True, timeout=given.seconds, stdin=subprocess.DEVNULL)
        counted = Counter[str]()
        for did in writes.done(trace, folder, ""):
            counted.update({did.call: 1, "bytes": len(did.content)})
    syncs, size = counted["sync"] / given.events, counted["bytes"] / given.events
    figures = {"events": given.events, "syncs_per_event": round(syncs, 3), "bytes_per_event": round(size)}
    beyond = [f"beyond {MOST_SYNCS} syncs or {MOST_BYTES} bytes"] if syncs > MOST_SYNCS or size > MOST_BYTES else []
    return verdict.tell("wear", figures, beyond, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
