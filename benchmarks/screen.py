"""The page in a real browser: from a verdict to its pixels, with the mirror and without; and what the mirror costs.

    scripts/bench screen [--verdicts 100] [--seconds 15] [--json]

A headless Chromium at 1280x720 shows what the screen's server pushes. A verdict counts as painted when the browser has
begun its second frame after the change (requestAnimationFrame twice); the way back to this process counts too. In turn
with the mirror at ten pictures a second from a 30 frames/s camera, and without it. The mirror's cost is the CPU time of
its thread and of the page's stream; the rival is the same picture as PNG, what a simple page would fetch.
"""

import argparse
import json
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

from demo.__main__ import ROOT
from kiosk.config import load_rules
from kiosk.inbox import Newest
from kiosk.messages import Direction, Frame, Reason, Screen, View
from kiosk.mirror import EVERY_S, WIDTH, picture_of, reflect
from kiosk.screen import ScreenServer
from kiosk.testing.visitors import render

FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
PAINTED = """() => new MutationObserver(() => requestAnimationFrame(() => requestAnimationFrame(() =>
    window.painted(document.querySelector("h1").textContent)))).observe(
    document.querySelector("h1"), { childList: true, characterData: true, subtree: true })"""
RULES = load_rules(ROOT / "config" / "rules.toml")
FPS = 30


class Camera:
    """Thirty frames a second into the mirror's slot, from its own thread."""

    def __init__(self) -> None:
        self.frames = Newest[Frame]()
        self._ring = [render(None, n, width=1280, height=720, fps=FPS, noise_key=0) for n in range(8)]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(1 / FPS):
            self.frames.put(Frame(luma=self._ring[number % 8], number=number, captured_ns=number))
            number += 1

    def close(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()


@contextmanager
def mirrored(server: ScreenServer, camera: Camera, *, on: bool) -> Iterator[None]:
    """With the mirror, or without it."""
    stopping = threading.Event()
    thread = threading.Thread(target=reflect, args=(camera.frames, server, stopping))
    if on:
        thread.start()
    yield
    stopping.set()
    if on:
        thread.join()


def verdict(number: int) -> View:
    """Verdicts in turn, each with a headline of its own so that the browser has something new to paint."""
    reason, screen = [(Reason.NO_RISK, Screen.GRANTED), (Reason.AT_RISK_SYMPTOM, Screen.AT_RISK)][number % 2]
    return View(screen=screen, wording=RULES.reasons[reason].wording, direction=Direction.ENTRY, initials="N.V.A.")


def paint_times_ms(server: ScreenServer, page: Page, painted: "threading.Event", verdicts: int) -> list[float]:
    """From `show` to painted, each."""
    times = []
    for number in range(verdicts):
        painted.clear()
        began = time.perf_counter()
        server.show(verdict(number))
        while not painted.is_set():
            page.wait_for_timeout(1)  # lets playwright hand the page's call to us
        times.append(1000 * (time.perf_counter() - began))
        page.wait_for_timeout(100)
    return times


def cost_percent(server: ScreenServer, camera: Camera, page: Page, seconds: float, *, on: bool) -> float:
    """CPU of this whole process, in percent of a core."""
    with mirrored(server, camera, on=on):
        page.wait_for_timeout(1000)
        before, began = time.process_time(), time.perf_counter()
        time.sleep(seconds)
        return 100 * (time.process_time() - before) / (time.perf_counter() - began)


def encode_ms(times: int = 200) -> tuple[float, float]:
    """One picture of the mirror, and the rival's: thread time, medians."""
    frame = Frame(luma=render(None, 1, width=1280, height=720, fps=FPS, noise_key=0), number=0, captured_ns=0)

    def png() -> None:
        height = round(WIDTH * 720 / 1280)
        cv2.imencode(".png", cv2.resize(frame.luma, (WIDTH, height), interpolation=cv2.INTER_AREA))

    medians = []
    for once in (lambda: picture_of(frame), png):
        taken = []
        for _ in range(times):
            began = time.thread_time()
            once()
            taken.append(1000 * (time.thread_time() - began))
        medians.append(statistics.median(taken))
    return medians[0], medians[1]


def measure(verdicts: int, seconds: float) -> dict[str, float]:
    """All of it."""
    server, camera, painted = ScreenServer(port=0), Camera(), threading.Event()
    serving = threading.Thread(target=server.serve)
    serving.start()
    found: dict[str, float] = {}
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.expose_function("painted", lambda _text: painted.set())
            page.goto(server.address)
            server.show(verdict(1))
            page.wait_for_timeout(500)
            page.evaluate(PAINTED)
            times: dict[bool, list[float]] = {True: [], False: []}
            costs: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(3):
                for on in (False, True):
                    with mirrored(server, camera, on=on):
                        times[on] += paint_times_ms(server, page, painted, verdicts // 3)
                    costs[on].append(cost_percent(server, camera, page, seconds / 3, on=on))
            browser.close()
        for on, name in ((True, "with_mirror"), (False, "without")):
            found[f"paint_p50_ms_{name}"], found[f"paint_p95_ms_{name}"] = np.percentile(times[on], (50, 95)).tolist()
        found["mirror_percent_of_a_core"] = statistics.median(costs[True]) - statistics.median(costs[False])
        found["picture_ms"], found["picture_as_png_ms"] = encode_ms()
        found["pictures_a_second"] = 1 / EVERY_S
    finally:
        camera.close()
        server.close()
        serving.join()
    return {name: round(value, 2) for name, value in found.items()}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args()
    cv2.setNumThreads(1)
    found = measure(parsed.verdicts, parsed.seconds)
    if parsed.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:28} {value:8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
