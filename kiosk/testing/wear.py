"""What time and taste do to a carrier: dark mode, a cracked glass, a fold.

Decides how a flat drawing changes. Refuses to know what it shows. Called by `kiosk.testing.carriers`. Pure.
"""

from math import cos, radians
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]


class Area(NamedTuple):
    """A rectangle in a drawing: left, top, width, height, in pixels."""

    left: float
    top: float
    width: float
    height: float


def inverted(image: Grey, screen: Area) -> None:
    """Swap dark and light on the screen, code included."""
    left, top = round(screen.left), round(screen.top)
    part = image[top : top + round(screen.height), left : left + round(screen.width)]
    part[:] = np.max(part) - (part - np.min(part))


def cracked(image: Grey, screen: Area, code: Area, module: int, rng: np.random.Generator) -> None:
    """Break the glass at a point over the code: cracks run outwards from it, with a web of rings between them."""
    hit = np.array([code.left + code.width * rng.uniform(-0.1, 1.1), code.top + code.height * rng.uniform(-0.1, 1.1)])
    intact = image.copy()
    rays = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 11))))
    ends = [_crack(image, hit, angle, screen.height, module, rng) for angle in rays]
    for radius in np.cumsum(rng.uniform(2, 5, 2)) * module:
        ring = np.array([point[int(radius / module)] for point in ends])
        cv2.polylines(image, [ring.astype(np.int32)], isClosed=True, color=(_splinter(rng),), thickness=1)
    cv2.circle(
        image, (round(hit[0]), round(hit[1])), round(module * rng.uniform(1.0, 2.0)), (_splinter(rng),), cv2.FILLED
    )
    left, top = round(screen.left), round(screen.top)
    glass = np.s_[top : top + round(screen.height), left : left + round(screen.width)]
    intact[glass] = image[glass]
    image[:] = intact


def _splinter(rng: np.random.Generator) -> int:
    """The tone of broken glass: it throws back a lamp, or hides the screen."""
    return int(rng.choice((40, 90, 200, 250)))


def _crack(
    image: Grey, hit: NDArray[np.float64], angle: float, reach: float, module: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A crooked line from the hit to the edge of the glass; its points, a module apart."""
    steps = int(reach / module) + 16
    angles = angle + np.cumsum(rng.normal(0, 0.06, steps))
    points = hit + np.cumsum(np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0) * module
    width = max(round(module * rng.uniform(0.15, 0.5)), 1)
    cv2.polylines(image, [points.astype(np.int32)], isClosed=False, color=(_splinter(rng),), thickness=width)
    return np.asarray(points, dtype=np.float64)


def creased(image: Grey, paper: Area, code: Area, module: int, fold_deg: float, rng: np.random.Generator) -> None:
    """Fold the card along one line through the code.

    The half beyond the fold turns away: it gets narrower, and darker, as the light falls on it more flatly. Along the
    fold ink has come off the fibres.
    """
    left, top = round(paper.left), round(paper.top)
    card = image[top : top + round(paper.height), left : left + round(paper.width)]
    upright = bool(rng.integers(2))
    view, start = (card, code.left - left) if upright else (card.T, code.top - top)
    at = start + code.width * rng.uniform(0.2, 0.8)
    columns = np.arange(view.shape[1], dtype=np.float32)
    rows = np.arange(view.shape[0], dtype=np.float32)
    beyond = columns > at
    from_columns = np.where(beyond, at + (columns - at) / cos(radians(fold_deg)), columns).astype(np.float32)
    map_x = np.ascontiguousarray(np.broadcast_to(from_columns, view.shape))
    map_y = np.ascontiguousarray(np.broadcast_to(rows[:, None], view.shape))
    bent = cv2.remap(np.ascontiguousarray(view), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # A lamp 45 degrees off the card's normal, on the side the far half turns from.
    shade = np.where(beyond, cos(radians(45 + fold_deg)) / cos(radians(45)), 1.0)
    worn = np.exp(-(((columns - at) / (0.35 * module)) ** 2))[None] * rng.uniform(0.4, 1, (view.shape[0], 1))
    view[:] = np.clip(bent * shade * (1 - worn) + 150 * worn, 0, 255).astype(np.uint8)
