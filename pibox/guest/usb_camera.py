"""The box's camera where libcamera has no virtual one: plays the scene into v4l2loopback, which shows it as a device.

It stands for a camera on USB, whose frames are YUYV. While the scene says that the camera is gone, the device has no
name and gives no frame; whoever has it open is told nothing.
"""

import fcntl
import os
import struct
import time
from pathlib import Path

import numpy as np

DEVICE, PULLED = Path("/dev/video0"), Path("/dev/video0-pulled")
SCENE, GONE = Path("/run/pibox/scene"), Path("/run/pibox/camera-gone")
"""The first: a frame's luma, row by row; replaced as a whole."""
WIDTH, HEIGHT = 1280, 720
FRAME_S = 0.1
"""An emulated machine reads no more than ten a second."""
S_FMT, FORMAT_BYTES = 0xC0D05605, 208
"""VIDIOC_S_FMT and struct v4l2_format (linux/videodev2.h)."""
VIDEO_OUTPUT, YUYV, NO_FIELDS = 2, int.from_bytes(b"YUYV", "little"), 1
GREY = 128


def main() -> None:
    """For ever."""
    camera = os.open(DEVICE, os.O_RDWR)
    layout = bytearray(FORMAT_BYTES)
    struct.pack_into("=I4x4I", layout, 0, VIDEO_OUTPUT, WIDTH, HEIGHT, YUYV, NO_FIELDS)
    fcntl.ioctl(camera, S_FMT, layout)
    random = np.random.default_rng()
    # A sensor's: no two frames are the same, or the kiosk takes the camera for a frozen one.
    noise = random.integers(0, 4, WIDTH * HEIGHT + (1 << 16), dtype=np.uint8)
    frame = np.full((WIDTH * HEIGHT, 2), GREY, dtype=np.uint8)
    while True:
        gone = GONE.exists()
        _plug(there=not gone)
        if not gone:
            luma = np.fromfile(SCENE, dtype=np.uint8) if SCENE.exists() else GREY
            at = int(random.integers(1 << 16))
            frame[:, 0] = noise[at : at + WIDTH * HEIGHT] ^ luma
            os.write(camera, frame.data)
        time.sleep(FRAME_S)


def _plug(*, there: bool) -> None:
    has, wants = (PULLED, DEVICE) if there else (DEVICE, PULLED)
    if has.exists():
        has.rename(wants)


if __name__ == "__main__":
    main()
