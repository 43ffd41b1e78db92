"""PURE. What the city has ordered at this door, and until when; and when an order cannot be carried out.

Unlock, lock and mute last until their time is over or something ends them. Who may order what, and for how long, was
decided before (docs/commands.md); what a lasting order means for people and lines, the gate decides.
"""

from collections.abc import Set as AbstractSet
from enum import StrEnum

from kiosk.clock import S
from kiosk.messages import Answered, Command, Order


class Fact(StrEnum):
    """What is so at the door, as far as an order may not go against it."""

    FIRE = "fire"
    EXIT = "exit"
    LOCKED = "locked"
    STOP = "stop"
    ALARM = "alarm"
    UNRECORDED = "unrecorded"
    SERVING = "serving"


REFUSED: tuple[tuple[Fact, AbstractSet[Order], str], ...] = (
    (Fact.FIRE, frozenset(Order) - {Order.RESYNC, Order.DIAGNOSTICS}, "fire: until staff have reset the door"),
    (Fact.EXIT, {Order.LOCK}, "an exit is never locked"),
    (Fact.LOCKED, {Order.UNLOCK}, "the entry is locked; release it first"),
    (Fact.STOP, {Order.UNLOCK}, "the emergency stop is pressed"),
    (Fact.ALARM, {Order.UNLOCK}, "somebody at risk is waiting for staff"),
    (Fact.UNRECORDED, {Order.UNLOCK}, "events cannot be stored, so nobody is let in"),
    (Fact.SERVING, {Order.TEST}, "somebody is being served; try again"),
)
"""What is so, which orders are then refused, and the answer. The first that fits is given."""

LASTING = (Order.UNLOCK, Order.LOCK, Order.MUTE)
ENDS = {Order.LOCK: (Order.UNLOCK,), Order.RELEASE: LASTING}
"""Which lasting orders an order ends."""

DONE = {
    Order.UNLOCK: "the lane opens again and again for {seconds} s",
    Order.LOCK: "locked for {seconds} s",
    Order.MUTE: "muted for {seconds} s",
    Order.RELEASE: "no unlock, lock or mute is in force",
    Order.TEST: "lights and buzzer show in turn",
}
"""What the gate carries out, and its answer. Every other order is the device's own business."""


def refusal(order: Order, facts: frozenset[Fact]) -> str:
    """Why an order cannot be carried out now; empty where it can."""
    return next((why for fact, orders, why in REFUSED if fact in facts and order in orders), "")


def answer(command: Command, why_not: str) -> Answered:
    """What to say of an order that the gate carries out itself, or refuses."""
    detail = why_not or DONE[command.order].format(seconds=command.seconds)
    return Answered(number=command.number, order=command.order, done=not why_not, detail=detail)


class Orders:
    """The lasting orders in force at one door."""

    def __init__(self) -> None:
        self._until_ns: dict[Order, int] = {}

    def lasts(self, order: Order) -> bool:
        """Whether it is in force."""
        return order in self._until_ns

    def begin(self, command: Command, now_ns: int) -> None:
        """Carry out what an order means for others, and have it last; a second one takes the place of the first."""
        for ended in ENDS.get(command.order, ()):
            self.end(ended)
        if command.order in LASTING:
            self._until_ns[command.order] = now_ns + command.seconds * S

    def end(self, order: Order) -> None:
        """It is in force no more."""
        self._until_ns.pop(order, None)

    def elapse(self, now_ns: int) -> None:
        """End what has lasted for its time."""
        self._until_ns = {order: until_ns for order, until_ns in self._until_ns.items() if now_ns < until_ns}

    @property
    def deadline_ns(self) -> int | None:
        """When the next one ends."""
        return min(self._until_ns.values(), default=None)
