"""A city's broker with TLS on loopback, for the measurements of the uplink."""

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from city import certificates
from demo.broker import program
from demo.processes import Signal, Started, free_port
from kiosk.broker import Broker
from kiosk.clock import SystemClock

SETTINGS = """listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 20
max_queued_messages 100000
certfile {folder}/broker.pem
keyfile {folder}/broker.key
"""


def start_city_broker(folder: Path, stack: ExitStack) -> Broker:
    """Start mosquitto with a certificate of a new authority; the answer is how to reach it."""
    now, week = SystemClock().now().utc, timedelta(days=7)
    authority = certificates.new_authority("city", now, 2 * week)
    (folder / "ca.pem").write_bytes(certificates.certificate_pem(authority.certificate))
    certificate, key = certificates.new_server(authority, ["127.0.0.1"], now, week)
    (folder / "broker.pem").write_bytes(certificate)
    (folder / "broker.key").write_bytes(key)
    port, running = free_port(), Signal(" running")
    settings = folder / "mosquitto.conf"
    settings.write_text(SETTINGS.format(port=port, folder=folder) + "user root\n", encoding="utf-8")
    broker = Started("mosquitto", [program(), "-c", settings], folder / "mosquitto.log", running)
    stack.callback(broker.stop)
    running.wait_for(broker)
    return Broker(host="127.0.0.1", port=port, tls=True, ca_file=str(folder / "ca.pem"))


def percentile(values: list[float], share: float) -> float:
    """The value that so large a share does not exceed; nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -(-int(share * 1000) * len(ranked) // 1000) - 1))]
