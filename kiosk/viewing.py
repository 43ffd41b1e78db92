"""The camera's side of the daemon: one loop that captures, one that decodes, one that searches.

Decides how frames go from one to the next: the newest wins, a stale one is dropped, nothing is queued. Refuses to know
what a code means and what follows from a fault. The daemon runs each loop in a thread of its own.
"""

import threading
from collections.abc import Callable

from kiosk.camera import FrameSource
from kiosk.clock import MS, Clock, S
from kiosk.decoder import Look, Reader, Searcher, Wanted
from kiosk.errors import CameraFault
from kiosk.exposure import ExposureControl
from kiosk.frame_watch import FROZEN, FrameWatch
from kiosk.inbox import Newest
from kiosk.messages import Exposure, Frame, Glimpse, Seen
from kiosk.view_watch import ViewWatch

TICK_NS = 500 * MS
"""Longest a loop waits without stamping its progress."""
REOPEN_CAMERA_S = 2.0
HUNG_NS = 7 * S
"""A driver that has not come back for so long is closed from outside. The bounded ones give up after 5 s themselves
(`camera.STALL_S`); after 10 the watchdog takes the process."""
FRAMES_PER_JUDGEMENT = 4
"""Faults of the picture last for seconds; a fresh frame is not in the cache yet, so that few samples cost a lot."""


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


class Viewing:
    """One camera and what is read from it.

    Args:
        open_camera: opens it, again after each fault.
        longest_exposure_us: what a moving hand allows.
        stopping: set when all loops shall end.
        on_seen: told what was seen, from the decode and the search loop.
        on_camera: told a fault of the camera, empty when it works.
        on_view: told when the view is not the one the camera was given, empty when it is.
        clock: for a camera that hangs.
    """

    def __init__(
        self,
        open_camera: Callable[[], FrameSource],
        *,
        longest_exposure_us: int,
        stopping: threading.Event,
        on_seen: Callable[[Seen | Glimpse], None],
        on_camera: Callable[[str], None],
        on_view: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self.ended = threading.Event()
        """Set when a recording has ended; a camera never does."""
        self._open_camera = open_camera
        self._longest_exposure_us = longest_exposure_us
        self._stopping = stopping
        self._on_seen = on_seen
        self._on_camera = on_camera
        self._on_view = on_view
        self._clock = clock
        self._newest = Newest[Frame]()
        self.shown = Newest[Frame]()
        """As the decoder's, for the mirror."""
        self._wanted = Newest[Wanted]()
        self._source: FrameSource | None = None
        self._began = threading.Event()
        self._watch = FrameWatch()
        self._view = ViewWatch()
        self._came_ns = 0
        self._hung: FrameSource | None = None
        self._failing = False

    def vanished(self, now_ns: int) -> str:
        """A sentence when a camera that gave frames gives none any more; else empty."""
        return self._watch.vanished(now_ns) if self._began.is_set() and not self.ended.is_set() else ""

    def failing(self, now_ns: int) -> bool:
        """Whether the camera's driver fails, as against a picture that shows nothing."""
        return self._failing or bool(self.vanished(now_ns))

    def rescue(self, now_ns: int) -> None:
        """Close a camera whose driver hangs, so that it can be opened again; from another thread than the captures'."""
        source = self._source
        if source and source is not self._hung and now_ns - self._came_ns > HUNG_NS:
            self._hung = source
            threading.Thread(target=source.close, name="rescue", daemon=True).start()  # it may hang as well

    def capture(self, stamp: Callable[[], None]) -> None:
        """Keep the camera open and the newest frame in the slot."""
        while not self._stopping.is_set():
            stamp()
            try:
                self._play(self._open_camera(), stamp)
            except CameraFault as fault:
                self._failing = True
                self._newest.take(0)  # what it last showed says nothing about now
                self._on_camera(str(fault))
                self._stopping.wait(REOPEN_CAMERA_S)
            else:
                self.ended.set()
                while not self._stopping.wait(1.0):
                    stamp()

    def _play(self, source: FrameSource, stamp: Callable[[], None]) -> None:
        self._came_ns = self._clock.now().monotonic_ns
        self._source = source
        try:
            for frame in source.frames():
                stamp()
                self._came_ns = frame.captured_ns
                self._newest.put(frame)
                self.shown.put(frame)
                if self._stopping.is_set():
                    return
        finally:
            self._source = None
            source.close()
        if self._hung is source:
            raise CameraFault("the camera's driver hung; it was closed and is opened again")

    def decode(self, stamp: Callable[[], None]) -> None:
        """Judge the picture, read its codes, and hand them to the core; what is left goes to the search."""
        reader, aim = Reader(), Aim(self._longest_exposure_us)
        while not self._stopping.is_set():
            stamp()
            frame = self._newest.take(TICK_NS / S)
            if frame is None:
                continue
            self._began.set()
            if frame.number % FRAMES_PER_JUDGEMENT == 0:
                said = self._watch.judge(frame)
                self._failing = said == FROZEN
                self._on_camera(said)
                self._on_view(self._view.judge(frame))
            look = reader.look(frame)
            self._tell_seen(look)
            if look.wanted:
                self._wanted.put(look.wanted)
            aim.correct(self._source, frame, look)

    def search(self, stamp: Callable[[], None]) -> None:
        """Look longer at what the quick look could not read."""
        searcher = Searcher()
        while not self._stopping.is_set():
            stamp()
            if wanted := self._wanted.take(TICK_NS / S):
                self._tell_seen(searcher.search(wanted))

    def _tell_seen(self, look: Look) -> None:
        if look.sightings:
            self._on_seen(Seen(sightings=look.sightings))
        elif look.glimpse:
            self._on_seen(look.glimpse)
