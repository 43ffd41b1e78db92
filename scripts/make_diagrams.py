"""Draw the door's state diagrams into docs/door.md, from the tables and the running code: `--check` only compares.

The fire is drawn from its table. The life of an alert, the lane and the lasting orders are found by trying every input
in every state of the code itself, so an arrow that is drawn is one that happens. That fire and emergency stop end an
unlock is the gate's doing, and is written here; tests/unit/test_gate_orders.py holds it.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from datetime import UTC, datetime  # noqa: E402 - after the path

from kiosk.alerts import SHOWN_ACKNOWLEDGED_NS, Alerts  # noqa: E402
from kiosk.clock import Now, S  # noqa: E402
from kiosk.interlock import FIRE_LAW  # noqa: E402
from kiosk.lane import HEARD_LATE_NS, Lane, Told  # noqa: E402
from kiosk.messages import AlertNews, AlertState, Command, Direction, InputLine, Order, Sensed  # noqa: E402
from kiosk.orders import LASTING, REFUSED, Fact, Orders, refusal  # noqa: E402

PAGE = ROOT / "docs" / "door.md"
BLOCK = re.compile(r"(<!-- drawn: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
Arrow = tuple[str, str, str]
"""From, to, and what was the reason."""


def fire() -> list[Arrow]:
    """The table of kiosk/interlock.py."""
    return [(str(before), str(after), str(what)) for (before, what), after in FIRE_LAW.items()]


def alerts() -> list[Arrow]:
    """What every piece of news, and time, make of an alert in every state."""
    arrows = []
    for before in AlertState:
        for news in AlertState:
            life = _alert(before)
            life.note(AlertNews(ledger="", sequence=1, state=news), 0)
            arrows.append((str(before), _open(life), str(news)))
        life = _alert(before)
        overdue = life.elapse(S)
        arrows += [(str(before), str(before), "escalation")] if overdue else []
        if not overdue and before is not AlertState.CLOSED:
            life.elapse(SHOWN_ACKNOWLEDGED_NS)
            arrows.append((str(before), _open(life), "an hour"))
    return [(before, after, why) for before, after, why in arrows if before != after or why == "escalation"]


def _alert(state: AlertState) -> Alerts:
    life = Alerts(S, 3)
    for each in (AlertState.RAISED, state):
        life.note(AlertNews(ledger="", sequence=1, state=each), 0)
    return life


def _open(life: Alerts) -> str:
    return str(life.least or AlertState.CLOSED)


def lane() -> list[Arrow]:
    """What a grant, the sensor, time and a fire make of one direction of a lane whose sensor rests at first."""
    begun = {"idle": [], "granted": ["grant"], "passing": ["grant", "worked"], "passing without": ["worked"]}
    return [
        (before, after, f"{what} ({told})" if told else what)
        for before, done in begun.items()
        for what in ("grant", "worked", "rests", "time", "fire")
        for after, told in [_lane_after(done, what)]
        if (after, told) != (before, "")
    ]


def _lane_after(done: Iterable[str], what: str) -> tuple[str, str]:
    one = Lane(Direction.ENTRY, 5 * S)
    _do(one, "rests")
    for each in done:
        _do(one, each)
    told = " ".join(each.outcome for each in _do(one, what))
    sensor = one._sensors[Direction.ENTRY]  # noqa: SLF001 - what it keeps is what is drawn
    going = "passing" if sensor.outcome in {None, "access_taken"} else "passing without"
    waits = "granted" if one._in_hand[Direction.ENTRY] else "idle"  # noqa: SLF001
    return (going if sensor.under_way else waits), told


def _do(one: Lane, what: str) -> list[Told]:
    if what == "grant":
        one.grant(Direction.ENTRY, Now(monotonic_ns=0, utc=datetime(2021, 11, 22, tzinfo=UTC), utc_trusted=True))
    elif what == "fire":
        one.release()
    elif what == "time":
        return one.elapse(5 * S + HEARD_LATE_NS)
    else:
        return one.sense(Sensed(line=InputLine.ENTRY_PASSAGE, active=what == "worked", at_ns=S), free=False)
    return []


def orders() -> list[Arrow]:
    """What the city's orders and time make of an entry that is as usual, unlocked or locked."""
    states: dict[str, tuple[Order, ...]] = {"as usual": (), "unlocked": (Order.UNLOCK,), "locked": (Order.LOCK,)}
    arrows = []
    for before, given in states.items():
        for order in (*LASTING, Order.RELEASE):
            door = _orders(given)
            facts = frozenset({Fact.LOCKED} if door.lasts(Order.LOCK) else ())
            if not refusal(order, facts):
                door.begin(Command(number=1, order=order, seconds=2), 0)
            arrows.append((before, _state(door), str(order)))
        door = _orders(given)
        door.elapse(S)
        arrows.append((before, _state(door), "its time is over"))
    arrows.append(("unlocked", "as usual", "fire, emergency stop"))
    return [(before, after, why) for before, after, why in arrows if before != after]


def _orders(given: Iterable[Order]) -> Orders:
    door = Orders()
    for order in given:
        door.begin(Command(number=1, order=order, seconds=1), 0)
    return door


def _state(door: Orders) -> str:
    return next((f"{order}ed" for order in (Order.LOCK, Order.UNLOCK) if door.lasts(order)), "as usual")


def refusals() -> str:
    """The table of kiosk/orders.py, as Markdown."""
    rows = [
        f"| {why} | {', '.join(f'`{order}`' for order in Order if order in orders)} |" for _, orders, why in REFUSED
    ]
    return "\n".join(["| answer | orders |", "|---|---|", *rows, ""])


DRAWN: dict[str, tuple[str, Callable[[], list[Arrow]]]] = {
    "fire": ("none", fire),
    "alert": ("raised", alerts),
    "lane": ("idle", lane),
    "orders": ("as usual", orders),
}


def drawing(name: str) -> str:
    """A Mermaid diagram; reasons that lead the same way are on one arrow."""
    first, found = DRAWN[name]
    ways: dict[tuple[str, str], list[str]] = {}
    for before, after, why in found():
        ways.setdefault((before, after), []).append(why)
    named = {state: state.replace(" ", "_") for way in ways for state in way}
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{state}" as {short}' for state, short in named.items() if state != short]
    lines.append(f"    [*] --> {named[first]}")
    lines += [f"    {named[before]} --> {named[after]}: {', '.join(why)}" for (before, after), why in ways.items()]
    return "\n".join([*lines, "```", ""])


def drawn(text: str) -> str:
    """The page with every block as the code is now."""
    made = {"refusals": refusals()}
    return BLOCK.sub(lambda found: found[1] + (made.get(found[2]) or drawing(found[2])) + found[4], text)


def main() -> int:
    """Write the page, or say whether it is true."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if something would change")
    asked = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8")
    after = drawn(before)
    if asked.check:
        print("docs/door.md is not as the code is: run scripts/make_diagrams.py" if before != after else "true")
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
