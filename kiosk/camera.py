"""Where frames come from: the Pi's camera, a V4L2 camera; `kiosk.recordings` has files.

Decides how the newest picture becomes a read-only grey `Frame`. Refuses to know what a code is, what exposure one
needs, and what follows from a fault. Called by the daemon: one thread iterates over `frames()`, any thread may call
`expose()` and `close()`.
"""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk import camera_controls
from kiosk.clock import Clock
from kiosk.errors import CameraFault
from kiosk.messages import Exposure, Frame
from kiosk.settings import WHOLE_VIEW, CameraSettings

log = logging.getLogger("kiosk")

Luma = NDArray[np.uint8]

STALL_S = 5.0
"""A sensor gives its first frame within a second; `FrameWatch.vanished` has warned three seconds before."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
GREY = 128
"""Of what surrounds a picture smaller than the frame."""
UVC_MANUAL, UVC_APERTURE_PRIORITY = 1, 3
"""V4L2_CID_EXPOSURE_AUTO. USB cameras know these two only; the second is their automatic."""
UVC_UNIT_US = 100
"""V4L2_CID_EXPOSURE_ABSOLUTE counts so."""
UNCOMPRESSED = dict.fromkeys(("GREY", "NV12", "NV21", "YU12", "YV12"), (1, 0)) | {
    "YUYV": (2, 0),
    "UYVY": (2, 1),
    "BGR3": (3, 1),
    "RGB3": (3, 1),
}
"""By V4L2's names: bytes a pixel as far as its luma goes, and which of them that is (of colours: green)."""


class FrameSource(Protocol):
    """A camera, or something that stands for one. For one iteration."""

    def frames(self) -> Iterator[Frame]:
        """Wait for the next frame, again and again; end when a recording ends or the source is closed.

        Raises:
            CameraFault: the camera failed or vanished, or a file cannot be read.
        """

    def expose(self, exposure: Exposure | None) -> None:
        """Ask for this from a coming frame on; None gives the camera its automatic back.

        Harmless from another thread, after `close()`, and where a source cannot: `Frame.exposure` tells what was done.
        """

    def close(self) -> None:
        """Let go of the camera. Harmless when repeated and from another thread; `frames()` ends soon after."""


def frame_of(luma: Luma, number: int, captured_ns: int, exposure: Exposure | None = None) -> Frame:
    """A frame; `luma` can no longer be written to."""
    luma.setflags(write=False)
    return Frame(luma=luma, number=number, captured_ns=captured_ns, exposure=exposure)


class PiCamera:
    """The Pi's own camera through picamera2 0.3.17 or newer (the first with a bounded wait).

    Only the luma plane is copied, without colour conversion; docs/camera.md says why one copy. `pixel_format` is YUV420
    or NV12: every Pi knows both, libcamera's virtual camera only the latter. Nothing is queued: each frame was exposed
    after it was asked for.

    Raises:
        CameraFault: picamera2 is not installed, or no camera answers.
    """

    def __init__(self, clock: Clock, settings: CameraSettings, *, pixel_format: str = "YUV420") -> None:
        self._clock = clock
        self._closed = threading.Event()
        self._capturing = threading.Lock()
        self._telling = threading.Lock()
        self._camera = _started(settings, pixel_format)
        self._known = self._camera.camera_controls
        self._automatic = camera_controls.ShortAutomatic(settings.longest_exposure_us, self._known)
        self._is_automatic = True

    def frames(self) -> Iterator[Frame]:
        """See `FrameSource`."""
        number = 0
        while captured := self._capture():
            luma, exposure = captured
            self._follow(exposure)
            yield frame_of(luma, number, self._clock.now().monotonic_ns, exposure)
            number += 1

    def _capture(self) -> tuple[Luma, Exposure | None] | None:
        with self._capturing:
            if self._closed.is_set():
                return None
            try:
                request = self._camera.capture_request(wait=STALL_S)
                try:
                    return _luma_plane(request), camera_controls.exposed(request.get_metadata())
                finally:
                    request.release()
            except CancelledError:
                return None
            except (TimeoutError, RuntimeError, OSError) as error:
                raise CameraFault(
                    "the Pi camera gives no frames: check its ribbon cable and the power supply"
                    f" (`vcgencmd get_throttled` should say 0x0) ({type(error).__name__})"
                ) from error

    def expose(self, exposure: Exposure | None) -> None:
        """See `FrameSource`."""
        with self._telling:
            self._is_automatic = exposure is None
            self._automatic.restart()
            self._tell(camera_controls.exposing(exposure, self._known))

    def _follow(self, taken: Exposure | None) -> None:
        with self._telling:
            if taken and self._is_automatic and (controls := self._automatic.follow(taken)):
                self._tell(controls)

    def _tell(self, controls: camera_controls.Controls) -> None:
        if not self._closed.is_set():
            self._camera.set_controls(controls)

    def close(self) -> None:
        """See `FrameSource`."""
        self._closed.set()
        # Wakes a capture that waits for a frame.
        self._camera.cancel_all_and_flush()
        with self._capturing, self._telling:
            self._camera.close()


def _started(settings: CameraSettings, pixel_format: str) -> Any:  # noqa: ANN401 - picamera2 ships no types
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
            _configure(camera, settings, pixel_format)
            camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            # IndexError is how picamera2 says that libcamera lists no camera.
            raise CameraFault(
                "the Pi camera does not start: check both ends of its ribbon cable, that `rpicam-hello --list-cameras`"
                f" shows it, and that no other program holds it ({type(error).__name__}: {error})"
            ) from error
        on_failure.pop_all()
        return camera


def _configure(camera: Any, settings: CameraSettings, pixel_format: str) -> None:  # noqa: ANN401 - as above
    size = settings.width, settings.height
    controls = camera_controls.for_reading(settings, camera.camera_controls.keys())
    layout = {"size": size, "format": pixel_format}
    camera.configure(
        camera.create_video_configuration(main=layout, raw=None, buffer_count=4, queue=False, controls=controls)
    )
    # The sensor's view depends on the mode that was chosen for this size.
    whole = camera.camera_properties.get("ScalerCropMaximum")
    if whole and tuple(settings.region) != WHOLE_VIEW and "ScalerCrop" in camera.camera_controls:
        camera.set_controls({"ScalerCrop": camera_controls.crop(whole, size, settings.region)})


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
    """A USB camera, best a path under /dev/v4l/by-id. What it cannot do as asked, it does its own way.

    A silent camera is noticed after 10 s, or what OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT says.

    Raises:
        CameraFault: there is no such camera.
    """

    def __init__(self, clock: Clock, settings: CameraSettings) -> None:
        self._clock = clock
        self._device = device = settings.path
        self._closed = threading.Event()
        self._reading = threading.Lock()
        if not Path(device).exists():
            raise CameraFault(f"there is no {device}: plug the camera in, or correct [camera] path")
        self._wanted: Exposure | None = None
        self._in_force: Exposure | None = None
        self._can_expose = True
        self._capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraFault(f"{device} is no camera, or is in use: close other programs; is the user in group video?")
        wanted = {
            cv2.CAP_PROP_FRAME_WIDTH: settings.width,
            cv2.CAP_PROP_FRAME_HEIGHT: settings.height,
            cv2.CAP_PROP_FPS: settings.fps,
            cv2.CAP_PROP_BUFFERSIZE: 1,
            cv2.CAP_PROP_CONVERT_RGB: 0,
        }
        for setting, value in wanted.items():
            # A camera that refuses one keeps its own; `luma_of_picture` takes what comes.
            self._capture.set(setting, value)
        told = [int(self._capture.get(of)) for of in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        self._size = told[0], told[1]
        self._format = int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin-1")

    def frames(self) -> Iterator[Frame]:
        """See `FrameSource`."""
        number = 0
        while (picture := self._read()) is not None:
            luma = luma_of_v4l2(picture, self._format, self._size)
            if luma is not None:
                yield frame_of(luma, number, self._clock.now().monotonic_ns, self._in_force)
                number += 1

    def _read(self) -> NDArray[Any] | None:
        with self._reading:
            self._tell(self._wanted)
            done, picture = (False, None) if self._closed.is_set() else self._capture.read()
            if self._closed.is_set():
                self._capture.release()
                return None
        if not done:
            raise CameraFault(f"{self._device} gives no frames: replug the camera, then try another cable and port")
        return np.asarray(picture)

    def expose(self, exposure: Exposure | None) -> None:
        """See `FrameSource`. The time only: a gain of a USB camera has no unit, so its own stays."""
        self._wanted = exposure

    def _tell(self, wanted: Exposure | None) -> None:
        """Between two frames, by the thread that reads them: OpenCV's captures are for one thread at a time."""
        wanted = wanted and replace(wanted, gain=1.0)
        if wanted == self._in_force or not self._can_expose or self._closed.is_set():
            return
        mode = UVC_APERTURE_PRIORITY if wanted is None else UVC_MANUAL
        done = self._capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, mode)
        if done and wanted:
            done = self._capture.set(cv2.CAP_PROP_EXPOSURE, max(1, round(wanted.exposure_us / UVC_UNIT_US)))
        if done:
            self._in_force = wanted
        else:
            self._can_expose = False
            log.warning("%s takes no exposure: what is too dark or blown out stays so", self._device)

    def close(self) -> None:
        """See `FrameSource`."""
        self._closed.set()
        # A thread that waits in the driver lets go of the device itself.
        if self._reading.acquire(blocking=False):
            self._capture.release()
            self._reading.release()


def luma_of_v4l2(picture: NDArray[Any], pixel_format: str, size: tuple[int, int]) -> Luma | None:
    """Grey of what OpenCV does not convert: a row of bytes, whatever the format (4.11). None for a damaged frame."""
    if len(picture) > 1 or pixel_format not in UNCOMPRESSED:
        return luma_of_picture(picture)
    width, height = size
    depth, at = UNCOMPRESSED[pixel_format]
    pixels = picture.reshape(-1)[: width * height * depth]
    if pixels.size < width * height * depth:
        return None
    return np.ascontiguousarray(pixels.reshape(height, width, depth)[:, :, at], dtype=np.uint8)


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


def fitted(luma: Luma, width: int, height: int) -> Luma:
    """The picture at the centre of a grey frame, made smaller where it must be; enlarged, fewer codes can be read."""
    scale = min(1.0, width / luma.shape[1], height / luma.shape[0])
    size = max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[0] * scale))
    frame = np.full((height, width), GREY, dtype=np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    frame[top : top + size[1], left : left + size[0]] = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    return frame
