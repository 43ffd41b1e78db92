"""The screen in the browser a kiosk runs, at the sizes of real panels."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from kiosk.config import load_rules
from kiosk.languages import Language
from kiosk.messages import AlertState, Direction, Frame, Hint, Screen, Tally, View, Wording
from kiosk.mirror import picture_of
from kiosk.screen import ScreenServer
from tests.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES = ((800, 480), (1280, 720), (720, 1280))
RULES = load_rules(Path(__file__).resolve().parents[2] / "config" / "rules.toml")
JOIN_S = 10
EIGHT_TWELVE = datetime(2021, 11, 22, 1, 12, tzinfo=UTC)
TODAY = Tally(presentations=3120, grants=3010, crowded=40, passages=2999, without_grant=12)
FIGURES = (
    "Hôm nay · Today: 3120 mã · codes, 3010 lượt mở · openings, 2999 lượt qua · passed, 12 không phép · without leave"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt install chromium)")

COLOURS = """() => {
    const shown = [...document.querySelectorAll("p, h1, span")].filter((element) => element.offsetParent);
    const of = (element, property) => getComputedStyle(element)[property].match(/[\\d.]+/g).map(Number);
    const ground = of(document.body, "backgroundColor");
    return shown.map((element) => [of(element, "color"), ground, Number(getComputedStyle(element).opacity)]);
}"""
"""Ink, ground and opacity of all text that shows; only the body has a background."""

OUT_OF_SIGHT = """() => {
    const [width, height] = [innerWidth, innerHeight], strip = document.querySelector("footer").getBoundingClientRect();
    const texts = [...document.querySelectorAll("p, h1, footer")].filter((element) => element.offsetParent);
    const marks = [...document.querySelectorAll(".mark svg")].filter((mark) => mark.getBoundingClientRect().width);
    const out = [...texts, ...marks].filter((element) => {
        const box = element.getBoundingClientRect(), floor = element.closest("footer") ? height : strip.top;
        const clipped = element.scrollWidth > element.clientWidth + 1 && !element.closest("svg, footer");
        return clipped || box.left < 0 || box.top < 0 || box.right > width + 0.5 || box.bottom > floor + 0.5;
    });
    const scrolls = document.documentElement.scrollHeight > height || document.documentElement.scrollWidth > width;
    const names = out.map((element) => element.id || element.className.baseVal || element.className || "footer");
    return marks.length === 1 ? [...names, ...(scrolls ? ["page"] : [])] : ["marks", marks.length];
}"""
"""Names what is not wholly on the screen, or under the strip; one icon must show."""


@contextmanager
def running(port: int = 0) -> Iterator[ScreenServer]:
    """Serve until the block ends."""
    server = ScreenServer(port=port)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(JOIN_S)


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    """Start one chromium for the whole file."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser.new_context()
        browser.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """Give a fresh page whose console must stay free of errors about the page itself."""
    page = context.new_page()
    refused: list[str] = []
    page.on("pageerror", lambda error: refused.append(str(error)))
    page.on("console", lambda line: refused.append(line.text) if "Content Security" in line.text else None)
    yield page
    page.close()
    assert refused == []


def view(screen: Screen, wording: Wording, **rest: Any) -> View:  # noqa: ANN401 - View's own fields
    """Make a view at an entry."""
    return View(screen=screen, wording=wording, direction=Direction.ENTRY, **rest)


def shipped_views() -> list[View]:
    """Every wording the shipped rules can show, on the screens that can show it, with a full strip."""
    verdicts = [
        view(Screen.AT_RISK if rule.alarm else Screen(rule.decision.value), rule.wording, initials="N.V.A.", waiting=99)
        for rule in RULES.reasons.values()
    ]
    fault = "camera: no frame for 5 s; check that the ribbon cable sits straight in its connector, then restart"
    return [
        *verdicts,
        *(view(screen, wording, fault=fault, waiting=1234, today=TODAY) for screen, wording in RULES.screens.items()),
        *(view(Screen.READING, wording, hint=hint, waiting=1234) for hint, wording in RULES.hints.items()),
    ]


def contrast(ink: list[float], ground: list[float]) -> float:
    """Give the contrast ratio of two colours (WCAG 2.1, relative luminance)."""

    def luminance(colour: list[float]) -> float:
        parts = [value / 255 for value in colour[:3]]
        red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(ink), luminance(ground)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_shipped_wording_is_wholly_on_the_screen(page: Page, size: tuple[int, int]) -> None:
    """Headline, what to do, icon and strip of every reason fit the panel without scrolling."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    with running() as server:
        page.goto(server.address)
        views = shipped_views()
        assert {shown.screen for shown in views} == set(Screen)
        for shown in views:
            server.show(shown)
            expect(page.locator("h1")).to_have_text(shown.wording.vi)
            expect(page.locator("body")).to_have_attribute("data-screen", shown.screen)
            expect(page.locator("#vi_do")).to_have_text(shown.wording.vi_do)
            assert (shown.wording.vi, page.evaluate(OUT_OF_SIGHT)) == (shown.wording.vi, [])


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_long_wording_shrinks_and_short_wording_grows_back(page: Page, size: tuple[int, int]) -> None:
    """A site's own long wording still fits; the next short one has its full size again."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    long = Wording(vi="Vui lòng chờ nhân viên " * 5, en="Please wait for staff " * 5, vi_do="x" * 90, en_do="y " * 60)
    heights = []
    with running() as server:
        page.goto(server.address)
        for wording in (Wording(vi="Mời vào", en="Come in"), long, Wording(vi="Mời vào", en="Come in")):
            server.show(view(Screen.GRANTED, wording))
            expect(page.locator("h1")).to_have_text(wording.vi)
            expect(page.locator("#en_do")).to_have_text(wording.en_do)
            assert page.evaluate(OUT_OF_SIGHT) == []
            heights.append(page.evaluate("parseFloat(getComputedStyle(document.querySelector('h1')).fontSize)"))
    assert heights[1] < heights[0] == heights[2]


def test_all_text_has_a_contrast_of_seven_to_one(page: Page) -> None:
    """On every screen, the page's own two included, text stands out at least 7:1 (WCAG 2.1, 1.4.6)."""
    found = {}
    with running() as server:
        page.goto(server.address)
        expect(page.locator("body")).to_have_attribute("data-screen", "starting")
        found["starting"] = page.evaluate(COLOURS)
        for shown in shipped_views():
            server.show(shown)
            expect(page.locator("body")).to_have_attribute("data-screen", shown.screen)
            found[shown.screen] = page.evaluate(COLOURS)
    expect(page.locator("body")).to_have_attribute("data-screen", "lost")
    found["lost"] = page.evaluate(COLOURS)
    assert set(found) == {*Screen, "starting", "lost"}
    assert [
        (screen, ink, ground)
        for screen, texts in found.items()
        for ink, ground, opacity in texts
        if opacity < 1 or contrast(ink, ground) < 7
    ] == []


def test_advice_stands_in_the_frame_to_aim_at_with_a_drawing_of_its_own(page: Page) -> None:
    """Each hint has one drawing, none without a hint, on the ground of the idle screen, and nothing is animated."""
    drawn: dict[Hint | None, list[str]] = {}
    grounds = set()
    with running() as server:
        page.goto(server.address)
        for hint in (*Hint, None):
            screen = Screen.READING if hint else Screen.ATTRACT
            server.show(view(screen, Wording(vi=f"Lời {hint}", en="Word"), hint=hint))
            expect(page.locator("h1")).to_have_text(f"Lời {hint}")
            shown = page.locator('.mark g[class^="hint-"]').evaluate_all(
                "all => all.filter((one) => one.getBoundingClientRect().width).map((one) => one.className.baseVal)"
            )
            drawn[hint] = [*shown]
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            corners = page.locator(".mark svg:visible > path").first.get_attribute("d") or ""
            assert corners.startswith("M4 26V13")
        assert page.evaluate("document.getAnimations().length") == 0
    assert drawn.pop(None) == []
    assert drawn == {hint: [f"hint-{hint}"] for hint in Hint}
    assert len(grounds) == 1


def test_markup_in_a_wording_is_shown_as_text(page: Page) -> None:
    """A script in any text is read out as it stands, and never runs."""
    evil = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
    with running() as server:
        page.goto(server.address)
        title = page.title()
        server.show(
            view(Screen.HELD, Wording(vi=evil, en=evil, vi_do=evil, en_do=evil), initials=evil, fault=evil, waiting=1)
        )
        expect(page.locator("h1")).to_have_text(evil)
        shown = [
            page.locator(f"#{name}").text_content() for name in ("en", "vi_do", "en_do", "initials-text", "fault-text")
        ]
        assert (shown, page.title(), page.locator("img:not(#mirror)").count()) == ([evil] * 5, title, 0)


def test_initials_show_with_a_verdict_only(page: Page) -> None:
    """Initials that come with a screen for nobody in particular are not shown."""
    seen = {}
    with running() as server:
        page.goto(server.address)
        for screen in Screen:
            server.show(view(screen, Wording(vi="Lời", en="Word"), initials="N.V.A."))
            expect(page.locator("body")).to_have_attribute("data-screen", screen)
            seen[screen] = page.locator("#initials").is_visible()
    verdicts = {Screen.GRANTED, Screen.HELD, Screen.AT_RISK, Screen.DENIED}
    assert seen == {screen: screen in verdicts for screen in Screen}


def test_strip_tells_the_guard_direction_link_backlog_and_fault(page: Page) -> None:
    """The strip says which way, whether online, how many events wait, what is broken, and the day's figures."""
    said = []
    wording = Wording(vi="Lời", en="Word")
    views = (
        View(screen=Screen.ATTRACT, wording=wording, direction=Direction.ENTRY, online=True),
        View(screen=Screen.ATTRACT, wording=wording, direction=Direction.EXIT, waiting=7, fault="camera: no frame"),
        View(screen=Screen.ATTRACT, wording=wording, direction=Direction.ENTRY, online=True, today=TODAY),
        View(
            screen=Screen.AT_RISK,
            wording=wording,
            direction=Direction.ENTRY,
            link_since=EIGHT_TWELVE,
            alert=AlertState.DELIVERED,
            city_age_s=8000,
            muted=True,
        ),
    )
    with running() as server:
        page.goto(server.address)
        for shown in views:
            server.show(shown)
            expect(page.locator("body")).to_have_attribute("data-online", str(shown.online).lower())
            expect(page.locator("body")).to_have_attribute("data-screen", shown.screen)
            expect(page.locator("#direction-text")).not_to_be_empty()
            said.append([text.strip() for text in page.locator("footer p:visible").all_inner_texts()])
    assert said == [
        ["Cửa vào · Entry", "Trực tuyến · Online"],
        ["Cửa ra · Exit", "Mất mạng · Offline — 7 sự kiện chờ gửi · 7 waiting", "camera: no frame"],
        ["Cửa vào · Entry", "Trực tuyến · Online", FIGURES],
        [
            "Cửa vào · Entry",
            "Mất mạng từ 08:12 · Offline since 08:12",
            "Báo động: đã gửi, chờ cơ quan y tế · Alert: delivered, not yet seen",
            "Dữ liệu nguy cơ cách đây 2 giờ · Risk data 2 h old",
            "Tắt tiếng · Muted",
        ],
    ]


def test_visitors_see_themselves_in_the_frame_to_aim_at(page: Page) -> None:
    """The newest picture stands there, turned as in a mirror; behind a verdict there is none, and none when it ends."""
    wording = Wording(vi="Lời", en="Word")
    picture = picture_of(Frame(luma=np.full((720, 1280), 90, dtype=np.uint8), number=0, captured_ns=0))
    mirror = page.locator("#mirror")
    with running() as server:
        page.goto(server.address)
        server.show(view(Screen.ATTRACT, wording))
        until(lambda: server.is_watched)
        assert mirror.is_visible() is False
        server.reflect(picture)
        expect(mirror).to_be_visible()
        size = mirror.evaluate("image => [image.naturalWidth, image.naturalHeight]")
        turned = mirror.evaluate("image => getComputedStyle(image).transform")
        server.show(view(Screen.GRANTED, wording))
        expect(mirror).not_to_be_visible()
    assert (size, turned) == ([320, 180], "matrix(-1, 0, 0, 1, 0, 0)")
    expect(page.locator("h1")).to_have_text("Mất kết nối với thiết bị")
    expect(mirror).not_to_be_visible()


def test_more_languages_stand_below_english(page: Page) -> None:
    """Each marked as what it is; what a file does not have is left out."""
    korean = Language(code="ko", texts={"Please come in": "들어오세요"})
    server = ScreenServer(port=0, languages=(korean,))
    serving = threading.Thread(target=server.serve)
    serving.start()
    page.goto(server.address)
    server.show(view(Screen.GRANTED, Wording(vi="Mời vào", en="Please come in", vi_do="Cảm ơn", en_do="Thank you")))
    expect(page.locator('section [lang="ko"]:visible')).to_have_text(["들어오세요"])
    assert page.evaluate(OUT_OF_SIGHT) == []
    server.close()
    serving.join(JOIN_S)


@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_no_barrier_on_any_screen(page: Page, size: tuple[int, int]) -> None:
    """Every state, with all of the strip, passes axe-core's rules (WCAG 2 A and AA, best practices)."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    found = {}
    with running() as server:
        page.goto(server.address)
        for screen in Screen:
            wording = RULES.screens.get(screen, Wording(vi="Mời vào", en="Please come in", vi_do="Lời", en_do="Word"))
            server.show(view(screen, wording, initials="N.V.A.", waiting=3, alert=AlertState.RAISED, today=TODAY))
            expect(page.locator("body")).to_have_attribute("data-screen", screen)
            found[screen] = [violation["id"] for violation in Axe().run(page).response["violations"]]
    assert found == {screen: [] for screen in Screen}


def test_verdict_is_announced_to_a_screen_reader(page: Page) -> None:
    """The words are one assertive live region in Vietnamese, the English ones marked as such."""
    with running() as server:
        page.goto(server.address)
        server.show(view(Screen.GRANTED, Wording(vi="Mời vào", en="Please come in")))
        expect(page.locator('html[lang="vi"] section[aria-live="assertive"][aria-atomic="true"] h1')).to_have_text(
            "Mời vào"
        )
        expect(page.locator('section [lang="en"]').first).to_have_text("Please come in")


def test_page_says_when_the_daemon_is_gone_and_recovers_by_itself(page: Page) -> None:
    """A page whose daemon ends says so, forgets the verdict, and shows the next daemon's view untouched."""
    with running() as first:
        page.goto(first.address)
        first.show(view(Screen.GRANTED, Wording(vi="Mời vào", en="Please come in"), initials="N.V.A.", online=True))
        expect(page.locator("h1")).to_have_text("Mời vào")
    expect(page.locator("h1")).to_have_text("Mất kết nối với thiết bị")
    expect(page.locator("#en")).to_have_text("Screen lost its daemon")
    assert (page.locator("footer p:visible").count(), page.locator("#initials").is_visible()) == (0, False)
    assert page.evaluate(OUT_OF_SIGHT) == []
    with running(first.port) as second:
        expect(page.locator("h1")).to_have_text("Đang khởi động")
        second.show(view(Screen.ATTRACT, Wording(vi="Đưa mã QR vào khung", en="Show your QR code here")))
        expect(page.locator("h1")).to_have_text("Đưa mã QR vào khung")


def test_page_comes_back_after_being_turned_away(page: Page) -> None:
    """A page that got 503 instead of its stream asks again, though EventSource alone would give up."""
    attempts: list[int] = []

    def turn_the_first_away(route: Any) -> None:  # noqa: ANN401 - playwright's Route
        attempts.append(1)
        route.fulfill(status=503) if len(attempts) == 1 else route.continue_()

    with running() as server:
        server.show(view(Screen.ATTRACT, Wording(vi="Đưa mã QR vào khung", en="Show your QR code here")))
        page.route("**/events", turn_the_first_away)
        page.goto(server.address)
        expect(page.locator("h1")).to_have_text("Đưa mã QR vào khung")
    assert len(attempts) >= 2
