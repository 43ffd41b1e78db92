"""The city's desk: keeps doors in the database, tells of alarms, and tells each kiosk what became of its alerts.

It is the only one who publishes alerts' states: people say things to the database (`city.alerts`), and what is there
untold goes out retained, so a kiosk that is away learns it later, and a desk that is away catches up. After each new
connection it says again what was said in the last days, in case the broker has lost it. Run one; it has no thread.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy.exc import DBAPIError

from city import alerts, door_table
from city.lookout import BEAT_S, KINDS, Lookout
from city.notices import Notice
from city.store import Store
from city.subscriber import Beat, Heard, Linked, Stood, Subscriber
from kiosk import wire
from kiosk.broker import Broker
from kiosk.clock import Clock, S

TURN_S = 0.5
"""Longest wait for a message; also how soon a word of somebody's goes out."""
KEEP_S = 5
"""Between two writings of what doors have said."""
SAID_AGAIN = timedelta(days=7)


class Desk:
    """One desk.

    Args:
        broker: where to, and how to log in.
        store: the city's database.
        clock: for what is silent, and for when somebody said something.
        beat_s: between two heartbeats of a kiosk.
        client_id: only one may have it.
        on_notice: told what people are to know.
        on_ready: told when the broker has confirmed the subscriptions.
        on_trouble: told one sentence about a message, a connection or a database that is no good.
    """

    def __init__(
        self,
        broker: Broker,
        store: Store,
        clock: Clock,
        *,
        on_notice: Callable[[Notice], None],
        on_ready: Callable[[], None],
        on_trouble: Callable[[str], None],
        beat_s: int = BEAT_S,
        client_id: str = "city-desk",
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_notice, self._on_ready, self._on_trouble = on_notice, on_ready, on_trouble
        self._subscriber = Subscriber(broker, kinds=KINDS, client_id=client_id, on_trouble=on_trouble)
        self._lookout = Lookout(store, clock, beat_s=beat_s)
        self._touched: set[str] = set()
        self._said: dict[str, wire.Heartbeat | wire.State] = {}
        self._kept_ns = self._told_ns = 0
        self._connected = self._say_again = False
        self._publishing: dict[int, tuple[str, list[tuple[str, int, str]]]] = {}
        self._down = False

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Serve until `stopped(seconds)`, which waits that long and tells whether to end, says so."""
        try:
            while not stopped(0):
                self._hear(self._subscriber.turn(TURN_S))
                self._work()
        finally:
            self._subscriber.close()

    def _hear(self, heard: Sequence[Heard]) -> None:
        notices, touched = self._lookout.hear(heard)
        self._touched |= touched
        for one in heard:
            if isinstance(one, Linked):
                self._publishing.clear()  # what was not taken is still untold
                self._connected = self._say_again = one.up
                if one.up:
                    self._on_ready()
            elif isinstance(one, Beat):
                self._said[one.device] = one.heartbeat
            elif isinstance(one, Stood) and one.device not in self._said:
                self._said[one.device] = one.state
        for notice in notices:
            self._on_notice(notice)

    def _work(self) -> None:
        """All that needs the database; without it, what is heard is told all the same, and the rest waits."""
        try:
            for notice in self._lookout.look():
                self._on_notice(notice)
            self._keep()
            self._tell_kiosks()
        except DBAPIError as error:
            if not self._down:
                self._on_trouble(f"the database cannot be used ({type(error.orig).__name__}); trying again")
            self._down = True
        else:
            self._down = False

    def _keep(self) -> None:
        now_ns = self._clock.now().monotonic_ns
        if self._touched and now_ns - self._kept_ns >= KEEP_S * S:
            door_table.keep(self._store, self._lookout.doors(self._touched), self._said)
            self._touched.clear()
            self._said.clear()
            self._kept_ns = now_ns

    def _tell_kiosks(self) -> None:
        """Publish what is untold; it is told once the broker has taken it."""
        now = self._clock.now()
        if not self._connected or now.monotonic_ns - self._told_ns < TURN_S * S:
            return
        self._told_ns = now.monotonic_ns
        for number in self._subscriber.session.taken():
            if number in self._publishing:
                alerts.mark_told(self._store, *self._publishing.pop(number))
        on_their_way = {device for device, _ in self._publishing.values()}
        for device in alerts.untold(self._store, now.utc - SAID_AGAIN if self._say_again else None):
            if device not in on_their_way:
                self._publish(device)
        self._say_again = False

    def _publish(self, device: str) -> None:
        states, fresh = alerts.states_of(self._store, device)
        topic, said = wire.alert_states_topic(device), states.model_dump_json()
        number = self._subscriber.session.publish(topic, said, retained=True)
        if number is not None:
            self._publishing[number] = (device, fresh)
