"""`kiosk doctor` and the city's broker: real sockets, a real mosquitto with certificates, a real ingest."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from city import certificates
from city.ingest import Ingest
from city.store import Store
from kiosk.broker import Broker
from kiosk.clock import SystemClock
from kiosk.doctor import link_checks, trust_checks
from kiosk.doctor.finding import Mark
from kiosk.messages import Fault
from kiosk.outbox import Outbox
from kiosk.wire import Origin
from tests.doctor import DAY, DEVICE, CityBroker, Impostor, case, site, told
from tests.mosquitto import PROGRAM, Mosquitto, free_port

NOT_TRIED = "unknown: not tried: {} comes first"


@pytest.fixture
def city(tmp_path: Path) -> Iterator[CityBroker]:
    """A broker that wants certificates."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    broker = CityBroker(tmp_path)
    yield broker
    broker.mosquitto.stop()


def test_a_broker_that_is_down_is_said_and_nothing_else_is_tried(tmp_path: Path) -> None:
    """Its name is known, nothing listens, and the rest waits for that."""
    port = free_port()
    found = link_checks.link(case(site(tmp_path, f"port = {port}\ntls = false\n")))
    rest = dict.fromkeys(link_checks.NAMES[2:], NOT_TRIED.format("broker line"))
    expected = {"broker name": "ok: 127.0.0.1 is 127.0.0.1", "broker line": "bad: nothing listens there", **rest}
    assert told(found) == expected
    assert found[1].fix == "the broker is down, or uplink.port is wrong"


def test_a_name_that_nobody_knows_is_said(tmp_path: Path) -> None:
    """`.invalid` is no top-level domain (RFC 6761)."""
    config = site(tmp_path)
    config.write_text(
        config.read_text().replace('host = "127.0.0.1"', 'host = "broker.invalid"').replace("tls = false", "")
    )
    found = link_checks.link(case(config))
    assert (found[0].mark, found[0].fix) == (Mark.BAD, "check uplink.host, the name server and the network")
    assert [finding.mark for finding in found[1:]] == [Mark.UNKNOWN] * 5


def test_a_door_that_the_city_knows_is_green_step_by_step(city: CityBroker, tmp_path: Path) -> None:
    """Name, line, TLS with its end, log-in and publishing; nothing was stored yet that the city could acknowledge."""
    city.mosquitto.start()
    found = link_checks.link(case(site(tmp_path, city.uplink())))
    ends = SystemClock().now().utc + 390 * DAY
    assert told(found) == {
        "broker name": "ok: 127.0.0.1 is 127.0.0.1",
        "broker line": f"ok: 127.0.0.1:{city.mosquitto.port} takes connections",
        "broker tls": f"ok: TLSv1.3, the broker's certificate is valid until {ends:%Y-%m-%d}",
        "log-in": f"ok: accepted as {DEVICE}",
        "publish": "ok: a heartbeat was taken",
        "city": "bad: nobody at the city listens to this door",
    }


def test_the_city_acknowledges_an_event_that_is_sent_once_more_and_keeps_one(city: CityBroker, tmp_path: Path) -> None:
    """The event of the outbox goes again through the real ingest; its database has it once."""
    city.mosquitto.start()
    config, path = site(tmp_path, city.uplink()), tmp_path / "outbox.sqlite3"
    outbox = Outbox(path, Origin(device=DEVICE, place="p", access_point="a"), on_health=print, on_change=lambda: None)
    outbox.append([Fault(at=SystemClock().now().utc, utc_trusted=True, stage="camera", recovered=True, detail="")])
    outbox.close()
    outbox.write(lambda: None)
    certificate, key = certificates.new_user(city.authority, "city-ingest", SystemClock().now().utc, DAY)
    (tmp_path / "ingest.pem").write_bytes(certificate)
    (tmp_path / "ingest.key").write_bytes(key)
    with ExitStack() as stack:
        store = stack.enter_context(closing(Store(f"sqlite:///{tmp_path}/city.sqlite3")))
        ready, stopping = threading.Event(), threading.Event()
        broker = Broker(
            host="127.0.0.1",
            port=city.mosquitto.port,
            tls=True,
            ca_file=str(tmp_path / "ca.pem"),
            certificate_file=str(tmp_path / "ingest.pem"),
            key_file=str(tmp_path / "ingest.key"),
        )
        ingest = Ingest(broker, store, SystemClock(), on_ready=ready.set, on_stored=None, on_trouble=print)
        thread = threading.Thread(target=ingest.run, args=(stopping.wait,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(stopping.set)
        assert ready.wait(10.0)
        for _ in range(2):
            assert told(link_checks.link(case(config)))["city"] == "ok: acknowledges event 1, sent once more"
        assert len(list(store.events(DEVICE))) == 1


def test_an_expired_certificate_of_the_broker_is_named(tmp_path: Path) -> None:
    """By the step at which it is met, with what to check."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    city = CityBroker(tmp_path, days=5)
    city.mosquitto.start()
    try:
        found = link_checks.link(case(site(tmp_path, city.uplink())))
    finally:
        city.mosquitto.stop()
    assert told(found)["broker tls"] == "bad: its certificate has expired, or this door's clock is ahead"
    assert found[2].fix == "check the time, then the broker's certificate"


@pytest.mark.parametrize(
    ("device", "days", "mark", "said"),
    [
        (DEVICE, 400, Mark.OK, "door.pem is valid until {ends}"),
        (DEVICE, 20, Mark.WARN, "door.pem is valid until {ends}: 9 days"),
        (DEVICE, 5, Mark.BAD, "door.pem has expired on {ends}"),
        ("door-02", 400, Mark.BAD, "door.pem is for another device, this one is door-01"),
    ],
)
def test_the_door_s_own_certificate_is_judged_by_its_end_and_its_name(
    tmp_path: Path, device: str, days: int, mark: Mark, said: str
) -> None:
    """Without a connection; two weeks before its end it is told of."""
    city = CityBroker(tmp_path)
    own, authority = trust_checks.certificates(case(site(tmp_path, city.uplink(device, days))))
    ends = SystemClock().now().utc + (days - 10) * DAY
    assert (own.mark, own.said) == (mark, said.format(ends=f"{ends:%Y-%m-%d}"))
    assert authority.mark is Mark.OK


def test_a_key_that_others_can_read_is_told(tmp_path: Path) -> None:
    """And how to mend that."""
    city = CityBroker(tmp_path)
    config = site(tmp_path, city.uplink())
    key = tmp_path / "door.key"
    key.chmod(0o644)
    own, _ = trust_checks.certificates(case(config))
    assert (own.mark, own.fix) == (Mark.WARN, f"chmod 0600 {key}")


def test_a_certificate_that_the_broker_refuses_fails_at_the_log_in(city: CityBroker, tmp_path: Path) -> None:
    """TLS 1.3 says so after the handshake; the finding is the log-in's."""
    city.mosquitto.start()
    config = site(tmp_path, city.uplink())
    stranger = certificates.new_authority("another", SystemClock().now().utc - 10 * DAY, 100 * DAY)
    pair = certificates.new_device(stranger, DEVICE, SystemClock().now().utc - DAY, 50 * DAY)
    (tmp_path / "door.pem").write_bytes(pair[0])
    (tmp_path / "door.key").write_bytes(pair[1])
    found = told(link_checks.link(case(config)))
    assert found["broker tls"].startswith("ok: TLSv1.3")
    assert found["log-in"].startswith("bad: it refuses this door's certificate")


def test_a_name_that_the_broker_s_list_does_not_have_may_not_publish(city: CityBroker, tmp_path: Path) -> None:
    """The certificate is another door's, so the topics are not this one's."""
    city.mosquitto.start()
    found = link_checks.link(case(site(tmp_path, city.uplink("door-77"))))
    assert told(found)["publish"] == f"bad: the broker refuses a heartbeat of {DEVICE}: Not authorized"
    assert found[4].fix == f"check the broker's ACL, and that the door's certificate is for {DEVICE}"


def test_a_captive_network_is_told_from_a_broker(tmp_path: Path) -> None:
    """What answers speaks HTTP."""
    stopping = threading.Event()
    impostor = Impostor(b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n")
    thread = threading.Thread(target=impostor.serve, args=(stopping.is_set,))
    thread.start()
    try:
        found = told(link_checks.link(case(site(tmp_path, f"port = {impostor.port}\ntls = false\n"))))
    finally:
        stopping.set()
        thread.join()
    assert found["log-in"] == "bad: it answers in HTTP"


VIEW = {"screen": "attract", "fault": "", "online": True, "waiting": 0, "link_since": "2021-11-20T01:02:03+00:00"}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ({}, ["ok: the running door has been logged in since 2021-11-20T01:02:03+00:00", "ok", "ok"]),
        (
            {"online": False},
            ["bad: the running door has been offline since 2021-11-20T01:02:03+00:00", "unknown", "unknown"],
        ),
        ({"waiting": 3}, ["ok", "ok", "unknown: 3 events wait"]),
        ({"fault": "uplink: 2 events are refused"}, ["ok", "bad: 2 events are refused", "unknown"]),
    ],
)
def test_a_door_that_runs_is_asked_and_not_thrown_out_of_the_broker(
    broker: Mosquitto, tmp_path: Path, view: dict[str, object], expected: list[str]
) -> None:
    """Its own log-in is the test: nobody logs in beside it under its name."""
    config = site(tmp_path, f"port = {broker.port}\ntls = false\n")
    found = list(told(link_checks.link(case(config, view=VIEW | view))).values())
    assert [said.startswith(start) for said, start in zip(found[3:], expected, strict=True)] == [True] * 3
    assert f"as {DEVICE}" not in broker.log.read_text()
