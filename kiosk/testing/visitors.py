"""Simulated visitors in front of a simulated camera; everything after the frames is the real firmware.

Decides who comes when, and which frame the sensor has ready. Refuses to know how a hand moves
(`kiosk.testing.gestures`), how anything looks (`carriers`, `rendering`, `light`, `sensor`) and what a payload means.
Called by the daemon when its configuration names simulated visitors, by the demo, by benchmarks and by tests. A picture
is a pure function of a showing, a frame index and an exposure.
"""

import base64
import binascii
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from math import ceil
from threading import Event

import numpy as np
from numpy.typing import NDArray

from kiosk.clock import Clock, S
from kiosk.errors import ConfigError
from kiosk.messages import Exposure, Frame
from kiosk.testing import carriers, gestures, rendering, sensor
from kiosk.testing.conditions import CONDITIONS, PLAIN
from kiosk.testing.light import light_of

PAYLOAD_LIMIT = 2953
"""Bytes in the largest QR code (ISO/IEC 18004, table 7: version 40, level L)."""
CODES_LIMIT = 2
RING = 16
"""Empty frames made beforehand, so that an idle door costs nothing to simulate."""


class Medium(StrEnum):
    """What the code is on."""

    PHONE = "phone"
    CARD = "card"


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """One visit to the camera: one code, or two side by side. `seed` (0 or more) settles every chance detail.

    `condition` is one of `kiosk.testing.conditions.CONDITIONS`.
    """

    codes: tuple[bytes, ...]
    medium: Medium
    seed: int
    condition: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A frame handed out while a showing was on: which showing, which of its frames, and what it was taken with.

    `exposure` is None for a plain visitor in front of a camera that nobody has set.
    """

    showing: int
    index: int
    captured_ns: int
    exposure: Exposure | None = None


def showings_to_json(showings: Sequence[Showing]) -> str:
    """The file form: a list of objects, payloads in base64."""
    entries = [
        {
            "codes": [base64.b64encode(code).decode("ascii") for code in showing.codes],
            "medium": showing.medium.value,
            "seed": showing.seed,
            "condition": showing.condition,
        }
        for showing in showings
    ]
    return json.dumps(entries, indent=1) + "\n"


def showings_from_json(text: str, source: str = "showings") -> list[Showing]:
    """Read the file form. `source` is the file's name, for messages.

    Raises:
        ConfigError: with every mistake, each naming file, entry (counted from 1) and field; never a payload.
    """
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError([f"{source}: not JSON at line {error.lineno}: {error.msg}"]) from None
    if not isinstance(entries, list):
        raise ConfigError([f"{source}: must be a list of showings"])
    mistakes: list[str] = []
    showings = [_showing(entry, f"{source}: entry {number}", mistakes) for number, entry in enumerate(entries, 1)]
    if mistakes:
        raise ConfigError(mistakes)
    return [showing for showing in showings if showing]


def _showing(entry: object, where: str, mistakes: list[str]) -> Showing | None:
    if not isinstance(entry, dict):
        mistakes.append(f"{where}: must be an object with codes, medium and seed")
        return None
    known = len(mistakes)
    fields = {"codes", "medium", "seed", "condition"}
    mistakes += [f"{where}: {key}: unknown field" for key in entry if key not in fields]
    codes = _codes(entry.get("codes"), where, mistakes)
    medium, seed = str(entry.get("medium")), entry.get("seed")
    if medium not in tuple(Medium):
        mistakes.append(f"{where}: medium: must be one of {', '.join(Medium)}")
    condition = str(entry.get("condition", "plain"))
    if condition not in CONDITIONS:
        mistakes.append(f"{where}: condition: must be one of {', '.join(CONDITIONS)}")
    if type(seed) is not int or seed < 0:
        mistakes.append(f"{where}: seed: must be a whole number, 0 or more")
        return None
    if len(mistakes) > known:
        return None
    return Showing(codes=codes, medium=Medium(medium), seed=seed, condition=condition)


def _codes(value: object, where: str, mistakes: list[str]) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= CODES_LIMIT:
        mistakes.append(f"{where}: codes: must be a list of 1 or 2 payloads in base64")
        return ()
    codes = []
    for number, item in enumerate(value, start=1):
        try:
            payload = base64.b64decode(item.encode("ascii", "replace"), validate=True) if isinstance(item, str) else b""
        except binascii.Error:
            payload = b""
        if not 1 <= len(payload) <= PAYLOAD_LIMIT:
            mistakes.append(f"{where}: codes: payload {number} must be 1 to {PAYLOAD_LIMIT} bytes in base64")
        codes.append(payload)
    return tuple(codes)


def _hands(showing: Showing) -> list[gestures.Gesture]:
    people, condition = len(showing.codes), CONDITIONS[showing.condition]
    return [gestures.gesture(showing.seed, which, people, condition) for which in range(people)]


def _held(showing: Showing) -> list[carriers.Carrier]:
    make = carriers.phone if showing.medium is Medium.PHONE else carriers.card
    condition = CONDITIONS[showing.condition]
    return [make(payload, showing.seed + which, condition) for which, payload in enumerate(showing.codes)]


def frame_count(showing: Showing, fps: float) -> int:
    """How many frames the showing lasts, from the first trace of the visitor to the last."""
    return ceil(max(hand.end_s for hand in _hands(showing)) * fps)


def poses(
    showing: Showing, index: int, *, width: int, height: int, fps: float, exposure: Exposure = sensor.REFERENCE
) -> list[rendering.Pose]:
    """How each code is held in frame `index`, with the smear that exposure makes of its movement: the truth."""
    view = gestures.View(width, height, len(showing.codes))
    condition = CONDITIONS[showing.condition]
    times = {"exposure_s": exposure.exposure_us / 1e6, "read_out_s": condition.read_out_s}
    pairs = zip(_hands(showing), _held(showing), strict=True)
    return [gestures.pose(hand, it.modules, index / fps, view, **times) for hand, it in pairs]


def render(
    showing: Showing | None, index: int, *, width: int, height: int, fps: float, noise_key: int
) -> NDArray[np.uint8]:
    """Frame `index` of the showing, or of the empty door. The same arguments give the same bytes.

    A plain visitor is drawn the quick way; any other as `photograph` does with `sensor.REFERENCE`.
    """
    if showing is None:
        return rendering.expose(rendering.backdrop(width, height), 1.0, noise_key, index)
    if showing.condition != "plain":
        size = {"width": width, "height": height, "noise_key": noise_key}
        return photograph(showing, index, sensor.REFERENCE, fps=fps, **size)
    view = gestures.View(width, height, len(showing.codes))
    at_s = index / fps
    hands, held = _hands(showing), _held(showing)
    shown = [gestures.pose(hand, it.modules, at_s, view) for hand, it in zip(hands, held, strict=True)]
    people = [gestures.body_x(hand, at_s, view) for hand in hands]
    near = max(came - gone for came, gone in (gestures.progress(hand, at_s) for hand in hands))
    scene = rendering.draw(list(zip(held, shown, strict=True)), people, width=width, height=height)
    # Automatic exposure answers a bright screen close by.
    return rendering.expose(scene, 1 - 0.07 * near, noise_key, index)


def photograph(
    showing: Showing | None, index: int, exposure: Exposure, *, width: int, height: int, fps: float, noise_key: int
) -> NDArray[np.uint8]:
    """A frame the way `kiosk.testing.sensor` takes it. A negative `index` is the door in the showing's light."""
    condition, seed, at_s = PLAIN, 0, index / fps
    held: list[tuple[carriers.Carrier, rendering.Pose]] = []
    people: list[float] = []
    if showing:
        condition, seed = CONDITIONS[showing.condition], showing.seed
    if showing and index >= 0:
        view = gestures.View(width, height, len(showing.codes))
        shown = poses(showing, index, width=width, height=height, fps=fps, exposure=exposure)
        held = list(zip(_held(showing), shown, strict=True))
        people = [gestures.body_x(hand, at_s, view) for hand in _hands(showing)]
    light = light_of(held, people, condition=condition, seed=seed, width=width, height=height)
    return sensor.develop(light, exposure, condition=condition, seed=seed, at_s=at_s, noise=(noise_key, abs(index)))


def first_pose(showing: Showing, *, fps: float, width: int, height: int) -> list[int | None]:
    """For each code, the first frame in which its pose leaves it to be read; None if none does.

    By the simulation's own truth, at `sensor.REFERENCE`: neither light nor a reader has a say.
    """
    view = gestures.View(width, height, len(showing.codes))
    first: list[int | None] = [None] * len(showing.codes)
    for index in range(frame_count(showing, fps)):
        shown = poses(showing, index, width=width, height=height, fps=fps)
        for which, (pose, carrier) in enumerate(zip(shown, _held(showing), strict=True)):
            if first[which] is None and gestures.readable(pose, carrier.modules, view):
                first[which] = index
    return first


def first_readable(showing: Showing, *, fps: float, width: int, height: int) -> dict[bytes, int]:
    """The first frame of the showing in which plain zxing-cpp reads each code; a code it never reads is missing.

    Looks at the frames `SimulatedCamera` delivers: the noise key is the showing's seed.
    """
    import zxingcpp  # noqa: PLC0415 - the daemon that plays visitors reads with its own decoder

    formats = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCodeModel2)
    found: dict[bytes, int] = {}
    for index in range(frame_count(showing, fps)):
        luma = render(showing, index, width=width, height=height, fps=fps, noise_key=showing.seed)
        for code in zxingcpp.read_barcodes(luma, formats=formats):
            if code.bytes in showing.codes:
                found.setdefault(code.bytes, index)
        if len(found) == len(set(showing.codes)):
            break
    return found


class SimulatedCamera:
    """A frame source that plays showings in real time, then an empty door.

    A frame it is late for is lost, as on a sensor; `Frame.number` counts the sensor's frames, so it shows the gap.
    `wait(seconds)` sleeps and returns True once closed; `record` hears of each delivered frame of a showing.
    Until somebody sets its exposure, plain visitors come in constant light; others meet automatic exposure.
    """

    def __init__(  # noqa: PLR0913 - each has one use and a usual value
        self,
        showings: Sequence[Showing],
        *,
        clock: Clock,
        fps: float = 30.0,
        width: int = 1280,
        height: int = 720,
        gap_s: float = 1.8,
        tail_s: float = 3.0,
        loop: bool = False,
        wait: Callable[[float], bool] | None = None,
        record: Callable[[Delivered], None] | None = None,
    ) -> None:
        self._showings = tuple(showings)
        self._clock = clock
        self._fps, self._width, self._height = fps, width, height
        self._loop = loop
        self._closed = Event()
        self._wait = wait or self._closed.wait
        self._record = record
        self._controls = sensor.Controls()
        gap = ceil(gap_s * fps)
        self._ends = tuple(accumulate(frame_count(showing, fps) + gap for showing in self._showings))
        self._starts = (0, *self._ends)
        self._tail = ceil(tail_s * fps)
        self._ring = [self._frozen(None, index, None) for index in range(RING)]
        for showing in self._showings[:1]:
            self._frozen(showing, 0, None)  # fills the caches, or the first visitor's first frames would be late

    def frames(self) -> Iterator[Frame]:
        """Frames from now on, each when it is due, until closed or, unless it loops, the door has been empty long."""
        start_ns = self._clock.now().monotonic_ns
        number = 0
        while not self._closed.is_set():
            now_ns = self._clock.now().monotonic_ns
            number = max(number, int((now_ns - start_ns) * self._fps / S))
            due_ns = start_ns + ceil(number * S / self._fps)
            if self._over(number) or self._wait(max(due_ns - now_ns, 0) / S):
                return
            yield self._frame(number, due_ns)
            number += 1

    def expose(self, exposure: Exposure | None) -> None:
        """Ask for an exposure two frames from now; None gives it back to the camera. Any thread."""
        self._controls.expose(exposure)

    def close(self) -> None:
        """End `frames` at the next frame; any thread, any number of times."""
        self._closed.set()

    def _over(self, number: int) -> bool:
        return not self._loop and number >= self._starts[-1] + self._tail

    def _frame(self, number: int, captured_ns: int) -> Frame:
        which, index = self._place(number)
        showing = self._showings[which] if which < len(self._showings) else None
        taken = self._controls.of(number)
        quick = self._controls.is_automatic and (showing is None or showing.condition == "plain")
        exposure = None if quick else taken
        if showing and index >= 0:
            if self._record:
                self._record(Delivered(showing=which, index=index, captured_ns=captured_ns, exposure=exposure))
            luma = self._frozen(showing, index, exposure)
        else:
            if showing:  # What the next visitor holds is drawn while nobody is there.
                _held(self._showings[(which + 1) % len(self._showings)])
            luma = self._ring[number % RING] if quick else self._frozen(showing, -1 - number, exposure)
        if not quick:
            self._controls.meter(luma, taken)
        return Frame(luma=luma, number=number, captured_ns=captured_ns, exposure=exposure or sensor.REFERENCE)

    def _place(self, number: int) -> tuple[int, int]:
        """Which showing is on, or was last, and which of its frames; -1 once it is over."""
        total = self._starts[-1]
        at = number % total if self._loop and total else number
        which = bisect_right(self._ends, at)
        if which == len(self._showings):
            return which, -1
        index = at - self._starts[which]
        return which, index if index < frame_count(self._showings[which], self._fps) else -1

    def _frozen(self, showing: Showing | None, index: int, exposure: Exposure | None) -> NDArray[np.uint8]:
        size = {"width": self._width, "height": self._height, "noise_key": showing.seed if showing else 0}
        if exposure:
            luma = photograph(showing, index, exposure, fps=self._fps, **size)
        else:
            luma = render(showing, index, fps=self._fps, **size)
        luma.setflags(write=False)
        return luma
