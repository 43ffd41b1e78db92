"""What people see at the door: one page, served to this machine's own browser.

Decides how the newest view reaches the page (pushed, as Server-Sent Events) and who may ask for it: this machine only,
reading only. Refuses to know what a view means, when it changes, or what was shown before. The daemon builds it and
gives `serve` a thread; the core thread calls `show`, the mirror's thread `reflect`. Both are boards with the newest
thing on them; whoever is slow misses what was there in between.
"""

import base64
import errno
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from socketserver import ThreadingTCPServer
from typing import Any, NamedTuple

from kiosk.errors import StageFault
from kiosk.languages import Language
from kiosk.messages import View

LOOPBACK = "127.0.0.1"
KEEP_ALIVE_S = 10.0
MAX_CONNECTIONS = 8
SILENT_CLIENT_S = 5.0
"""How long a client may take to send its request, or to take what is sent to it."""
RETRY_MS = 1000

_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.IGNORECASE)
"""Any port: a technician may look through an SSH tunnel. Another name is DNS rebinding."""

_TOO_MANY = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
    # The browser comes back by itself, for nobody stands at a kiosk to press reload.
    b"Retry-After: 5\r\nRefresh: 5\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    b"Too many connections to the screen.\n"
)


class ScreenServer:
    """Serves the page and the newest view on the loopback address.

    Args:
        port: TCP port, 0 for any free one.
        languages: more of them than Vietnamese and English.
        keep_alive_s: seconds of silence after which a stream gets a comment line.

    Raises:
        StageFault: the port cannot be had.
    """

    def __init__(self, *, port: int, languages: Sequence[Language] = (), keep_alive_s: float = KEEP_ALIVE_S) -> None:
        self._languages = languages
        self._board = _Board()
        self._mirror = _Board()
        self._state = threading.Lock()
        self._serving = False
        self._closed = False
        try:
            self._server = _Server(port, self._board, self._mirror, keep_alive_s)
        except (OSError, OverflowError) as error:
            raise StageFault(_sentence(port, error)) from error
        self.port: int = self._server.server_address[1]
        self.address = f"http://{LOOPBACK}:{self.port}/"

    def show(self, view: View) -> None:
        """Put `view` on every connected page. Never waits for one of them."""
        said = view.wording
        more = [
            {"lang": language.code, "head": language.texts.get(said.en, ""), "do": language.texts.get(said.en_do, "")}
            for language in self._languages
        ]
        shown = {**asdict(view), "more": more} if more else asdict(view)
        self._board.post(json.dumps(shown, ensure_ascii=False, default=datetime.isoformat).encode())

    @property
    def is_watched(self) -> bool:
        """Whether any page wants the mirror's pictures."""
        return self._mirror.waiting > 0

    def reflect(self, jpeg: bytes) -> None:
        """Put this picture in the mirror of every connected page. Never waits for one of them."""
        self._mirror.post(base64.b64encode(jpeg))

    def serve(self, stamp: Callable[[], None] = lambda: None) -> None:
        """Run until `close`; `stamp` is called at least twice a second.

        Raises:
            RuntimeError: no thread can be had for a connection; a page that nobody can open is no page.
        """
        self._server.stamp = stamp
        with self._state:
            if self._closed:
                return
            self._serving = True
        self._server.serve_forever()

    def close(self) -> None:
        """Stop serving, end every stream and free the port. May be called twice, or before `serve`."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            serving = self._serving
        self._board.close()
        self._mirror.close()
        if serving:
            with suppress(OSError):  # wakes serve_forever on Linux, which else looks for its end twice a second
                self._server.socket.shutdown(socket.SHUT_RDWR)
            self._server.shutdown()
        self._server.server_close()


class _Posted(NamedTuple):
    number: int
    payload: bytes


class _Board:
    """The newest thing to show and how many came before it; older ones are gone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest = _Posted(0, b"")
        self._closed = False
        self.waiting = 0
        """Pages that want the next."""

    def post(self, payload: bytes) -> None:
        with self._changed:
            self._newest = _Posted(self._newest.number + 1, payload)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def newest(self) -> bytes:
        """Empty before the first view."""
        with self._changed:
            return self._newest.payload

    def after(self, number: int, timeout_s: float) -> _Posted | None:
        """Wait for a newer view than `number`; the same one back after `timeout_s`, None once closed."""
        with self._changed:
            self.waiting += 1
            self._changed.wait_for(lambda: self._closed or self._newest.number > number, timeout_s)
            self.waiting -= 1
            return None if self._closed else self._newest


class _Server(ThreadingTCPServer):
    """One thread a connection, at most MAX_CONNECTIONS of them.

    Not http.server's own class, because that one looks up the machine's name in the DNS before it starts.
    """

    allow_reuse_address = True  # a restarted daemon gets its port back at once
    allow_reuse_port = False
    daemon_threads = True
    request_queue_size = 2 * MAX_CONNECTIONS

    def __init__(self, port: int, board: _Board, mirror: _Board, keep_alive_s: float) -> None:
        self.board = board
        self.mirror = mirror
        self.keep_alive_s = keep_alive_s
        self.stamp: Callable[[], None] = lambda: None
        self._no_thread: RuntimeError | None = None
        self.page = files("kiosk").joinpath("screen.html").read_bytes()
        self.policy = _content_security_policy(self.page.decode())
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((LOOPBACK, port), _Connection)

    def service_actions(self) -> None:
        self.stamp()
        if self._no_thread:
            raise self._no_thread  # here it ends `serve_forever`; from `process_request` it would only be printed

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        if self._free.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except RuntimeError as error:  # "can't start new thread"
                self._free.release()
                self._no_thread = error
                raise
            return
        with suppress(OSError):
            request.send(_TOO_MANY, socket.MSG_DONTWAIT)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class _Connection(BaseHTTPRequestHandler):
    """Answers one request. HTTP/1.0: the connection ends with the answer."""

    server: _Server
    timeout = SILENT_CLIENT_S

    def handle(self) -> None:
        with suppress(OSError):  # the browser went away in the middle; it will ask again
            super().handle()

    def do_GET(self) -> None:
        if not _HOST.fullmatch(self.headers.get("Host", "")):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        elif path == "/view":
            view = self.server.board.newest()
            self._send(HTTPStatus.OK if view else HTTPStatus.NO_CONTENT, "application/json", view)
        elif path == "/events":
            self._stream(self.server.board)
        elif path == "/mirror":
            self._stream(self.server.mirror)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Plain text with the same headers as the rest, and nothing of the request in it."""
        del message, explain
        # http.server says 501 to a method it finds no function for; here every other method is known and not allowed.
        status = HTTPStatus(HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else code)
        self._send(status, "text/plain; charset=utf-8", f"{status} {status.phrase}\n".encode())

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self._send_head(status, content_type, length=len(body) or None)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: HTTPStatus, content_type: str, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()

    def _stream(self, board: _Board) -> None:
        """Server-Sent Events (HTML Standard, 9.2): the newest thing at once, then each newer one."""
        self._send_head(HTTPStatus.OK, "text/event-stream")
        if self.command == "HEAD":
            return
        self.wfile.write(f"retry: {RETRY_MS}\n\n".encode())
        seen = 0
        while posted := board.after(seen, self.server.keep_alive_s):
            fresh = posted.number > seen
            self.wfile.write(b"data: %b\n\n" % posted.payload if fresh else b": keep-alive\n\n")
            seen = posted.number

    def version_string(self) -> str:
        return "kiosk"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - http.server's signature
        """No access log: the daemon's own log has no room for every look at the page."""


def _content_security_policy(page: str) -> str:
    """Only the page's own inline style and script run, named by their hash; it fetches from nowhere but here."""
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for tag in ("style", "script")
        for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _sentence(port: int, error: OSError | OverflowError) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            f"screen.port {port} is taken by another program: choose another screen.port in kiosk.toml, "
            f"or stop the one that `ss -ltnp 'sport = :{port}'` names"
        )
    return f"screen.port {port} cannot be opened ({error}): choose a screen.port from 1024 to 65535 in kiosk.toml"
