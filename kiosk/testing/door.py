"""A simulated door: rendered visitors in front of the camera, pins that remember, and a file of both.

The daemon gets the same seams as on a Pi and cannot tell. Beside the file of showings NAME.json it writes
NAME.frames.jsonl (which frame of which showing was delivered when) and NAME.pins.jsonl (every level of every pin), so
that somebody else can compare what happened with what should have.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kiosk.clock import Clock
from kiosk.errors import CameraFault
from kiosk.settings import CameraSettings
from kiosk.testing.visitors import Delivered, SimulatedCamera, showings_from_json

GAP_S = 3.4
"""Between two visitors: an alarm of the one is over before the next is read, so that each line history is its own."""


class SimulatedDoor:
    """What stands in for the hardware.

    Args:
        camera: its `path` is the file of showings; frames come at its size and rate.
        clock: stamps frames and levels.

    Raises:
        CameraFault: there is no such file.
        ConfigError: it holds no showings.
    """

    def __init__(self, camera: CameraSettings, clock: Clock) -> None:
        path = Path(camera.path)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise CameraFault(f"camera.path: {path} cannot be read ({error.strerror})") from error
        self._camera = camera
        self._clock = clock
        self._showings = showings_from_json(text, source=str(path))
        self._files = ExitStack()
        self._record_frame = self._writer(path.with_suffix(".frames.jsonl"))
        self._record_pin = self._writer(path.with_suffix(".pins.jsonl"))

    def open_camera(self) -> SimulatedCamera:
        """Put the visitors in front of a camera; an idle door for ever when there are none."""
        return SimulatedCamera(
            self._showings,
            clock=self._clock,
            fps=self._camera.fps,
            width=self._camera.width,
            height=self._camera.height,
            gap_s=GAP_S,
            loop=not self._showings,
            record=self._delivered,
        )

    def pin_factory(self) -> Any:  # noqa: ANN401 - gpiozero ships no types
        """Make gpiozero's mock factory with pins that report every level."""
        from gpiozero.pins.mock import MockFactory, MockPin  # noqa: PLC0415 - driver, imported where used

        clock, record = self._clock, self._record_pin

        class RememberingPin(MockPin):  # type: ignore[misc]  # gpiozero ships no types
            def _change_state(self, value: float) -> bool:
                changed = bool(super()._change_state(value))
                if changed:
                    record({"gpio": self.info.name, "level": int(value), "at_ns": clock.now().monotonic_ns})
                return changed

        return MockFactory(pin_class=RememberingPin)

    def close(self) -> None:
        """Finish both records."""
        self._files.close()

    def _delivered(self, delivered: Delivered) -> None:
        self._record_frame(asdict(delivered))

    def _writer(self, path: Path) -> Callable[[dict[str, object]], None]:
        file = self._files.enter_context(path.open("w", encoding="utf-8", buffering=1))
        return lambda entry: print(json.dumps(entry), file=file)
