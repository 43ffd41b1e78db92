"""Why a broker cannot be spoken to, found out with real sockets: nobody there, a web server, another authority."""

import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from city import certificates
from kiosk.broker import Broker
from kiosk.causes import NotMqtt, why
from kiosk.clock import SystemClock
from kiosk.connection import Connection, Ended
from tests.mosquitto import free_port

DAY = timedelta(days=1)
NOW = SystemClock().now().utc
SHORTLY_S = 0.5

Serve = Callable[[socket.socket], object]


class Server:
    """Takes connections on loopback, each for `serve`."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._line = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._line.getsockname()[1])
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._line.shutdown(socket.SHUT_RDWR)
        self._thread.join(10.0)
        self._line.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                visitor, _ = self._line.accept()
                with visitor, suppress(OSError):
                    self._serve(visitor)


@pytest.fixture
def serve() -> Iterator[Callable[[Serve], int]]:
    """Start a server; its port."""
    with ExitStack() as stack:

        def started(how: Serve) -> int:
            server = Server(how)
            stack.callback(server.close)
            return server.port

        yield started


def error_of(port: int, *, host: str = "127.0.0.1", ca_file: Path | None = None) -> Exception:
    """Connect as the uplink does, and give what came of it."""
    context = ssl.create_default_context(cafile=ca_file)
    try:
        with (
            socket.create_connection((host, port), timeout=SHORTLY_S) as line,
            context.wrap_socket(line, server_hostname=host) as safe,
        ):
            safe.recv(1)
    except (OSError, ValueError) as error:
        return error
    raise AssertionError("it has connected")


def with_certificate(folder: Path, name: str, *, began: timedelta) -> tuple[Serve, Path]:
    """A TLS server whose certificate is good for a day, and the authority's file."""
    city = certificates.new_authority("city", NOW - 9 * DAY, 99 * DAY)
    (folder / "ca.pem").write_bytes(certificates.certificate_pem(city.certificate))
    certificate, key = certificates.new_server(city, [name], NOW + began, DAY)
    (folder / "server.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    def serve(visitor: socket.socket) -> None:
        context.wrap_socket(visitor, server_side=True).close()

    return serve, folder / "ca.pem"


def test_a_closed_port_is_a_broker_that_is_down() -> None:
    """The machine answers that nobody listens."""
    assert why(error_of(free_port())) == "nothing listens there: the broker is down, or uplink.port is wrong"


def test_a_name_that_nobody_knows_is_the_name_server_s() -> None:
    """RFC 6761 keeps .invalid free of names."""
    said = why(error_of(8883, host="broker.invalid"))
    assert said.startswith("its name is not known (")
    assert said.endswith("): check uplink.host, the name server and the network")


def test_a_port_that_drops_what_is_sent_is_a_firewall() -> None:
    """A server whose queue is full answers no SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        address = full.getsockname()
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            with suppress(BlockingIOError):
                filler.connect(address)
        assert why(error_of(address[1])).startswith("no answer in time: a firewall drops what is sent")


def test_a_server_that_never_answers_a_handshake_is_overloaded(serve: Callable[[Serve], int]) -> None:
    """It took the connection and says nothing."""
    done = threading.Event()
    port = serve(lambda _: done.wait(10.0))
    try:
        assert why(error_of(port)).startswith("no answer in time: ")
    finally:
        done.set()


def test_a_web_server_in_the_broker_s_place_is_a_captive_network(serve: Callable[[Serve], int]) -> None:
    """It answers a TLS hello in plain HTTP."""

    def web(visitor: socket.socket) -> None:
        visitor.recv(4096)
        visitor.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        visitor.recv(4096)

    assert why(error_of(serve(web))).startswith(
        "it does not answer in TLS: something else answers in the broker's place: a captive network, or uplink.port"
    )


def test_who_says_something_and_hangs_up_a_moment_later_is_told_by_what_it_said() -> None:
    """The end of the line comes alone, after the words were read."""
    wake, waker = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as web, closing(wake), closing(waker):
        broker = Broker(host="127.0.0.1", port=int(web.getsockname()[1]), tls=False)
        connection = Connection(broker, "door-01", None, ("kiosk/v1/door-01/status", ""), wake)
        connection.open()
        with closing(web.accept()[0]) as visitor:
            visitor.recv(4096)
            visitor.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n")
            assert connection.turn(5.0)
        with pytest.raises(Ended, match="it answers in HTTP"):
            connection.turn(5.0)


def test_a_server_that_hangs_up_on_a_handshake_does_not_want_tls(serve: Callable[[Serve], int]) -> None:
    """As mosquitto does at a port without TLS."""
    assert why(error_of(serve(lambda visitor: visitor.recv(4096)))).startswith("it hung up at once: ")


def test_a_certificate_of_another_authority_is_a_captive_network_or_a_wrong_file(
    serve: Callable[[Serve], int], tmp_path: Path
) -> None:
    """A portal shows its own."""
    how, _ = with_certificate(tmp_path, "127.0.0.1", began=timedelta())
    (tmp_path / "other").mkdir()
    _, other = with_certificate(tmp_path / "other", "127.0.0.1", began=timedelta())
    assert why(error_of(serve(how), ca_file=other)) == (
        "its certificate is of an unknown authority: something else answers in the broker's place: a captive network,"
        " or uplink.ca_file is not the city's"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_for_another_host_is_one_too(serve: Callable[[Serve], int], tmp_path: Path, host: str) -> None:
    """Both for addresses and for names."""
    how, ca_file = with_certificate(tmp_path, "broker.example.vn", began=timedelta())
    assert why(error_of(serve(how), host=host, ca_file=ca_file)).startswith("its certificate is for another host: ")


def test_a_certificate_that_is_not_valid_yet_or_no_more_is_a_question_of_the_time(
    serve: Callable[[Serve], int], tmp_path: Path
) -> None:
    """A door without a battery for its clock starts in 1970, or when it was last switched off."""
    how, ca_file = with_certificate(tmp_path, "127.0.0.1", began=2 * DAY)
    early = why(error_of(serve(how), ca_file=ca_file))
    how, ca_file = with_certificate(tmp_path, "127.0.0.1", began=-5 * DAY)
    late = why(error_of(serve(how), ca_file=ca_file))
    assert early.startswith("its certificate is not valid yet by this door's clock, which is wrong: ")
    assert late.startswith("its certificate has expired, or this door's clock is ahead: ")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_a_broker_that_wants_another_certificate_of_ours_is_told_apart_from_a_broken_line(
    serve: Callable[[Serve], int], tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """TLS 1.2 says it in the handshake and not why; 1.3 after it."""
    _, ca_file = with_certificate(tmp_path, "127.0.0.1", began=timedelta())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.load_verify_locations(ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    port = serve(lambda visitor: context.wrap_socket(visitor, server_side=True).close())
    said = {
        ssl.TLSVersion.TLSv1_2: "it refuses this door's TLS (",
        ssl.TLSVersion.TLSv1_3: "it refuses this door's cert",
    }
    assert why(error_of(port, ca_file=ca_file)).startswith(said[version])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "there is no way there: this door has no network"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "there is no way there: this door has no network"),
        (ConnectionResetError(), "it hung up at once: a firewall, or a broker that does not want TLS at this port"),
        (NotMqtt(b"HTTP/1.1"), "it answers in HTTP: something else answers in the broker's place: a captive network"),
        (NotMqtt(b"\x00\x00"), "it does not answer in MQTT: uplink.port is not the broker's"),
        (OSError(errno.EMFILE, "Too many open files"), "OSError: [Errno 24] Too many open files"),
        (UnicodeError("label too long"), "UnicodeError: label too long"),
    ],
    ids=repr,
)
def test_what_cannot_be_had_on_every_machine_has_its_words_too(error: Exception, said: str) -> None:
    """Without a way, cut off, or nothing of all this."""
    assert why(error).startswith(said)
