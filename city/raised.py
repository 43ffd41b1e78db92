"""New alerts and escalations among stored events: rows of the table `alerts`, in the transaction that stores them.

Knows no life of an alert beyond its first state (`city.alerts`). Called by `city.store`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam

from city.schema import ALERTS, NAME
from kiosk import wire
from kiosk.messages import AlertState

KINDS = frozenset({"alert", "escalation"})


def note(connection: Connection, insert: Any, rows: Sequence[Mapping[str, Any]]) -> None:  # noqa: ANN401 - two dialects
    """Take note of new events of these kinds, given as rows of the table `events`; other kinds are passed over.

    Args:
        connection: in the transaction that stores them.
        insert: an INSERT into `alerts` that knows ON CONFLICT.
        rows: by key.
    """
    alerts = [_delivered(row) for row in rows if row["kind"] == "alert"]
    if alerts:
        connection.execute(insert.on_conflict_do_nothing(), alerts)
    counts = [count for row in rows if row["kind"] == "escalation" and (count := _count(row))]
    if counts:
        mine = and_(*(ALERTS.c[name] == bindparam(f"its_{name}") for name in ("device", "ledger", "sequence")))
        fewer = and_(mine, ALERTS.c.escalations < bindparam("its_count"))
        ordered = sorted(counts, key=lambda count: (count["its_ledger"], count["its_sequence"]))
        connection.execute(ALERTS.update().where(fewer).values(escalations=bindparam("its_count")), ordered)


def _delivered(row: Mapping[str, Any]) -> dict[str, Any]:
    key = {name: row[name] for name in ("device", "ledger", "sequence")}
    return {**key, "state": AlertState.DELIVERED, "by": "", "at": row["received_at"]}


def _count(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an escalation says of its alert; None if no alert can be called so, which a database might choke on."""
    ledger, sequence, count = (row["body"][name] for name in ("alert_ledger", "alert_sequence", "count"))
    if len(ledger) > NAME or "\0" in ledger or not 1 <= sequence <= wire.BIGGEST_SEQUENCE or not 1 <= count < 2**31:
        return None
    return {"its_device": row["device"], "its_ledger": ledger, "its_sequence": sequence, "its_count": count}
