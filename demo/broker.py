"""The city's broker, tried on this machine: config/broker with a test authority's certificates, in the foreground.

    scripts/broker [FOLDER] [--device door-01] [--host NAME] [--port 8883] [--city-port 8884]

Certificates and settings go into FOLDER (made if missing; its authorities are used again), or into a temporary one
that goes at the end. Ctrl-C ends it and leaves nothing running. The tests and the tortures take the settings from here.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from city import certificates_cli
from demo.processes import DemoFault
from kiosk.clock import SystemClock

CONFIG = Path(__file__).parents[1] / "config" / "broker"
INSTALLED, STATE = "/etc/mosquitto/kiosk", "/var/lib/mosquitto/"
PORT, CITY_PORT = 8883, 8884
USERS = ("city-ingest", "city-lookup", "city-desk", "city-command", "city-publish", "city-watch")
TRAFFIC = re.compile(": (Received|Sending|No will) ")
"""Lines about each message; as config/broker/mosquitto.service.conf has it."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SAID = """
In {folder}: {names}
The kiosks' listener is {host}:{port}. In kiosk.toml, or beside it:
  [uplink]
  host = "{host}"
  port = {port}
  ca_file = "{folder}/city-ca.pem"
  certificate_file = "{folder}/{device}.pem"
  key_file = "{folder}/{device}.key"
The city's listener is {host}:{city_port}. To look on (apt-get install mosquitto-clients):
  mosquitto_sub -V 5 -i city-watch-1 -h {host} -p {city_port} -q 1 -v -t 'kiosk/v1/+/event/+' -t 'kiosk/v1/+/state' \\
    --cafile {folder}/city-ca.pem --cert {folder}/city-watch.pem --key {folder}/city-watch.key
Ctrl-C ends it. What mosquitto says:
"""


def program() -> str:
    """Where mosquitto is.

    Raises:
        DemoFault: it is not installed.
    """
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise DemoFault("mosquitto is not installed: apt-get install mosquitto (scripts/broker does)")
    return found


def settings(folder: Path, port: int, city_port: int, *, host: str = "") -> str:
    """config/broker/mosquitto.conf with files in one folder, on other ports; for whoever runs it, root as well."""
    text = (CONFIG / "mosquitto.conf").read_text(encoding="utf-8")
    for shipped, ours in {
        INSTALLED: str(folder),
        STATE: f"{folder}/",
        f"\nlistener {PORT}\n": f"\nlistener {port} {host}\n",
        f"\nlistener {CITY_PORT}\n": f"\nlistener {city_port} {host}\n",
    }.items():
        text = text.replace(shipped, ours)
    return text + f"user {'root' if os.geteuid() == 0 else 'mosquitto'}\n"


def prepare(folder: Path, port: int, city_port: int, *, host: str = "") -> Path:
    """Write the settings and the ACL; the answer is the settings' file. Certificates are the caller's."""
    shutil.copy(CONFIG / "acl", folder / "acl")
    file = folder / "mosquitto.conf"
    file.write_text(settings(folder, port, city_port, host=host), encoding="utf-8")
    return file


def main() -> int:
    """Make what is missing, say how to connect, and run mosquitto until a signal comes."""
    given = _parser().parse_args()
    with ExitStack() as stack:
        folder: Path = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="broker-")))
        devices = given.device or ["door-01"]
        names = list(dict.fromkeys([given.host, *LOOPBACK]))
        try:
            mosquitto, now = program(), SystemClock().now().utc
            made = certificates_cli.make(folder, broker=names, devices=devices, users=USERS, now=now)
            where = folder.resolve()
            file = prepare(where, given.port, given.city_port)
        except (DemoFault, OSError, ValueError) as fault:
            print(f"broker: {fault}", file=sys.stderr)
            return 4
        listed = ", ".join(path.name for path in made)
        told = SAID.format(folder=where, names=listed, device=devices[0], **_ports(given))
        print(told, file=sys.stderr, flush=True)
        return _run([mosquitto, "-c", str(file)])


def _run(command: list[str]) -> int:
    """Run it to its end, telling all but each message's way; whatever ends us has it save and end in order."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as broker:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: broker.terminate())
        assert broker.stderr is not None  # noqa: S101 - for the type checker
        for line in broker.stderr:
            if not TRAFFIC.search(line):
                print(line, end="", file=sys.stderr, flush=True)
        return broker.wait()


def _ports(given: argparse.Namespace) -> dict[str, object]:
    return {"host": given.host, "port": given.port, "city_port": given.city_port}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/broker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", help="for certificates and settings; default: a temporary one")
    parser.add_argument("--device", action="append", metavar="NAME", help="a kiosk; repeat; default: door-01")
    parser.add_argument("--host", default=socket.gethostname(), help="this machine's name, default %(default)s")
    parser.add_argument("--port", type=int, default=PORT, help="the kiosks', default %(default)s")
    parser.add_argument("--city-port", type=int, default=CITY_PORT, help="the city's, default %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
