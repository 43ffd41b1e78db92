"""Where frames come from: the Pi's camera, a V4L2 camera, a video file, a folder of images.

Decides how the newest picture becomes a read-only grey `Frame`. Refuses to know what a code is, and what follows from
a fault. Called by the daemon: one thread iterates over `frames()`, any thread may call `close()`.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.clock import Clock, S
from kiosk.errors import CameraFault
from kiosk.messages import Frame

Luma = NDArray[np.uint8]
Wait = Callable[[float], bool]
"""Sleeps for so many seconds, or until the source is closed: True then."""

STALL_S = 5.0
"""A sensor gives its first frame within a second; `FrameWatch.vanished` has warned three seconds before."""
MOST_SKIPPED = 15
"""Frames in a row a late recording may skip: half a second, so that a slow machine still sees something."""
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
GREY = 128


class FrameSource(Protocol):
    """A camera, or something that stands for one. For one iteration."""

    def frames(self) -> Iterator[Frame]:
        """Wait for the next frame, again and again; end when a recording ends or the source is closed.

        Raises:
            CameraFault: the camera failed or vanished, or a file cannot be read.
        """

    def close(self) -> None:
        """Let go of the camera. Harmless when repeated and from another thread; `frames()` ends soon after."""


def _frame(luma: Luma, number: int, captured_ns: int) -> Frame:
    luma.setflags(write=False)
    return Frame(luma=luma, number=number, captured_ns=captured_ns)


class PiCamera:
    """The Pi's own camera through picamera2 0.3.17 or newer (the first with a bounded wait).

    Only the luma plane is copied, without colour conversion. `pixel_format` is YUV420 or NV12: every Pi knows both,
    libcamera's virtual camera only the latter. Nothing is queued: each frame was exposed after it was asked for.

    Raises:
        CameraFault: picamera2 is not installed, or no camera answers.
    """

    def __init__(self, clock: Clock, width: int, height: int, fps: int, *, pixel_format: str = "YUV420") -> None:
        self._clock = clock
        self._closed = threading.Event()
        self._capturing = threading.Lock()
        self._camera = _started(width, height, fps, pixel_format)

    def frames(self) -> Iterator[Frame]:
        """See `FrameSource`."""
        number = 0
        while (luma := self._capture()) is not None:
            yield _frame(luma, number, self._clock.now().monotonic_ns)
            number += 1

    def _capture(self) -> Luma | None:
        with self._capturing:
            if self._closed.is_set():
                return None
            try:
                request = self._camera.capture_request(wait=STALL_S)
                try:
                    return _luma_plane(request)
                finally:
                    request.release()
            except CancelledError:
                return None
            except (TimeoutError, RuntimeError, OSError) as error:
                raise CameraFault(
                    "the Pi camera gives no frames: check its ribbon cable and the power supply"
                    f" (`vcgencmd get_throttled` should say 0x0) ({type(error).__name__})"
                ) from error

    def close(self) -> None:
        """See `FrameSource`."""
        self._closed.set()
        # Wakes a capture that waits for a frame.
        self._camera.cancel_all_and_flush()
        with self._capturing:
            self._camera.close()


def _started(width: int, height: int, fps: int, pixel_format: str) -> Any:  # noqa: ANN401 - picamera2 ships no types
    try:
        from picamera2 import Picamera2  # noqa: PLC0415 - from apt, on a Pi only
    except ImportError as error:
        raise CameraFault(
            "picamera2 is not installed: apt install python3-picamera2, and make the virtual environment with"
            " --system-site-packages"
        ) from error
    with ExitStack() as on_failure:
        try:
            camera = Picamera2()
            on_failure.callback(camera.close)
            layout = {"size": (width, height), "format": pixel_format}
            controls = _controls(fps, frozenset(camera.camera_controls))
            camera.configure(
                camera.create_video_configuration(main=layout, raw=None, buffer_count=4, queue=False, controls=controls)
            )
            camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            # IndexError is how picamera2 says that libcamera lists no camera.
            raise CameraFault(
                "the Pi camera does not start: check both ends of its ribbon cable, that `rpicam-hello --list-cameras`"
                f" shows it, and that no other program holds it ({type(error).__name__}: {error})"
            ) from error
        on_failure.pop_all()
        return camera


def _controls(fps: int, known: frozenset[str]) -> dict[str, object]:
    """What a held-up code needs, as far as this sensor has it; values are libcamera's control_ids_core.yaml."""
    frame_us = 1_000_000 // fps
    wanted: dict[str, object] = {
        "FrameDurationLimits": (frame_us, frame_us),
        "AeExposureMode": 1,  # short: a moving code smears by less than a module
        "AfMode": 2,  # continuous
    }
    return {name: value for name, value in wanted.items() if name in known}


def _luma_plane(request: Any) -> Luma:  # noqa: ANN401 - a picamera2 CompletedRequest; picamera2 ships no types
    """Copy the first plane of a planar YUV buffer, without the padding at the end of its rows."""
    from picamera2 import MappedArray  # noqa: PLC0415 - as above

    layout = request.config["main"]
    width, height = layout["size"]
    with MappedArray(request, "main", reshape=False, write=False) as mapped:
        return luma_of_rows(mapped.array, width, height, layout["stride"])


def luma_of_rows(buffer: Luma, width: int, height: int, stride: int) -> Luma:
    """A copy of the luma plane at the start of a flat buffer whose rows take `stride` bytes."""
    return buffer[: height * stride].reshape(height, stride)[:, :width].copy()


class V4l2Camera:
    """A USB camera at `device`, best a path under /dev/v4l/by-id. What it cannot do as asked, it does its own way.

    A silent camera is noticed after 10 s, or what OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT says.

    Raises:
        CameraFault: there is no such camera.
    """

    def __init__(self, clock: Clock, device: str, width: int, height: int, fps: int) -> None:
        self._clock = clock
        self._device = device
        self._closed = threading.Event()
        self._reading = threading.Lock()
        if not Path(device).exists():
            raise CameraFault(f"there is no {device}: plug the camera in, or correct [camera] path")
        self._capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraFault(f"{device} is no camera, or is in use: close other programs; is the user in group video?")
        wanted = {
            cv2.CAP_PROP_FRAME_WIDTH: width,
            cv2.CAP_PROP_FRAME_HEIGHT: height,
            cv2.CAP_PROP_FPS: fps,
            cv2.CAP_PROP_BUFFERSIZE: 1,
            cv2.CAP_PROP_CONVERT_RGB: 0,
        }
        for setting, value in wanted.items():
            # A camera that refuses one keeps its own; `luma_of_picture` takes what comes.
            self._capture.set(setting, value)

    def frames(self) -> Iterator[Frame]:
        """See `FrameSource`."""
        number = 0
        while (picture := self._read()) is not None:
            luma = luma_of_picture(picture)
            if luma is not None:
                yield _frame(luma, number, self._clock.now().monotonic_ns)
                number += 1

    def _read(self) -> NDArray[Any] | None:
        with self._reading:
            done, picture = (False, None) if self._closed.is_set() else self._capture.read()
            if self._closed.is_set():
                self._capture.release()
                return None
        if not done:
            raise CameraFault(f"{self._device} gives no frames: replug the camera, then try another cable and port")
        return np.asarray(picture)

    def close(self) -> None:
        """See `FrameSource`."""
        self._closed.set()
        # A thread that waits in the driver lets go of the device itself.
        if self._reading.acquire(blocking=False):
            self._capture.release()
            self._reading.release()


def luma_of_picture(picture: NDArray[Any]) -> Luma | None:
    """Grey of YUYV, BGR, MJPEG or grey. None for a damaged JPEG, which USB cameras send now and then."""
    match picture.shape:
        case (_, _, 2):
            return np.ascontiguousarray(picture[:, :, 0], dtype=np.uint8)
        case (_, _, 3):
            return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        case (1, *_):
            return luma_of_file(picture.reshape(-1).astype(np.uint8))
        case _:
            return np.array(picture.reshape(picture.shape[:2]), dtype=np.uint8)


def luma_of_file(content: Luma) -> Luma | None:
    """Grey of an encoded image, None when it is none."""
    picture = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if content.size else None
    return None if picture is None else np.asarray(picture, dtype=np.uint8)


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
                yield _frame(luma, number, self._clock.now().monotonic_ns)
                number, skipped = number + 1, 0

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


def fitted(luma: Luma, width: int, height: int) -> Luma:
    """The picture at the centre of a grey frame, made smaller where it must be; enlarged, fewer codes can be read."""
    scale = min(1.0, width / luma.shape[1], height / luma.shape[0])
    size = max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[0] * scale))
    frame = np.full((height, width), GREY, dtype=np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    frame[top : top + size[1], left : left + size[0]] = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    return frame
