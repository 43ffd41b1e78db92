"""PURE. The life of each alert: raised, delivered, acknowledged, closed; and when to say that nobody has answered.

It keeps what was heard of each, whatever came first and however often, and asks for an escalation each time that nobody
at the health authority has acknowledged an alert for so long. What an escalation does at the door, the gate decides.
"""

from dataclasses import dataclass

from kiosk.clock import S
from kiosk.messages import AlertNews, AlertState

SHOWN_ACKNOWLEDGED_NS = 3600 * S
"""So long the door says that an alert was seen; nobody may ever close it."""
MOST_KEPT = 1000
"""Beyond this the one that has come furthest is forgotten, the oldest of those. Its event is safe in the outbox."""

_STEPS = {state: step for step, state in enumerate(AlertState)}
"""An alert only ever goes forward through these."""
UNANSWERED = (AlertState.RAISED, AlertState.DELIVERED)
"""Nobody at the health authority has seen it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """An alert that nobody has acknowledged in time; `count` says how often this was said of it, from 1."""

    ledger: str
    sequence: int
    delivered: bool
    count: int


@dataclass(slots=True)
class _Life:
    """`ours`: this kiosk raised it; of others, and of earlier times, the city's list speaks as well."""

    state: AlertState
    since_ns: int
    ours: bool = False
    told: int = 0


class Alerts:
    """The alerts of one door.

    `least` is the state of that open alert which has come least far, None while none is open; `deadline_ns` is when
    `elapse` will next have something to do.

    Args:
        escalate_after_ns: how long an alert may go without somebody's acknowledgement.
        most_escalations: how often that is said of one alert.
    """

    def __init__(self, escalate_after_ns: int, most_escalations: int) -> None:
        self.least: AlertState | None = None
        self.deadline_ns: int | None = None
        self._after_ns = escalate_after_ns
        self._most = most_escalations
        self._lives: dict[tuple[str, int], _Life] = {}

    @property
    def unanswered(self) -> bool:
        """Whether nobody has seen one of them."""
        return self.least in UNANSWERED

    def note(self, news: AlertNews, now_ns: int) -> None:
        """An alert has come further; what is older than what is known changes nothing."""
        which = (news.ledger, news.sequence)
        life = self._lives.setdefault(which, _Life(news.state, now_ns))
        life.ours = life.ours or news.state in UNANSWERED
        if _STEPS[news.state] > _STEPS[life.state]:
            life.state = news.state
            life.since_ns = life.since_ns if news.state in UNANSWERED else now_ns
        if len(self._lives) > MOST_KEPT:
            del self._lives[max(self._lives, key=lambda each: _STEPS[self._lives[each].state])]
        self._sum_up()

    def elapse(self, now_ns: int) -> list[Overdue]:
        """Say which alerts have waited for too long, each once for every time that it is due."""
        if self.deadline_ns is None or now_ns < self.deadline_ns:
            return []
        overdue = []
        for (ledger, sequence), life in self._lives.items():
            due_ns = self._due_ns(life)
            if due_ns is None or now_ns < due_ns:
                continue
            if life.state is AlertState.ACKNOWLEDGED:
                life.state = AlertState.CLOSED
                continue
            life.told, life.since_ns = life.told + 1, now_ns
            delivered = life.state is AlertState.DELIVERED
            overdue.append(Overdue(ledger=ledger, sequence=sequence, delivered=delivered, count=life.told))
        self._sum_up()
        return overdue

    def _due_ns(self, life: _Life) -> int | None:
        if life.state in UNANSWERED:
            return life.since_ns + self._after_ns if life.told < self._most else None
        return life.since_ns + SHOWN_ACKNOWLEDGED_NS if life.state is AlertState.ACKNOWLEDGED else None

    def _sum_up(self) -> None:
        lives = self._lives.values()
        still_open = (life.state for life in lives if life.ours and life.state is not AlertState.CLOSED)
        self.least = min(still_open, key=_STEPS.__getitem__, default=None)
        self.deadline_ns = min((due for life in lives if (due := self._due_ns(life)) is not None), default=None)
