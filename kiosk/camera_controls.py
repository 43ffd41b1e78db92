"""PURE. What a Pi camera is told so that codes can be read: libcamera's controls, and its answers.

Decides values; docs/camera.md derives them. Refuses to know picamera2, which sensor it is, and when it is told. Called
by `kiosk.camera`. Names and numbers are those of libcamera's control_ids_core.yaml; whatever a sensor or driver does
not list is never sent, so that one set serves every module and libcamera's virtual camera.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kiosk.messages import Exposure
from kiosk.settings import CameraSettings

Controls = dict[str, object]
Rectangle = tuple[int, int, int, int]
"""Left, top, width, height."""

_AE_SHORT = 1
_AF_MANUAL, _AF_CONTINUOUS = 0, 2
_AF_MACRO = 1
_AF_FAST = 1
_AUTO, _MANUAL = 0, 1


def _listed(wanted: Mapping[str, object], known: Collection[str]) -> Controls:
    return {name: value for name, value in wanted.items() if name in known}


def for_reading(camera: CameraSettings, known: Collection[str]) -> Controls:
    """What the camera starts with."""
    frame_us = 1_000_000 // camera.fps
    focus: dict[str, object] = (
        {"AfMode": _AF_MANUAL, "LensPosition": camera.lens_position}
        if camera.lens_position
        else {"AfMode": _AF_CONTINUOUS, "AfRange": _AF_MACRO, "AfSpeed": _AF_FAST}
    )
    return _listed({"FrameDurationLimits": (frame_us, frame_us), "AeExposureMode": _AE_SHORT, **focus}, known)


def crop(whole: Rectangle, size: tuple[int, int], region: Sequence[float]) -> Rectangle:
    """The part of the sensor that fills a frame of `size`.

    `whole` is the sensor's view; `region` is left, top and side, as shares of the widest part of it that has the
    frame's shape.
    """
    left, top, share = region
    scale = min(whole[2] / size[0], whole[3] / size[1])
    width, height = size[0] * scale, size[1] * scale
    x = whole[0] + (whole[2] - width) / 2 + left * width
    y = whole[1] + (whole[3] - height) / 2 + top * height
    return round(x), round(y), round(share * width), round(share * height)


def exposing(exposure: Exposure | None, known: Mapping[str, tuple[Any, Any, Any]]) -> Controls:
    """How to ask for an exposure, or for the automatic. `known` maps each control to its least, most and usual value.

    libcamera from 0.5 on has a mode each for time and gain; before, the values alone turned the automatic off, and
    `AeEnable` turned it on (raspberrypi/picamera2 pull request 1255). `AeEnable` false is never sent: it takes over
    what is in force, in no set order with the values (issue 933).
    """
    if not {"ExposureTime", "AnalogueGain"} <= known.keys():
        return {}
    if exposure is None:
        return _listed({"AeEnable": True, "ExposureTimeMode": _AUTO, "AnalogueGainMode": _AUTO}, known)
    least_us, most_us, _ = known["ExposureTime"]
    least, most, _ = known["AnalogueGain"]
    wanted = {
        "ExposureTimeMode": _MANUAL,
        "AnalogueGainMode": _MANUAL,
        "ExposureTime": int(min(max(exposure.exposure_us, least_us), most_us)),
        "AnalogueGain": float(min(max(exposure.gain, least), most)),
    }
    return _listed(wanted, known)


def exposed(metadata: Mapping[str, Any]) -> Exposure | None:
    """What a frame was taken with. The gain counts what the image processor adds when the sensor can do no more."""
    time_us, gain = metadata.get("ExposureTime"), metadata.get("AnalogueGain")
    if not time_us or not gain:
        return None
    return Exposure(exposure_us=int(time_us), gain=float(gain) * float(metadata.get("DigitalGain") or 1.0))


class ShortAutomatic:
    """Keeps the camera's automatic from exposing for longer than a moving hand allows.

    libcamera has no control for that, and its own table for short exposures goes on to 66 ms. So its automatic keeps
    the gain only, from when it would expose for longer until it needs little gain: by its tables that is twice the
    light, so it does not go to and fro. A tuning of our own would do it too, but picamera2 cannot change one once
    libcamera has listed the cameras (raspberrypi/picamera2 issue 886).
    """

    _RELEASE_GAIN = 1.5
    """Its tables are at 2 or more when they reach 10 ms."""
    _ROW = 1.02
    """Times are whole rows of the sensor."""

    def __init__(self, longest_us: int, known: Mapping[str, tuple[Any, Any, Any]]) -> None:
        self._longest_us = longest_us
        self._known = known
        self._holds = False

    def restart(self) -> None:
        """Somebody else has set the exposure meanwhile."""
        self._holds = False

    def follow(self, taken: Exposure) -> Controls:
        """What to tell the camera after a frame; mostly nothing."""
        if not self._holds and taken.exposure_us > self._longest_us * self._ROW:
            self._holds = True
            return _listed({"ExposureTimeMode": _MANUAL, "ExposureTime": self._longest_us}, self._known)
        if self._holds and taken.gain < self._RELEASE_GAIN:
            self._holds = False
            return exposing(None, self._known)
        return {}
