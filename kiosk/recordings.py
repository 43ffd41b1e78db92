"""Frames from a video file or a folder of images, in real time, as if from a camera.

Decides when a recorded picture is due and which give way. Refuses to know what a code is. Chosen by name in the
configuration; each is a `kiosk.camera.FrameSource` and keeps its contract.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np

from kiosk.camera import GREY, IMAGE_SUFFIXES, Luma, fitted, frame_of, luma_of_file, luma_of_picture
from kiosk.clock import Clock, S
from kiosk.errors import CameraFault
from kiosk.messages import Exposure, Frame

Wait = Callable[[float], bool]
"""Sleeps for so many seconds, or until the source is closed: True then."""

MOST_SKIPPED = 15
"""Frames in a row a late recording may skip: half a second, so that a slow machine still sees something."""


class _Recording(ABC):
    """Shows each picture when it is due; one that is more than its own length late gives way to the next.

    A picture is a function, so that what is skipped need not be decoded.
    """

    def __init__(self, clock: Clock, fps: float, wait: Wait | None) -> None:
        self._clock = clock
        self._frame_ns = round(S / fps)
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait

    @abstractmethod
    def _pictures(self) -> Iterator[Callable[[], Luma | None]]:
        """Every picture, in order."""

    def frames(self) -> Iterator[Frame]:
        """See `FrameSource`."""
        started_ns = self._clock.now().monotonic_ns
        number = skipped = 0
        for index, picture in enumerate(self._pictures()):
            early_ns = started_ns + index * self._frame_ns - self._clock.now().monotonic_ns
            if early_ns < -self._frame_ns and skipped < MOST_SKIPPED:
                skipped += 1
                continue
            if self._wait(max(early_ns, 0) / S) or self._closed.is_set():
                return
            luma = picture()
            if luma is not None:
                yield frame_of(luma, number, self._clock.now().monotonic_ns)
                number, skipped = number + 1, 0

    def expose(self, exposure: Exposure | None) -> None:
        """See `FrameSource`. A recording cannot."""
        del exposure

    def close(self) -> None:
        """See `FrameSource`."""
        self._closed.set()


class VideoFile(_Recording):
    """A recording, played in real time at its own rate and size; the newest frame wins.

    Raises:
        CameraFault: it is no video that FFmpeg reads.
    """

    _RATES = range(1, 241)
    _RATE_UNKNOWN = 30.0
    """Some containers carry none, or their time base in its place."""

    def __init__(self, clock: Clock, path: Path, *, wait: Wait | None = None) -> None:
        # The named backend takes the path as it is; others see a pattern of numbered images in a percent sign.
        self._capture = cv2.VideoCapture()
        if not path.is_file() or not self._capture.open(str(path.absolute()), cv2.CAP_FFMPEG):
            raise CameraFault(f"{path} is not a video that can be read: check [camera] path")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        super().__init__(clock, rate if round(rate) in self._RATES else self._RATE_UNKNOWN, wait)

    def _pictures(self) -> Iterator[Callable[[], Luma | None]]:
        while self._capture.grab():
            yield self._decoded

    def _decoded(self) -> Luma | None:
        done, picture = self._capture.retrieve()
        return luma_of_picture(np.asarray(picture)) if done else None


class ImageFolder(_Recording):
    """The png, jpg, jpeg and webp files of a folder in order of name, each held up as by a visitor.

    Each is fitted into a grey frame for `dwell_s`; `gap_s` of plain grey follow.

    Raises:
        CameraFault: the folder holds no picture; from `frames()`, a picture cannot be read.
    """

    def __init__(
        self,
        clock: Clock,
        folder: Path,
        width: int,
        height: int,
        fps: float,
        *,
        dwell_s: float = 1.2,
        gap_s: float = 0.3,
        wait: Wait | None = None,
    ) -> None:
        super().__init__(clock, fps, wait)
        self._size = (width, height)
        self._dwell, self._gap = max(1, round(dwell_s * fps)), round(gap_s * fps)
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        self._files = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        if not self._files:
            raise CameraFault(f"{folder} holds no png, jpg, jpeg or webp: check [camera] path")

    def _pictures(self) -> Iterator[Callable[[], Luma | None]]:
        empty = np.full(self._size[::-1], GREY, dtype=np.uint8)
        for file in self._files:
            shown = fitted(_read(file), *self._size)
            yield from repeat(partial(np.asarray, shown), self._dwell)
            yield from repeat(partial(np.asarray, empty), self._gap)


def _read(file: Path) -> Luma:
    try:
        luma = luma_of_file(np.frombuffer(file.read_bytes(), dtype=np.uint8))
    except OSError as error:
        raise CameraFault(f"{file} cannot be read: {error.strerror}") from error
    if luma is None:
        raise CameraFault(f"{file} is not an image: replace it or take it out of the folder")
    return luma
