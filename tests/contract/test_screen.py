"""The screen's server over real sockets: what it serves, to whom, and how soon a new view is there."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest

from kiosk.errors import StageFault
from kiosk.messages import Direction, Hint, Screen, View, Wording
from kiosk.screen import LOOPBACK, MAX_CONNECTIONS, ScreenServer
from tests.waiting import until

WAIT_S = 10
ATTRACT = View(
    screen=Screen.ATTRACT,
    wording=Wording(vi="Đưa mã QR vào khung", en="Show your QR code here"),
    direction=Direction.ENTRY,
)
GRANTED = View(
    screen=Screen.GRANTED,
    wording=Wording(vi="Mời vào", en="Please come in", vi_do="Cảm ơn", en_do="Thank you"),
    direction=Direction.ENTRY,
    initials="N.V.A.",
    online=True,
    waiting=3,
    fault="uplink: no broker",
)
READING = View(
    screen=Screen.READING,
    wording=Wording(vi="Xin đưa mã lại gần hơn", en="A little closer, please"),
    direction=Direction.EXIT,
    hint=Hint.CLOSER,
)


@contextmanager
def running(*, port: int = 0, keep_alive_s: float = 60) -> Iterator[ScreenServer]:
    """Serve until the block ends, then make sure that `serve` has returned."""
    server = ScreenServer(port=port, keep_alive_s=keep_alive_s)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(WAIT_S)
        assert not thread.is_alive()


@pytest.fixture
def server() -> Iterator[ScreenServer]:
    """Give one running server on a free port."""
    with running() as server:
        yield server


def ask(
    server: ScreenServer, path: str, *, method: str = "GET", host: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Send one request; give status, headers and body."""
    with closing(http.client.HTTPConnection(LOOPBACK, server.port, timeout=WAIT_S)) as connection:
        connection.request(method, path, headers={"Host": host or f"{LOOPBACK}:{server.port}"})
        with connection.getresponse() as response:
            return response.status, dict(response.getheaders()), response.read()


@contextmanager
def stream(server: ScreenServer, path: str = "/events") -> Iterator[http.client.HTTPResponse]:
    """Open a stream and read past the line that says how soon to come back."""
    with closing(http.client.HTTPConnection(LOOPBACK, server.port, timeout=WAIT_S)) as connection:
        connection.request("GET", path)
        with connection.getresponse() as response:
            assert response.getheader("Content-Type") == "text/event-stream"
            assert response.readline() + response.readline() == b"retry: 1000\n\n"
            yield response


def next_view(events: http.client.HTTPResponse) -> object:
    """Read one event, which must be a view."""
    field, _, text = events.readline().partition(b": ")
    assert (field, events.readline()) == (b"data", b"\n")
    return json.loads(text)


def test_page_is_one_file_that_no_cache_keeps_and_no_foreign_code_enters(server: ScreenServer) -> None:
    """The page is HTML, never cached, and its policy allows only its own hashed style and script."""
    status, headers, body = ask(server, "/")
    policy = headers.pop("Content-Security-Policy")
    del headers["Date"]
    assert status == http.client.OK
    assert headers == {
        "Server": "kiosk",
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert b'<html lang="vi">' in body
    assert b"://" not in body


def test_page_never_turns_data_into_markup(server: ScreenServer) -> None:
    """The page knows no way to make markup out of a string."""
    _, _, page = ask(server, "/")
    assert [way for way in (b"innerHTML", b"outerHTML", b"insertAdjacent", b"document.write") if way in page] == []


def test_view_is_the_newest_view_as_json(server: ScreenServer) -> None:
    """/view gives the newest view, field by field."""
    server.show(ATTRACT)
    server.show(GRANTED)
    status, headers, body = ask(server, "/view")
    assert (status, headers["Content-Type"], json.loads(body)) == (200, "application/json", asdict(GRANTED))


def test_view_names_its_hint(server: ScreenServer) -> None:
    """A page knows by `hint` what to draw beside the words; without advice it is null."""
    hints = []
    for view in (ATTRACT, READING):
        server.show(view)
        hints.append(json.loads(ask(server, "/view")[2])["hint"])
    assert hints == [None, "closer"]


def test_times_in_a_view_are_iso_8601(server: ScreenServer) -> None:
    """The page formats them for people."""
    server.show(replace(ATTRACT, link_since=datetime(2021, 11, 22, 1, 12, tzinfo=UTC)))
    assert json.loads(ask(server, "/view")[2])["link_since"] == "2021-11-22T01:12:00+00:00"


def test_the_mirror_streams_each_new_picture_to_pages_that_want_it(server: ScreenServer) -> None:
    """Events of their own, in base64; nobody is waited for, and somebody is known to be there."""
    before = server.is_watched
    with stream(server, "/mirror") as pictures:
        until(lambda: server.is_watched)
        came = []
        for picture in (b"first", b"second"):
            server.reflect(picture)
            came.append(pictures.readline() + pictures.readline())
    assert (before, came) == (False, [b"data: Zmlyc3Q=\n\n", b"data: c2Vjb25k\n\n"])


def test_a_page_that_left_the_mirror_frees_its_place() -> None:
    """Even while there are no pictures to send it."""
    with running(keep_alive_s=0.05) as server:
        with stream(server, "/mirror"):
            until(lambda: server.is_watched)
        until(lambda: not server.is_watched)


def test_view_is_empty_before_the_first_one(server: ScreenServer) -> None:
    """Before anything was shown, /view says so with 204 and no body."""
    status, headers, body = ask(server, "/view")
    assert (status, headers.get("Content-Length"), body) == (204, None, b"")


def test_view_shown_before_any_connection_is_there_at_once(server: ScreenServer) -> None:
    """A page that connects later gets the view that stands."""
    server.show(ATTRACT)
    with stream(server) as events:
        assert next_view(events) == asdict(ATTRACT)


def test_new_view_is_pushed_to_every_page(server: ScreenServer) -> None:
    """Both of two connected pages get each new view without asking."""
    server.show(ATTRACT)
    with stream(server) as one, stream(server) as two:
        first = next_view(one), next_view(two)
        server.show(GRANTED)
        assert (first, (next_view(one), next_view(two))) == ((asdict(ATTRACT),) * 2, (asdict(GRANTED),) * 2)


def test_page_that_connects_before_the_first_view_gets_it_when_it_comes(server: ScreenServer) -> None:
    """A stream opened before the first show() is silent, then has that view."""
    with stream(server) as events:
        server.show(GRANTED)
        assert next_view(events) == asdict(GRANTED)


def test_newest_view_wins_over_those_a_slow_page_missed() -> None:
    """A page that connects after many views gets the last one only."""
    with running(keep_alive_s=0.05) as server:
        for waiting in range(500):
            server.show(View(**{**asdict(ATTRACT), "wording": ATTRACT.wording, "waiting": waiting}))
        with stream(server) as events:
            assert next_view(events) == {**asdict(ATTRACT), "waiting": 499}
            assert events.readline() + events.readline() == b": keep-alive\n\n"


def test_silent_stream_is_kept_alive_with_comments() -> None:
    """Without a new view, a stream gets comment lines, which EventSource does not hand to the page."""
    with running(keep_alive_s=0.01) as server, stream(server) as events:
        assert [events.readline() for _ in range(4)] == [b": keep-alive\n", b"\n"] * 2


def test_view_of_awkward_text_stays_one_event(server: ScreenServer) -> None:
    """Line ends in a wording do not break the stream apart."""
    awkward = View(
        screen=Screen.HELD,
        wording=Wording(vi="một\nhai\r\n\ndata: ba\u2028", en='<script>"\\'),
        direction=Direction.EXIT,
    )
    server.show(awkward)
    with stream(server) as events:
        assert next_view(events) == asdict(awkward)


def test_end_of_the_daemon_ends_every_stream() -> None:
    """close() ends open streams, so that the page learns of it at once."""
    with running() as server, stream(server) as events:
        server.close()
        assert events.read() == b""


@pytest.mark.parametrize("path", ["/favicon.ico", "/../kiosk.toml", "/view/", "/events/../view", "http://elsewhere/"])
def test_nothing_else_is_served(server: ScreenServer, path: str) -> None:
    """Any other path is 404, and the answer holds nothing of the request."""
    status, headers, body = ask(server, path)
    assert (status, headers["X-Content-Type-Options"], body) == (404, "nosniff", b"404 Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/", "/view", "/events"])
def test_screen_can_only_be_read(server: ScreenServer, method: str, path: str) -> None:
    """Every method but GET and HEAD is 405, and the answer names those two."""
    status, headers, _ = ask(server, path, method=method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/view", "/events", "/nowhere"])
def test_head_is_get_without_a_body(server: ScreenServer, path: str) -> None:
    """HEAD answers with the status of GET, no body, and does not hold a stream open."""
    server.show(ATTRACT)
    status, _, body = ask(server, path, method="HEAD")
    assert (status, body) == (404 if path == "/nowhere" else 200, b"")


@pytest.mark.parametrize("host", ["kiosk.example", "127.0.0.1.example:8080", "localhost.example", "10.0.0.7", "[::1]"])
@pytest.mark.parametrize("path", ["/", "/view", "/events"])
def test_foreign_host_name_is_turned_away(server: ScreenServer, host: str, path: str) -> None:
    """A page of another site that rebinds its name to loopback reads nothing."""
    server.show(GRANTED)
    status, _, body = ask(server, path, host=host)
    assert (status, body) == (421, b"421 Misdirected Request\n")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1", "127.0.0.1:9000"])
def test_loopback_by_any_port_is_served(server: ScreenServer, host: str) -> None:
    """A technician's SSH tunnel may use another port."""
    status, _, _ = ask(server, "/", host=host)
    assert status == http.client.OK


@pytest.mark.parametrize("request_text", [b"GET /view\r\n\r\n", b"GET /view HTTP/1.0\r\n\r\n"])
def test_request_without_a_host_is_turned_away(server: ScreenServer, request_text: bytes) -> None:
    """No Host header is no proof of being local."""
    server.show(GRANTED)
    with socket.create_connection((LOOPBACK, server.port), WAIT_S) as client, client.makefile("rb") as answer:
        client.sendall(request_text)
        assert answer.read().endswith(b"421 Misdirected Request\n")


def test_garbage_is_answered_and_does_no_harm(server: ScreenServer, capfd: pytest.CaptureFixture[str]) -> None:
    """Bytes that are no request get 400, nothing is logged, and the next request is served."""
    with socket.create_connection((LOOPBACK, server.port), WAIT_S) as client, client.makefile("rb") as answer:
        client.sendall(b"\x16\x03\x01 garbage / \x00 /\r\n\r\n")
        assert answer.read().endswith(b"400 Bad Request\n")
    status, _, _ = ask(server, "/")
    assert (status, capfd.readouterr()) == (200, ("", ""))


def test_ninth_connection_is_told_to_come_back(server: ScreenServer) -> None:
    """Eight connections are served; one more gets 503, comes back by itself, and harms none of the eight."""
    server.show(ATTRACT)
    with ExitStack() as stack:
        events = [stack.enter_context(stream(server)) for _ in range(MAX_CONNECTIONS)]
        with socket.create_connection((LOOPBACK, server.port), WAIT_S) as client, client.makefile("rb") as answer:
            head = answer.read().partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert (head[0], b"Refresh: 5" in head) == (b"HTTP/1.0 503 Service Unavailable", True)
        assert [next_view(one) for one in events] == [asdict(ATTRACT)] * MAX_CONNECTIONS


def test_page_that_went_away_frees_its_place() -> None:
    """Streams whose reader left are noticed by their keep-alive, without a word in the log."""
    with running(keep_alive_s=0.01) as server:
        for _ in range(MAX_CONNECTIONS):
            with stream(server) as events:
                events.readline()
        asked = (ask(server, "/view")[0] for _ in range(5000))
        assert http.client.NO_CONTENT in asked


def test_a_server_without_threads_for_its_pages_ends_with_that_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that nobody can open is no page: the daemon then starts anew."""
    server, ended = ScreenServer(port=0), list[BaseException]()

    def serve() -> None:
        try:
            server.serve()
        except RuntimeError as error:
            ended.append(error)

    serving = threading.Thread(target=serve)
    serving.start()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)  # what the interpreter does where memory is short
    with suppress(http.client.HTTPException, OSError):
        ask(server, "/")
    monkeypatch.undo()
    serving.join(WAIT_S)
    server.close()
    assert [str(error) for error in ended] == ["can't start new thread"]


def test_the_server_stamps_its_progress() -> None:
    """Each half second, with or without pages: a page that hangs is a stage that hangs."""
    server, stamped = ScreenServer(port=0), threading.Event()
    serving = threading.Thread(target=server.serve, args=(stamped.set,))
    serving.start()
    assert stamped.wait(WAIT_S)
    server.close()
    serving.join(WAIT_S)


def test_only_loopback_listens(server: ScreenServer) -> None:
    """The address is loopback, and so another address of this machine has nobody at that port."""
    assert server.address == f"http://127.0.0.1:{server.port}/"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", server.port), WAIT_S):
        pass


def test_taken_port_is_named_with_its_key(server: ScreenServer) -> None:
    """A second screen on the same port is refused in one sentence that says what to change."""
    with pytest.raises(StageFault) as fault:
        ScreenServer(port=server.port)
    assert str(fault.value) == (
        f"screen.port {server.port} is taken by another program: choose another screen.port in kiosk.toml, "
        f"or stop the one that `ss -ltnp 'sport = :{server.port}'` names"
    )


def test_impossible_port_is_named_with_its_key() -> None:
    """A port beyond TCP's range is refused, naming the key."""
    with pytest.raises(StageFault, match=r"^screen\.port 70000 cannot be opened .* from 1024 to 65535 in kiosk\.toml$"):
        ScreenServer(port=70_000)


def test_port_is_free_again_at_once() -> None:
    """A restarted daemon gets its port back while an old page is still connected."""
    with running() as first, stream(first):
        first.close()
        with running(port=first.port) as second:
            second.show(ATTRACT)
            assert ask(second, "/view")[0] == http.client.OK


def test_close_may_come_twice_and_before_serve() -> None:
    """close() before serve() makes serve() return at once; a second close() does nothing."""
    server = ScreenServer(port=0)
    server.close()
    server.close()
    server.serve()
    with pytest.raises(ConnectionRefusedError), socket.create_connection((LOOPBACK, server.port), WAIT_S):
        pass
