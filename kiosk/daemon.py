"""The composition root: makes every stage and every thread, runs the core loop, stops in order.

The core thread is the main thread; it owns the gate and all lines. The others are: capture (camera), decode (the quick
look), search (the slow one), outbox (disk), uplink (network) and screen (page). Frames go through slots where the
newest wins, everything else through the inbox. A bug in any thread ends the process; the lines are at rest before it
does.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TextIO

import cv2

from kiosk import __version__, wire
from kiosk.camera import FrameSource
from kiosk.city_data import kept
from kiosk.clock import MS, Clock, Now, S
from kiosk.config import Loaded
from kiosk.decoder import Look, Reader, Searcher, Wanted
from kiosk.errors import CameraFault
from kiosk.exposure import ExposureControl
from kiosk.frame_watch import FrameWatch
from kiosk.gate import CityData, Gate, GateSettings
from kiosk.gpio_alerts import Lines, Player, limits_for
from kiosk.inbox import Inbox, Newest
from kiosk.interlock import Interlock
from kiosk.messages import (
    CheckIn,
    Direction,
    Drive,
    Effect,
    Elapsed,
    Exposure,
    Frame,
    Input,
    Record,
    Seen,
    Show,
    StageHealth,
)
from kiosk.outbox import Outbox
from kiosk.risk import Freshness
from kiosk.screen import ScreenServer
from kiosk.supervisor import LATE_AFTER_NS, UPLINK_LATE_AFTER_NS, ServiceNotifier, Supervisor
from kiosk.uplink import Broker, Uplink

log = logging.getLogger("kiosk")

RECORD_WITHIN_S = 0.150
"""How long a grant's relay waits for its record (docs/decisions/0002)."""
TICK_NS = 500 * MS
"""Longest the core sleeps: it checks the camera's age and the other stages at least twice a second."""
FEED_EVERY_NS = 1 * S
"""systemd wants to hear of us within WatchdogSec=30."""
REOPEN_CAMERA_S = 2.0
SETTLE_NS = 10 * S
"""After a recording has ended: how long the city may take to acknowledge before the process leaves."""


class Aim:
    """Keeps the camera exposed for what was last glimpsed, one control for each time the camera is opened."""

    def __init__(self, longest_us: int) -> None:
        self._longest_us = longest_us
        self._source: FrameSource | None = None
        self._control = ExposureControl(longest_us)
        self._asked: Exposure | None = None

    def correct(self, source: FrameSource | None, frame: Frame, look: Look) -> None:
        """Ask the camera for another exposure where the frame calls for it."""
        if source is not self._source:
            self._source, self._control, self._asked = source, ExposureControl(self._longest_us), None
        wanted = self._control.step(frame, look.glimpse, read=bool(look.sightings))
        if source and wanted != self._asked:
            source.expose(wanted)
            self._asked = wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What differs between a door, a demo and a test: the hardware, the clock, and what is configured."""

    loaded: Loaded
    clock: Clock
    open_camera: Callable[[], FrameSource]
    lines: Lines
    notifier: ServiceNotifier
    journal: TextIO | None = None


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
        self._newest = Newest[Frame]()
        self._wanted = Newest[Wanted]()
        self._source: FrameSource | None = None
        self._stopping = threading.Event()
        self._frames_began = threading.Event()
        self._camera_ended = threading.Event()
        self._ended_ns = 0
        self._fed_ns = 0
        self._crash: BaseException | None = None
        self._watch = FrameWatch()
        self._health: dict[str, str] = {}
        limits = dict.fromkeys(("camera", "decoder", "search", "outbox"), LATE_AFTER_NS)
        self._supervisor = Supervisor(self._clock, {**limits, "uplink": UPLINK_LATE_AFTER_NS})
        door = settings.door
        origin = wire.Origin(device=door.device, place=door.place, access_point=door.access_point)
        self.screen = ScreenServer(port=settings.screen.port)
        self._outbox = Outbox(
            Path(settings.outbox.path),
            origin,
            on_health=partial(self._report, "outbox"),
            on_change=lambda: self._uplink.nudge(),  # noqa: PLW0108 - the uplink is made next
        )
        self._uplink = Uplink(
            _broker(parts.loaded),
            origin,
            self._outbox,
            self._clock,
            on_status=self._inbox.put,
            on_trouble=log.warning,
            version=__version__,
            random=SystemRandom(),
        )
        city, troubles = kept(parts.loaded)
        self._gate = gate_for(parts.loaded, city)
        self._report("trust", "; ".join(troubles))
        fitted = settings.lines.gpios()
        interlock = Interlock(limits_for(fitted, settings.lines.relay_pulse_ms))
        self._player = Player(parts.lines, frozenset(fitted), interlock)

    def stop(self) -> None:
        """Ask `run` to end; from a signal handler or another thread."""
        self._stopping.set()
        self._inbox.wake()

    def run(self) -> None:
        """Run until `stop`, the end of a recording, or a bug in any thread, which is raised here."""
        cv2.setNumThreads(1)  # the cores are for the stages; OpenCV's own threads would compete with them
        threads = self._threads()
        for thread in threads:
            thread.start()
        self._parts.notifier.say("READY=1")
        try:
            self._core()
        finally:
            self._parts.notifier.say("STOPPING=1")
            self._rest_lines()
            self._stopping.set()
            self._uplink.close()
            self.screen.close()
            self._join(threads)
        if self._crash:
            raise self._crash

    def _threads(self) -> list[threading.Thread]:
        stamp = self._supervisor.stamp_for
        work: dict[str, Callable[[], None]] = {
            "capture": partial(self._capture, stamp("camera")),
            "decode": partial(self._decode, stamp("decoder")),
            "search": partial(self._search, stamp("search")),
            "uplink": partial(self._uplink.run, stamp("uplink")),
            "screen": self.screen.serve,
            "outbox": partial(self._outbox.write, stamp("outbox")),
        }
        return [
            threading.Thread(target=self._guarded, args=(name, do), name=name, daemon=True) for name, do in work.items()
        ]

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
            deadline_ns = self._gate.deadline_ns
            if given is None and deadline_ns is not None and now.monotonic_ns >= deadline_ns:
                given = Elapsed()
            if given is not None:
                self._step(given, now)
            self._look_after(now)

    def _wait_ns(self) -> int:
        now_ns = self._clock.now().monotonic_ns
        deadlines = (self._gate.deadline_ns, self._player.deadline_ns)
        return min([TICK_NS, *(at - now_ns for at in deadlines if at is not None)])

    def _step(self, given: Input, now: Now) -> None:
        effects = self._gate.step(given, now)
        for effect in effects:
            self._perform(effect)
        if self._parts.journal:
            entry = wire.Entry(now=now, given=given, effects=tuple(effects))
            self._parts.journal.write(wire.encode_entry(entry) + "\n")

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Record(events=events, before_drive=before_drive):
                receipt = self._outbox.append(events)
                if before_drive and not receipt.wait(RECORD_WITHIN_S):
                    log.warning("the record is late: driving after %d ms without it", RECORD_WITHIN_S * 1000)
                for event in events:
                    if isinstance(event, CheckIn):
                        reasons = ", ".join(event.reasons)
                        log.info("%s %s (%s) %s", event.direction, event.decision, reasons, event.scheme or "no format")
            case Drive(actuation=actuation):
                objections = self._player.play(actuation, self._clock.now().monotonic_ns)
                self._report("interlock", "; ".join(objections))
            case Show(view=view):
                self.screen.show(view)

    def _look_after(self, now: Now) -> None:
        """Notice what no thread reports by itself, and feed the watchdog while every stage makes progress."""
        self._report("lines", "; ".join(self._player.faults.values()))
        watching = self._frames_began.is_set() and not self._camera_ended.is_set()
        if watching and not self._health.get("camera") and (gone := self._watch.vanished(now.monotonic_ns)):
            self._report("camera", gone)
        late = ", ".join(self._supervisor.late())
        self._report("supervisor", late and f"no progress in {late}; the watchdog is about to restart the kiosk")
        if not late and now.monotonic_ns - self._fed_ns >= FEED_EVERY_NS:
            self._fed_ns = now.monotonic_ns
            self._parts.notifier.say("WATCHDOG=1")
        if self._camera_ended.is_set() and self._settled(now.monotonic_ns):
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

    def _rest_lines(self) -> None:
        self._player.rest(self._clock.now().monotonic_ns)
        self._parts.lines.close()

    # The capture, decode and search threads.

    def _capture(self, stamp: Callable[[], None]) -> None:
        """Keep the camera open and the newest frame in the slot."""
        while not self._stopping.is_set():
            stamp()
            try:
                self._play(self._parts.open_camera(), stamp)
            except CameraFault as fault:
                self._newest.take(0)  # what it last showed says nothing about now
                self._report("camera", str(fault))
                self._stopping.wait(REOPEN_CAMERA_S)
            else:
                self._camera_ended.set()
                while not self._stopping.wait(1.0):
                    stamp()

    def _play(self, source: FrameSource, stamp: Callable[[], None]) -> None:
        self._source = source
        try:
            for frame in source.frames():
                stamp()
                self._newest.put(frame)
                if self._stopping.is_set():
                    return
        finally:
            self._source = None
            source.close()

    def _decode(self, stamp: Callable[[], None]) -> None:
        """Judge the picture, read its codes, and hand them to the core; what is left goes to the search."""
        reader, aim = Reader(), Aim(self._parts.loaded.settings.camera.longest_exposure_us)
        while not self._stopping.is_set():
            stamp()
            frame = self._newest.take(TICK_NS / S)
            if frame is None:
                continue
            self._frames_began.set()
            self._report("camera", self._watch.judge(frame))
            look = reader.look(frame)
            self._tell_seen(look)
            if look.wanted:
                self._wanted.put(look.wanted)
            aim.correct(self._source, frame, look)

    def _search(self, stamp: Callable[[], None]) -> None:
        """Look longer at what the quick look could not read."""
        searcher = Searcher()
        while not self._stopping.is_set():
            stamp()
            if wanted := self._wanted.take(TICK_NS / S):
                self._tell_seen(searcher.search(wanted))

    def _tell_seen(self, look: Look) -> None:
        if look.sightings:
            self._inbox.put(Seen(sightings=look.sightings))
        elif look.glimpse:
            self._inbox.put(look.glimpse)


def gate_for(loaded: Loaded, city: CityData) -> Gate:
    """Make the gate a configuration describes; also what a journal is replayed against."""
    door, lines, data = loaded.settings.door, loaded.settings.lines, loaded.settings.city_data
    fresh = Freshness(fresh_s=data.fresh_minutes * 60, limit_s=data.limit_hours * 3600)
    settings = GateSettings(
        direction=Direction(door.direction),
        relay_pulse_ms=lines.relay_pulse_ms,
        absence_ms=door.absence_ms,
        repeat_window_s=door.repeat_window_s,
        frame_size=(loaded.settings.camera.width, loaded.settings.camera.height),
        freshness=fresh if data.risk_list == "required" else None,
        look_up=data.look_up,
    )
    return Gate(settings, city)


def _broker(loaded: Loaded) -> Broker:
    uplink = loaded.settings.uplink
    return Broker(
        host=uplink.host,
        port=uplink.port,
        tls=uplink.tls,
        username=uplink.username,
        password=uplink.password.get_secret_value(),
        ca_file=uplink.ca_file,
        certificate_file=uplink.certificate_file,
        key_file=uplink.key_file,
    )
