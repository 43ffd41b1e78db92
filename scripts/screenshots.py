"""Draw the pictures of the screen in docs/ with the real server, page and browser.

Run from the repository root, with chromium and playwright installed: `python scripts/screenshots.py`. The names in
the pictures are made up.
"""

import shutil
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from kiosk.config import load_rules
from kiosk.messages import AlertState, Direction, Hint, Reason, Screen, Tally, View, Wording
from kiosk.screen import ScreenServer

DOCS = Path(__file__).resolve().parent.parent / "docs"
WIDTH, HEIGHT = 1280, 720
GAP = 16
COLUMNS = 3
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

RULES = load_rules(DOCS.parent / "config" / "rules.toml")


def _said(reason: Reason) -> Wording:
    return RULES.reasons[reason].wording


ENTRY = Direction.ENTRY
SINCE = datetime(2021, 11, 22, 1, 12, tzinfo=UTC)
TODAY = Tally(presentations=3120, grants=3010, crowded=40, passages=2999, without_grant=12)
VIEWS = {
    "attract": View(
        screen=Screen.ATTRACT, wording=RULES.screens[Screen.ATTRACT], direction=ENTRY, online=True, link_since=SINCE
    ),
    "granted": View(
        screen=Screen.GRANTED, wording=_said(Reason.NO_RISK), direction=ENTRY, initials="N.V.A.", online=True
    ),
    "held": View(
        screen=Screen.HELD,
        wording=_said(Reason.DECLARATION_EXPIRED),
        direction=ENTRY,
        initials="T.T.B.",
        waiting=12,
        link_since=SINCE,
        city_age_s=4500,
    ),
    "at-risk": View(
        screen=Screen.AT_RISK,
        wording=_said(Reason.AT_RISK_CONTACT),
        direction=ENTRY,
        online=True,
        waiting=1,
        alert=AlertState.DELIVERED,
        link_since=SINCE,
        today=TODAY,
    ),
    "denied": View(screen=Screen.DENIED, wording=_said(Reason.UNKNOWN_FORMAT), direction=ENTRY, online=True),
    "locked": View(
        screen=Screen.LOCKED,
        wording=RULES.screens[Screen.LOCKED],
        direction=ENTRY,
        online=True,
        muted=True,
        link_since=SINCE,
    ),
    "fire": View(screen=Screen.FIRE, wording=RULES.screens[Screen.FIRE], direction=ENTRY, link_since=SINCE),
    "out-of-order": View(
        screen=Screen.OUT_OF_ORDER,
        wording=RULES.screens[Screen.OUT_OF_ORDER],
        direction=ENTRY,
        online=True,
        fault="camera: no frame for 5 s; check the ribbon cable",
    ),
}
HINTS = {
    f"hint-{hint}": View(
        screen=Screen.READING, wording=RULES.hints[hint], direction=Direction.ENTRY, online=True, hint=hint
    )
    for hint in Hint
}


def draw(views: dict[str, View], folder: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[Path]:
    """Photograph every view at this size, each into its own file in the folder."""
    server = ScreenServer(port=0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    files = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM_FLAGS))
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            page.goto(server.address)
            for name, view in views.items():
                server.show(view)
                page.wait_for_selector(f'body[data-screen="{view.screen}"][data-hint="{view.hint or ""}"]')
                files.append(folder / f"screen-{name}.png")
                page.screenshot(path=files[-1])
            browser.close()
    finally:
        server.close()
        thread.join()
    return files


def contact_sheet(files: list[Path], name: str) -> Path:
    """Tile the pictures at two fifths of their size, three in a row."""
    small = []
    for file in files:
        picture = cv2.imread(str(file))
        assert picture is not None, file  # noqa: S101 - just written
        small.append(cv2.resize(picture, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA))
    height, width, _ = small[0].shape
    rows = -(-len(small) // COLUMNS)
    shape = (rows * (height + GAP) + GAP, COLUMNS * (width + GAP) + GAP, 3)
    sheet = np.full(shape, 255, np.uint8)
    for index, picture in enumerate(small):
        row, column = divmod(index, COLUMNS)
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    path = DOCS / name
    cv2.imwrite(str(path), sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return path


def main() -> int:
    """Write the pictures and say how large they are."""
    files = draw(VIEWS, DOCS)
    with tempfile.TemporaryDirectory() as folder:
        hints = contact_sheet(draw(HINTS, Path(folder)), "screen-hints.png")
        small = contact_sheet(draw({**VIEWS, **HINTS}, Path(folder), (800, 480)), "screen-800x480.png")
    with tempfile.TemporaryDirectory() as folder:
        upright = contact_sheet(draw(VIEWS, Path(folder), (720, 1280)), "screen-720x1280.png")
    for path in [*files, contact_sheet(files, "screen.png"), hints, small, upright]:
        print(f"{path.relative_to(DOCS.parent)}  {path.stat().st_size // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
