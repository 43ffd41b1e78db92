"""kiosk-fleet's connection against a real sshd on loopback: log-in, host keys, files, and the agent's own answers."""

import asyncio
import getpass
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet import host_keys
from fleet.cli import main
from fleet.errors import DoorFault, Unreachable
from fleet.inventory import Door
from fleet.on_device.layout import Layout
from fleet.ssh import Access, Host, logged_in
from tests.mosquitto import free_port
from tests.waiting import until

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
SETTINGS = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
SetEnv HOME={folder}
Subsystem sftp internal-sftp
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys of a host and of a technician."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("openssh-server is not installed: apt-get install openssh-server")
    for name in ("host", "user"):
        new_key(tmp_path / name)
    return tmp_path


def new_key(path: Path) -> None:
    """A key pair, as OpenSSH has them."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@pytest.fixture
def door(folder: Path) -> Iterator[Door]:
    """This machine as a door, reached as whoever runs the tests."""
    port = free_port()
    settings = folder / "sshd_config"
    settings.write_text(SETTINGS.format(port=port, folder=folder), encoding="utf-8")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(settings)], stderr=log)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(answers, what="sshd listens")
    yield Door(
        device="d-1",
        host="127.0.0.1",
        port=port,
        user=getpass.getuser(),
        place="p-1",
        access_point="main",
        direction="entry",
    )
    server.terminate()
    server.wait(10.0)


@pytest.fixture
def access(folder: Path, door: Door) -> Access:
    """A technician with a key, who knows this door."""
    known = folder / "known_hosts"
    host_keys.keep(known, [asyncio.run(host_keys.shown_by(door))])
    return Access(known_hosts=known, identities=(str(folder / "user"),))


def at(door: Door, access: Access, work: Callable[[Host], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401
    """Log in, and do something."""

    async def there() -> Any:  # noqa: ANN401
        async with logged_in(door, access) as host:
            return await work(host)

    return asyncio.run(there())


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="the agent runs as root")


@as_root
def test_the_agent_tells_what_a_door_is(door: Door, access: Access) -> None:
    """The real agent, started by the system's own Python, about this machine."""

    async def ask(host: Host) -> dict[str, Any]:
        await host.prepare()
        return await host.ask(
            "facts", {"files": ["/etc/os-release", "/no/such"], "packages": ["no-such-package"], "units": []}
        )

    facts = at(door, access, ask)
    assert facts["machine"] == os.uname().machine
    assert (facts["missing"], facts["files"]["/no/such"]) == (["no-such-package"], None)
    assert len(facts["files"]["/etc/os-release"]) == 64


@as_root
def test_files_arrive_once(door: Door, access: Access, folder: Path) -> None:
    """What is there whole is not sent again, which is how an interrupted apply goes on."""
    path = folder / "wheel"
    path.write_bytes(os.urandom(300_000))

    async def send(host: Host) -> list[int]:
        await host.prepare()
        arrived: list[int] = []
        await host.send({"abc": path}, arrived.append)
        steps = len(arrived)
        await host.send({"abc": path}, arrived.append)
        return [sum(arrived[:steps]), *arrived[steps:]]

    assert at(door, access, send) == [300_000, 300_000]
    assert (folder / ".kiosk-fleet" / "abc").read_bytes() == path.read_bytes()
    assert not (folder / ".kiosk-fleet" / "abc.part").exists()


@as_root
def test_a_refusal_of_the_agent_is_a_sentence(door: Door, access: Access) -> None:
    """Not a trace."""
    if Layout().home.exists():
        pytest.skip("a kiosk is installed on this machine")

    async def ask(host: Host) -> None:
        await host.prepare()
        await host.ask("health", {})

    with pytest.raises(DoorFault, match="no release runs here; run kiosk-fleet apply"):
        at(door, access, ask)


async def nothing(_host: Host) -> None:
    """Only log in."""


def test_an_unknown_host_key_is_refused(door: Door, access: Access, folder: Path) -> None:
    """Nothing is accepted silently."""
    stranger = Access(known_hosts=folder / "nobody", identities=access.identities)
    stranger.known_hosts.touch()
    with pytest.raises(Unreachable, match=r"host key is not the one known .* a new door: kiosk-fleet trust"):
        at(door, stranger, nothing)


def test_a_changed_host_key_is_refused(door: Door, access: Access, folder: Path) -> None:
    """Also where another one of the same host is known, and `trust` does not add to it."""
    new_key(folder / "other")
    words = (folder / "other.pub").read_text(encoding="utf-8").split()
    access.known_hosts.write_text(f"[127.0.0.1]:{door.port} {words[0]} {words[1]}\n", encoding="utf-8")
    with pytest.raises(Unreachable, match="host key is not the one known"):
        at(door, access, nothing)
    assert asyncio.run(host_keys.new_keys([door], access.known_hosts, print)) == []


def test_the_fingerprint_shown_is_openssh_s(door: Door, folder: Path) -> None:
    """A technician compares it with what the door's own console says."""
    told = subprocess.run(["ssh-keygen", "-lf", str(folder / "host.pub")], capture_output=True, text=True, check=True)
    assert asyncio.run(host_keys.shown_by(door)).fingerprint == told.stdout.split()[1]


def test_a_wrong_key_is_told_apart_from_a_door_that_is_off(door: Door, access: Access, folder: Path) -> None:
    """Each has its own cure."""
    new_key(folder / "other")
    with pytest.raises(Unreachable, match="may not log in: wrong password or key"):
        at(door, Access(known_hosts=access.known_hosts, identities=(str(folder / "other"),)), nothing)
    gone = door.model_copy(update={"port": free_port()})
    with pytest.raises(Unreachable, match="does not answer"):
        at(gone, access, nothing)


def test_a_report_for_programs_names_every_door(
    door: Door, access: Access, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`doctor --json` of a door where nothing is installed, and of one that is off: exit code 1, a sentence each."""
    rows = [f"d-{at},{host},{door.port},{door.user},p,a,entry" for at, host in ((1, "127.0.0.1"), (2, "127.0.0.2"))]
    inventory = folder / "doors.csv"
    inventory.write_text("\n".join(["device,host,port,user,place,access_point,direction", *rows]), encoding="utf-8")
    assert main(["doctor", str(inventory), "--identity", *access.identities, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [door["device"] for door in report["doors"]] == ["d-1", "d-2"]
    assert report["doors"][1]["status"] == "unreachable"
    assert all(door["detail"] for door in report["doors"])
