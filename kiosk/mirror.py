"""The mirror on the page: small pictures of what the camera sees, as long as a page wants them.

Decides size and pace. Refuses to know codes, and keeps nothing: a picture is gone with the next one. The daemon gives
it a thread of its own, so that it never stands between a frame and its verdict.
"""

import threading

import cv2

from kiosk.inbox import Newest
from kiosk.messages import Frame
from kiosk.screen import ScreenServer

EVERY_S = 0.1
WIDTH = 320
QUALITY = 60
"""Of the JPEG: about 6 KB a picture, which is 60 KB/s over loopback."""


def picture_of(frame: Frame) -> bytes:
    """A small JPEG, in grey as the camera's frame is."""
    height, width = frame.luma.shape
    size = (WIDTH, max(1, round(WIDTH * height / width)))
    small = cv2.resize(frame.luma, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def reflect(frames: Newest[Frame], screen: ScreenServer, stopping: threading.Event) -> None:
    """Show the newest frame ten times a second until `stopping`; nothing is computed while no page wants it."""
    while not stopping.wait(EVERY_S):
        if screen.is_watched and (frame := frames.take(EVERY_S)):
            screen.reflect(picture_of(frame))
