"""What a visitor holds up: a phone or a printed card with a QR code on it, drawn flat.

Decides how the thing looks from straight ahead. Refuses to know where it is, how it moves and what a payload means.
Called by `kiosk.testing.visitors`; `kiosk.testing.rendering` puts it into a scene. Pure functions; the caches only
save time.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.testing import wear
from kiosk.testing.conditions import PLAIN, Condition
from kiosk.testing.wear import Area

Grey = NDArray[np.uint8]
Point = tuple[float, float]
Outline = NDArray[np.float32]

QUIET_MODULES = 4
"""Light border around a code (ISO/IEC 18004, 6.3.8)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Carrier:
    """A thing with a code on it. `mips` halve in size; `centre`, `module` and `shapes` are in pixels of the first.

    `modules` counts one side of the code without its quiet zone; `shapes` are the convex outlines of what is opaque:
    the thing itself, then fingers. `screen` is the outline of what shines by itself.
    """

    mips: tuple[Grey, ...]
    centre: tuple[float, float]
    module: int
    modules: int
    shapes: tuple[NDArray[np.float32], ...]
    screen: NDArray[np.float32] | None = None


def code_modules(payload: bytes) -> NDArray[np.bool_]:
    """The QR matrix, True where dark, without quiet zone: level M, or L where only L holds the payload."""
    import segno  # noqa: PLC0415 - the [demo] extra; a door that simulates nothing does without

    try:
        code = segno.make(payload, error="m", micro=False, boost_error=False)
    except segno.DataOverflowError:
        code = segno.make(payload, error="l", micro=False, boost_error=False)
    return np.array(code.matrix, dtype=np.uint8).astype(np.bool_)


def _code_image(payload: bytes, dark: int, light: int) -> tuple[Grey, int, int]:
    """The code with its quiet zone, pixels per module, and modules a side."""
    modules = code_modules(payload)
    side = modules.shape[0]
    module = 6 if side < 100 else 4  # noqa: PLR2004 - the largest codes are never shown above 4 px per module
    tones = np.where(np.pad(modules, QUIET_MODULES), dark, light).astype(np.uint8)
    return tones.repeat(module, axis=0).repeat(module, axis=1), module, side


def box(image: Grey, area: Area, tone: int) -> None:
    """Fill the area."""
    left, top = round(area.left), round(area.top)
    corner = (round(area.left + area.width), round(area.top + area.height))
    cv2.rectangle(image, (left, top), corner, (tone,), cv2.FILLED)


def _rounded(area: Area, radius: float) -> Outline:
    """The outline of the area with round corners, clockwise from the right end of its lower edge."""
    arc = np.linspace(0, np.pi / 2, 6)
    parts = []
    for quarter, (right, low) in enumerate(((1, 1), (0, 1), (0, 0), (1, 0))):
        middle_x = area.left + (area.width - radius if right else radius)
        middle_y = area.top + (area.height - radius if low else radius)
        angles = arc + quarter * np.pi / 2
        parts.append(np.stack([middle_x + radius * np.cos(angles), middle_y + radius * np.sin(angles)], axis=1))
    return np.concatenate(parts).astype(np.float32)


def _words(image: Grey, area: Area, tone: int, rng: np.random.Generator) -> None:
    """Fill a line with strokes that look like words from a distance."""
    x, letter = area.left, area.height
    while x < area.left + area.width:
        end = x + letter * rng.uniform(2, 6)
        while x < end:
            stroke = letter * rng.uniform(0.3, 0.6)
            rise = letter * rng.uniform(0, 0.3)
            box(image, Area(x, area.top + rise, stroke, letter * 0.8 - rise), tone)
            x += stroke + letter * 0.3
        x += letter


def _finger(image: Grey, tip: Point, axes: Point, angle: float) -> Outline:
    """Draw the end of a finger, brighter toward its middle; its outline."""
    points = np.array(cv2.ellipse2Poly((0, 0), (round(axes[0]), round(axes[1])), round(angle), 0, 360, 15))
    for step in range(12):
        cv2.fillPoly(image, [(points * (1 - step / 12) + tip).astype(np.int32)], (88 + 4 * step,))
    return np.asarray(points + tip, dtype=np.float32)


def _glare(image: Grey, rng: np.random.Generator) -> None:
    """Add the soft reflection of a lamp on the glass, up to 22 grey levels."""
    height, width = image.shape
    spot = np.zeros((32, 32), dtype=np.uint8)
    centre = (int(rng.integers(4, 28)), int(rng.integers(2, 20)))
    cv2.ellipse(spot, centre, (9, 4), -35, 0, 360, (22,), cv2.FILLED)
    soft = cv2.resize(cv2.GaussianBlur(spot, (0, 0), 3), (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.add(image, soft, dst=image)


def _mips(image: Grey, module: int) -> tuple[Grey, ...]:
    """The drawing, softened a little, then halved until the code has less than 3 pixels per module."""
    mips = [np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5), dtype=np.uint8)]
    while module / 2 ** len(mips) >= 1.5:  # noqa: PLR2004 - the far end of an approach
        mips.append(np.asarray(cv2.pyrDown(mips[-1]), dtype=np.uint8))
    return tuple(mips)


def _app(image: Grey, screen: Area, code: Grey, light: int, rng: np.random.Generator) -> Area:
    """Draw what the phone shows: status bar, title, code, lines, a button; where the code is."""
    left, top, width, height = screen
    box(image, screen, light)
    box(image, Area(left, top, width, width * 0.07), light - 60)
    _words(image, Area(left + width * 0.05, top + width * 0.02, width * 0.1, width * 0.035), light, rng)
    box(image, Area(left + width * 0.86, top + width * 0.02, width * 0.09, width * 0.03), light)
    _words(image, Area(left + width * 0.16, top + width * 0.12, width * 0.6, width * 0.05), 60, rng)
    _words(image, Area(left + width * 0.27, top + width * 0.19, width * 0.4, width * 0.035), 110, rng)
    side = code.shape[0]
    x, y = round(left + (width - side) / 2), round(top + width * 0.26)
    image[y : y + side, x : x + side] = code
    for line in range(5):
        down = y + side + width * (0.05 + 0.08 * line)
        _words(image, Area(left + width * 0.1, down, width * rng.uniform(0.3, 0.7), width * 0.035), 90, rng)
    box(image, Area(left + width * 0.1, top + height * 0.91, width * 0.8, width * 0.12), light - 95)
    _words(image, Area(left + width * 0.35, top + height * 0.91 + width * 0.04, width * 0.25, width * 0.05), light, rng)
    return Area(x, y, side, side)


@lru_cache(maxsize=8)
def phone(payload: bytes, seed: int, condition: Condition = PLAIN) -> Carrier:
    """A phone with the code on its bright screen, held in a hand."""
    rng = np.random.default_rng([seed, 1])
    light, dark = int(rng.integers(180, 241)), int(rng.integers(18, 42))
    code, module, modules = _code_image(payload, dark, light)
    width = code.shape[0] * rng.uniform(1.06, 1.2)
    height, bezel, margin = width * rng.uniform(1.9, 2.15), width * 0.035, width * 0.11
    body = Area(margin, margin, width + 2 * bezel, height + 4 * bezel)
    image = np.full((ceil(body.height + 2 * margin), ceil(body.width + 2 * margin)), 70, dtype=np.uint8)
    shapes = [_rounded(body, width * 0.09)]
    cv2.fillPoly(image, [shapes[0].astype(np.int32)], (int(rng.integers(22, 48)),))
    screen = Area(margin + bezel, margin + 2 * bezel, width, height)
    at = _app(image, screen, code, light, rng)
    if condition.dark_mode:
        wear.inverted(image, screen)
    if condition.cracked:
        wear.cracked(image, screen, at, module, np.random.default_rng([seed, 5]))
    _glare(image, rng)
    grip = at.top + at.height + width * 0.14
    for number in range(4):
        tip = (margin + body.width + margin * 0.15, grip + width * 0.15 * number)
        shapes.append(_finger(image, tip, (margin * 0.8, margin * 0.68), -8))
    shapes.append(_finger(image, (margin * 0.95, grip + width * 0.12), (margin * 0.9, margin * 2.1), 8))
    centre = (at.left + at.width / 2, at.top + at.height / 2)
    return Carrier(
        mips=_mips(image, module),
        centre=centre,
        module=module,
        modules=modules,
        shapes=tuple(shapes),
        screen=_rounded(Area(screen.left - 2, screen.top - 2, screen.width + 4, screen.height + 4), 1),
    )


def _print(image: Grey, paper: Area, code: Grey, tones: Point, rng: np.random.Generator) -> Area:
    """Draw what the card says: a border, a heading, the code, three lines; where the code is."""
    ink, light = round(tones[0]), round(tones[1])
    side = code.shape[0]
    inset = side * 0.03
    border = Area(paper.left + inset, paper.top + inset, paper.width - 2 * inset, paper.height - 2 * inset)
    lines = [_rounded(border, side * 0.02).astype(np.int32)]
    cv2.polylines(image, lines, isClosed=True, color=(light - 70,), thickness=max(side // 200, 1))
    box(image, border._replace(height=side * 0.11), light - 90)
    _words(image, Area(paper.left + side * 0.2, paper.top + side * 0.06, side * 0.75, side * 0.05), light, rng)
    x, y = round(paper.left + (paper.width - side) / 2), round(paper.top + side * 0.17)
    image[y : y + side, x : x + side] = code
    for line in range(3):
        down = y + side + side * (0.03 + 0.085 * line)
        _words(image, Area(paper.left + side * 0.15, down, side * rng.uniform(0.4, 0.8), side * 0.04), ink, rng)
    return Area(x, y, side, side)


@lru_cache(maxsize=8)
def card(payload: bytes, seed: int, condition: Condition = PLAIN) -> Carrier:
    """A printed card between thumb and fist."""
    rng = np.random.default_rng([seed, 2])
    light, dark = int(rng.integers(150, 211)), int(rng.integers(28, 60))
    code, module, modules = _code_image(payload, dark, light)
    side = code.shape[0]
    margin, foot = side * 0.06, side * 0.35
    paper = Area(margin, margin, side * 1.25, side * rng.uniform(1.55, 1.7))
    size = (ceil(paper.height + margin + foot), ceil(paper.width + 2 * margin))
    image = np.full(size, 70, dtype=np.uint8)
    hold_x, hold_y = paper.left + paper.width * rng.uniform(0.6, 0.85), paper.top + paper.height
    fist = _finger(image, (hold_x, hold_y + side * 0.1), (side * 0.2, side * 0.22), 0)
    outline = _rounded(paper, side * 0.04)
    cv2.fillPoly(image, [outline.astype(np.int32)], (light,))
    at = _print(image, paper, code, (dark, light), rng)
    if condition.fold_deg:
        fold = condition.drawn("fold_deg", seed)
        wear.creased(image, paper, at, module, fold, np.random.default_rng([seed, 6]))
    thumb = _finger(image, (hold_x - side * 0.04, hold_y - side * 0.02), (side * 0.075, side * 0.15), 15)
    centre = (at.left + at.width / 2, at.top + at.height / 2)
    return Carrier(
        mips=_mips(image, module), centre=centre, module=module, modules=modules, shapes=(outline, fist, thumb)
    )
