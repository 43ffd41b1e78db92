"""The composition root: makes every stage and every thread, runs the core loop, stops in order.

The core thread is the main thread; it owns the gate and all lines. The others are: capture (camera), decode (the quick
look), search (the slow one), inputs (contacts), outbox (disk), uplink (network) and screen (page). Frames go through
slots where the newest wins, everything else through the inbox. A bug in any thread ends the process; the lines are at
rest before it does.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import SystemRandom

import cv2

from kiosk import __version__, wire
from kiosk.broker import brokers_of
from kiosk.caretaker import Caretaker
from kiosk.city_data import city_data, files_of
from kiosk.city_feed import CityFeed
from kiosk.clock import MS, Now, S
from kiosk.commanding import Commanding, asks_for_restart
from kiosk.exchange import Hears
from kiosk.gate_settings import CityData
from kiosk.inbox import Inbox
from kiosk.ladder import Step
from kiosk.line_inputs import InputWatch
from kiosk.machine import Machine
from kiosk.messages import (
    AlertNews,
    Ask,
    Carry,
    CheckIn,
    Drive,
    Effect,
    Elapsed,
    Event,
    Fire,
    Input,
    Record,
    Reset,
    Show,
    StageHealth,
    TrialVisit,
)
from kiosk.mirror import reflect
from kiosk.outbox import Outbox
from kiosk.outbox_file import Bounds
from kiosk.parts import Parts, gate_for, late_after, origin_of, player_for
from kiosk.revival import revived
from kiosk.risk_list import RiskList
from kiosk.screen import ScreenServer
from kiosk.supervisor import (
    Supervisor,
)
from kiosk.trust import Bundle
from kiosk.uplink import Uplink
from kiosk.viewing import Viewing
from kiosk.visitor_desk import VisitorDesk

log = logging.getLogger("kiosk")

RECORD_WITHIN_S = 0.150
"""How long a grant's relay waits for its record (docs/decisions/0002)."""
TICK_NS = 500 * MS
"""Longest the core sleeps: it checks the camera's age and the other stages at least twice a second."""
SETTLE_NS = 10 * S
"""After a recording has ended: how long the city may take to acknowledge before the process leaves."""


class Daemon:
    """One running kiosk.

    Args:
        parts: all it is made of.

    Raises:
        StageFault: the outbox, the page or the broker's certificates cannot be used.
    """

    def __init__(self, parts: Parts) -> None:
        settings = parts.loaded.settings
        self._parts = parts
        self._clock = parts.clock
        self._inbox = Inbox()
        self._stopping = threading.Event()
        self._ended_ns = 0
        self._crash: BaseException | None = None
        self._cure: Step | None = None
        self._viewing = self._make_viewing()
        self._machine = Machine(Path(settings.outbox.path).parent)
        self._health: dict[str, str] = {}
        self._caretaker = Caretaker(
            Supervisor(self._clock, late_after(parts)),
            parts.notifier,
            parts.dead_man,
            Path(settings.city_data.folder) / "tried.json",
            on_late=partial(self._report, "supervisor"),
        )
        origin = origin_of(parts.loaded)
        self.screen = ScreenServer(port=settings.screen.port, languages=parts.loaded.languages)
        self._visitors = VisitorDesk(parts.runtime, self._inbox.put)
        self._outbox = self._make_outbox(origin)
        trust, risks = files_of(parts.loaded)
        self._feed = CityFeed(
            trust,
            risks,
            parts.loaded.city,
            on_change=lambda bundle, risk_list: self._inbox.put(self._city_data(bundle, risk_list)),
            on_trouble=self._report,
        )
        self._commanding = Commanding(
            settings,
            self._clock,
            boot_id=origin.boot_id,
            feed=self._feed,
            machine=self._machine,
            waiting=lambda: self._outbox.waiting,
            faults=self._health.copy,
            on_input=self._inbox.put,
        )
        self._uplink = self._make_uplink(origin)
        self._gate = gate_for(parts.loaded, self._city_data(self._feed.bundle, self._feed.risk_list))
        self._player = player_for(parts)

    def _make_viewing(self) -> Viewing:
        settings = self._parts.loaded.settings
        return Viewing(
            self._parts.open_camera,
            longest_exposure_us=settings.camera.longest_exposure_us,
            stopping=self._stopping,
            on_seen=self._inbox.put,
            on_camera=partial(self._report, "camera"),
            on_view=partial(self._report, "view"),
            clock=self._clock,
        )

    def _make_outbox(self, origin: wire.Origin) -> Outbox:
        settings = self._parts.loaded.settings
        return Outbox(
            Path(settings.outbox.path),
            origin,
            on_health=partial(self._report, "outbox"),
            on_change=lambda: self._uplink.nudge(),  # noqa: PLW0108 - the uplink is made next
            on_alert=self._inbox.put,
            on_acknowledged=self._visitors.acknowledged,
            bounds=Bounds(most_events=settings.outbox.most_events, most_days=settings.outbox.most_days),
            clock=self._clock,
        )

    def _make_uplink(self, origin: wire.Origin) -> Uplink:
        settings = self._parts.loaded.settings
        return Uplink(
            brokers_of(settings.uplink, self._commanding.renewed_file),
            origin,
            self._outbox,
            self._clock,
            Hears(
                on_status=self._inbox.put,
                on_trouble=log.warning,
                on_fault=partial(self._report, "uplink"),
                on_answer=self._inbox.put,
                on_command=self._commanding.receive,
                on_alert=self._hear_of_alert,
                faults=lambda: sorted(stage for stage, fault in list(self._health.items()) if fault),
            ),
            feed=self._feed,
            heartbeat_s=settings.uplink.heartbeat_s,
            spread_s=settings.uplink.spread_s,
            version=__version__,
            random=SystemRandom(),
        )

    def stop(self) -> None:
        """Ask `run` to end; from a signal handler or another thread."""
        self._stopping.set()
        self._inbox.wake()

    def run(self) -> Step | None:
        """Run until `stop`, the end of a recording, or a bug in any thread, which is raised here.

        The answer is what may cure a stage that did not recover, where that is why it ends.
        """
        cv2.setNumThreads(1)  # the cores are for the stages; OpenCV's own threads would compete with them
        threads = self._threads()
        for thread in threads:
            thread.start()
        self._parts.notifier.say("READY=1")
        try:
            self._core()
        finally:
            self._parts.notifier.say("STOPPING=1")
            self._rest_lines(threads)
            self._parts.dead_man.disarm()
            self._commanding.close()
            self._uplink.close()
            self.screen.close()
            self._join(threads)
        if self._crash:
            raise self._crash
        return self._cure

    def _threads(self) -> list[threading.Thread]:
        stamp = self._caretaker.stamp_for
        work: dict[str, Callable[[], None]] = {
            "capture": partial(self._viewing.capture, stamp("camera")),
            "decode": partial(self._viewing.decode, stamp("decoder")),
            "search": partial(self._viewing.search, stamp("search")),
            "uplink": partial(self._link, stamp("uplink")),
            "errands": self._commanding.run,
            "screen": partial(self.screen.serve, stamp("screen")),
            "mirror": self._reflect,
            "visitors": partial(self._visitors.run, self._stopping),
            "machine": partial(self._machine.watch, self._stopping, partial(self._report, "machine"), stamp("machine")),
            "inputs": self._sense,
            "outbox": partial(self._outbox.write, stamp("outbox")),
        }
        return [
            threading.Thread(target=self._guarded, args=(name, do), name=name, daemon=True) for name, do in work.items()
        ]

    def _reflect(self) -> None:
        if self._parts.loaded.settings.screen.mirror:
            reflect(self._viewing.shown, self.screen, self._stopping)

    def _sense(self) -> None:
        if self._parts.inputs:
            watch = InputWatch(self._parts.inputs, self._parts.loaded.settings.inputs.contacts())
            watch.run(self._clock, self._stopping, self._inbox.put, self._caretaker.stamp_for("inputs"))

    def _link(self, stamp: Callable[[], None]) -> None:
        revived(
            partial(self._uplink.run, stamp),
            self._clock,
            on_bug=self._tell_of_bug,
            pause=self._stopping.wait,
            uniform=SystemRandom().uniform,
        )

    def _tell_of_bug(self, bug: Exception) -> None:
        log.error("the uplink has crashed and begins anew", exc_info=bug)
        self._report("uplink", f"begun anew after a bug ({type(bug).__name__}); the journal has more")

    def _hear_of_alert(self, news: AlertNews) -> None:
        """Somebody at the health authority has seen to it."""
        self._outbox.close_alert(news.ledger, news.sequence)
        self._inbox.put(news)

    def _join(self, threads: list[threading.Thread]) -> None:
        """Wait for each in turn; the outbox is last, so that what the others left is stored."""
        for thread in threads:
            if thread.name == "outbox":
                self._outbox.close()
            thread.join(timeout=5.0)
            if thread.is_alive():
                log.error("%s does not end; leaving without it", thread.name)

    def _guarded(self, name: str, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as bug:  # the one broad except of this thread; raised again in the core thread
            log.exception("%s has crashed", name)
            self._crash = bug
            self.stop()

    # The core thread.

    def _core(self) -> None:
        while not self._stopping.is_set():
            given = self._inbox.get(self._wait_ns())
            now = self._clock.now()
            if objections := self._player.advance(now.monotonic_ns):
                self._report("interlock", "; ".join(objections))
            if given is None and self._gate.is_due(now):
                given = Elapsed()
            if given is not None:
                self._step(given, now)
            self._look_after(now)

    def _wait_ns(self) -> int:
        now_ns = self._clock.now().monotonic_ns
        deadlines = (self._gate.deadline_ns, self._player.deadline_ns)
        return min([TICK_NS, *(at - now_ns for at in deadlines if at is not None)])

    def _step(self, given: Input | CityData, now: Now) -> None:
        effects = self._gate.step(given, now)
        for effect in effects:
            self._perform(effect)
        if self._parts.journal and not isinstance(given, CityData):
            entry = wire.Entry(now=now, given=given, effects=tuple(effects))
            self._parts.journal.write(wire.encode_entry(entry) + "\n")
        if asks_for_restart(given):
            log.warning("the city has ordered a restart")
            self._stopping.set()  # its answer is stored before the outbox ends

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Record(events=events, before_drive=before_drive):
                self._record(events, before_drive=before_drive)
            case Drive(actuation=actuation):
                objections = self._player.play(actuation, self._clock.now().monotonic_ns)
                self._report("interlock", "; ".join(objections))
            case Show(view=view):
                self.screen.show(view)
            case Ask(subject=subject):
                self._uplink.ask(subject)
            case Carry(command=command):
                self._commanding.carry(command)
            case Fire(on=on):
                told = self._player.fire if on else self._player.fire_over
                told(self._clock.now().monotonic_ns)
            case Reset():
                self._report("interlock", self._player.reset(self._clock.now().monotonic_ns))

    def _record(self, events: tuple[Event, ...], *, before_drive: bool) -> None:
        receipt = self._outbox.append(events)
        self._commanding.recorded(events)
        if before_drive and not receipt.wait(RECORD_WITHIN_S):
            log.warning("the record is late: driving after %d ms without it", RECORD_WITHIN_S * 1000)
        for event in events:
            if isinstance(event, CheckIn):
                reasons = ", ".join(event.reasons)
                log.info("%s %s (%s) %s", event.direction, event.decision, reasons, event.scheme or "no format")
            elif isinstance(event, TrialVisit):
                self._visitors.judged(event, receipt)
                log.info("a trial visitor %s", event.detail or ("opens the lane" if event.opened else "is greeted"))

    def _look_after(self, now: Now) -> None:
        """Notice what no thread reports by itself, and feed the watchdog while every stage makes progress."""
        self._report("lines", "; ".join(self._player.faults.values()))
        if not self._health.get("camera") and (gone := self._viewing.vanished(now.monotonic_ns)):
            self._report("camera", gone)
        self._viewing.rescue(now.monotonic_ns)
        down = self._viewing.failing(now.monotonic_ns) or bool(self._player.faults)
        if cure := self._caretaker.look(now, down=down):
            self._cure = cure
            self._stopping.set()
        if self._viewing.ended.is_set() and self._settled(now.monotonic_ns):
            self._stopping.set()

    def _settled(self, now_ns: int) -> bool:
        """After a recording: everything judged, lines at rest, and acknowledged or given up waiting."""
        self._ended_ns = self._ended_ns or now_ns
        quiet = self._player.deadline_ns is None and self._outbox.waiting == 0
        return now_ns - self._ended_ns > (S if quiet else SETTLE_NS)

    def _report(self, stage: str, fault: str) -> None:
        """Tell the gate how a stage is, if that is news; from any thread."""
        if self._health.get(stage, "") != fault:
            self._health[stage] = fault
            log.warning("%s: %s", stage, fault or "works again")
            self._inbox.put(StageHealth(stage=stage, fault=fault))

    def _city_data(self, bundle: Bundle | None, risk_list: RiskList | None) -> CityData:
        data, trouble = city_data(self._parts.loaded, bundle, risk_list)
        self._report("city-data", trouble)
        return data

    def _rest_lines(self, threads: list[threading.Thread]) -> None:
        """Rest first; then nobody may read an input whose chip the lines give back."""
        self._player.rest(self._clock.now().monotonic_ns)
        self._stopping.set()
        for reader in (thread for thread in threads if thread.name == "inputs"):
            reader.join(timeout=1.0)
        if self._parts.inputs:
            self._parts.inputs.close()
        self._parts.lines.close()
