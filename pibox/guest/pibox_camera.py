"""What libcamera's virtual camera lacks to pass for a Pi's; picamera2 in the box imports this last.

A Pi's pipeline has raw modes, YUV420 and frames in one plane; the virtual one has none of the first two and wants two
planes. Frames stay libcamera's own in number, time and memory (a dma-buf that is mapped and synchronised); only what is
seen in them is written over with the scene that the box's agent plays. While the scene says that the camera is gone,
none is listed and none gives a frame.
"""

import mmap
import time
from pathlib import Path
from typing import Any

import libcamera
import numpy as np
from picamera2.allocators import DmaAllocator
from picamera2.picamera2 import Picamera2

SCENE = Path("/run/pibox/scene")
"""A frame's luma, row by row; replaced as a whole. Missing: what the virtual camera itself shows."""
GONE = Path("/run/pibox/camera-gone")
FRAME_S = 0.2
"""An emulated machine reads no more than five a second, and has time left for the rest."""


_random = np.random.default_rng()
NOISE = _random.integers(0, 4, 1280 * 720 + (1 << 16), dtype=np.uint8)
"""A sensor's: no two frames are the same, or the kiosk takes the camera for a frozen one."""


class BoxAllocator(DmaAllocator):
    """picamera2's own, with a plane each for luma and colour."""

    def __init__(self) -> None:
        super().__init__()
        self.sync = SceneSync

    def allocate(self, libcamera_config: Any, _: Any) -> None:
        """As the one above, but for the planes."""
        self.libcamera_fds: list[int] = []
        self.cleanup()
        self.frame_buffers = {}
        for stream_config in libcamera_config:
            self.frame_buffers[stream_config.stream] = [
                self._buffer(stream_config) for _ in range(stream_config.buffer_count)
            ]

    def _buffer(self, stream_config: Any) -> Any:
        size, luma = stream_config.frame_size, stream_config.stride * stream_config.size.height
        fd = self.dmaHeap.alloc("picamera2", size).get()
        self.open_fds.append(fd)
        planes = [libcamera.FrameBuffer.Plane(), libcamera.FrameBuffer.Plane()]
        for plane, offset, length in zip(planes, (0, luma), (luma, size - luma), strict=True):
            plane.fd, plane.offset, plane.length = fd, offset, length
        copied = planes[0].fd  # libcamera's own copy, by which the buffer is known from now on
        self.libcamera_fds.append(copied)
        self.mapped_buffers_used[copied] = False
        made = libcamera.FrameBuffer(planes)
        self.mapped_buffers[made] = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        return made


class SceneSync(DmaAllocator.DmaSync):
    """Shows the scene to whoever maps a frame."""

    def __enter__(self) -> Any:
        memory = super().__enter__()
        try:
            luma = np.fromfile(SCENE, dtype=np.uint8)
        except FileNotFoundError:
            return memory
        at = int(_random.integers(NOISE.size - luma.size)) if NOISE.size > luma.size else 0
        np.bitwise_xor(luma, NOISE[at : at + luma.size], out=np.frombuffer(memory, dtype=np.uint8)[: luma.size])
        return memory


def raw_modes(_self: Picamera2) -> list[dict[str, Any]]:
    """One, as a sensor of a Pi would have."""
    return [{"format": libcamera.PixelFormat("SBGGR10"), "size": (1280, 720)}]


_configuration = Picamera2.create_video_configuration
_listed = Picamera2.global_camera_info
_process = Picamera2.process_requests
_init = Picamera2.__init__


def configuration(self: Picamera2, main: Any = None, **rest: Any) -> Any:
    """Without raw, and with the other of the two formats that begin with the luma plane."""
    main = dict(main or {})
    if main.get("format") == "YUV420":
        main["format"] = "NV12"
    return _configuration(self, main, **(rest | {"raw": None}))


def initialise(self: Picamera2, *arguments: Any, **rest: Any) -> None:
    """With an allocator for two planes."""
    _init(self, *arguments, **({"allocator": BoxAllocator()} | rest))


def listed() -> Any:
    """No camera while it is gone."""
    return [] if GONE.exists() else _listed()


def process(self: Picamera2, display: Any) -> Any:
    """A frame in its time, and none while it is gone: the virtual camera has the next one ready at once."""
    time.sleep(FRAME_S)
    if GONE.exists():
        with self._requestslock:
            dropped, self._requests = self._requests, []
        for request in dropped:
            request.release()
    return _process(self, display)


Picamera2._get_raw_modes = raw_modes  # noqa: SLF001
Picamera2.create_video_configuration = configuration
Picamera2.global_camera_info = staticmethod(listed)
Picamera2.process_requests = process
Picamera2.__init__ = initialise
