"""The host keys of doors: asked for, shown, and kept only when the technician says so. A changed one is never taken.

The file is OpenSSH's known_hosts, so that `ssh -o UserKnownHostsFile=...` goes by it as well.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from fleet.errors import Unreachable
from fleet.inventory import Door
from fleet.ssh import CONNECT_WITHIN_S

ALGORITHMS = ("ssh-ed25519",)
"""One kind, which every Debian since 2015 has: a server with several keys shows one, and it is always the same one."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a host shows: its line in known_hosts, and the fingerprint as `ssh-keygen -l` prints it."""

    line: str
    fingerprint: str


def is_known(door: Door, known_hosts: Path) -> bool:
    """Whether the file has a key of this host."""
    if not known_hosts.exists():
        return False
    address = "" if door.host.count(".") != 3 else door.host  # noqa: PLR2004 - IPv4 has four parts
    keys = asyncssh.match_known_hosts(asyncssh.read_known_hosts(str(known_hosts)), door.host, address, door.port)
    return bool(keys[0])


async def shown_by(door: Door) -> Shown:
    """Ask a host for its key, without logging in.

    Raises:
        Unreachable: nobody answers.
    """
    try:
        key = await asyncio.wait_for(
            asyncssh.get_server_host_key(door.host, door.port, server_host_key_algs=ALGORITHMS, config=None),
            CONNECT_WITHIN_S,
        )
    except (asyncssh.Error, OSError, TimeoutError) as error:
        raise Unreachable(f"{door.host}:{door.port} does not answer ({error or type(error).__name__})") from error
    if key is None:
        raise Unreachable(f"{door.host}:{door.port} shows no {ALGORITHMS[0]} key")
    host = door.host if door.port == 22 else f"[{door.host}]:{door.port}"  # noqa: PLR2004 - SSH's own port
    public = key.export_public_key("openssh").decode().split()
    return Shown(f"{host} {public[0]} {public[1]}\n", key.get_fingerprint())


def keep(known_hosts: Path, shown: Iterable[Shown]) -> None:
    """Add keys to the file."""
    known_hosts.parent.mkdir(parents=True, exist_ok=True)
    with known_hosts.open("a", encoding="utf-8") as file:
        file.writelines(each.line for each in shown)


async def new_keys(
    doors: Iterable[Door], known_hosts: Path, refused: Callable[[Door, str], None]
) -> list[tuple[Door, Shown]]:
    """The keys of those doors that the file does not know yet, in the inventory's order."""
    strangers = [door for door in doors if not is_known(door, known_hosts)]
    answers = await asyncio.gather(*(shown_by(door) for door in strangers), return_exceptions=True)
    found = []
    for door, answer in zip(strangers, answers, strict=True):
        if isinstance(answer, Shown):
            found.append((door, answer))
        elif isinstance(answer, Unreachable):
            refused(door, str(answer))
        else:
            raise answer
    return found
