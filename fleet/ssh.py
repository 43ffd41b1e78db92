"""One door over SSH (asyncssh). Host keys are known beforehand or the door is refused; a password is never kept.

Why asyncssh: docs/decisions/0019-fleet.md. Knows how to log in, become root, ask the agent and send files; decides
nothing about what is done with them.
"""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from fleet.agent import agent
from fleet.errors import DoorFault, Unreachable
from fleet.inventory import Door

CONNECT_WITHIN_S = 15.0
ALIVE_EVERY_S, ALIVE_MISSED = 5, 3
"""A door that has gone is noticed within a quarter of a minute."""
LONGEST_S = 1800.0
INCOMING = ".kiosk-fleet"
"""In the technician's home on the door: what has been sent and is not yet installed."""
Sent = Callable[[int], None]
"""Told how many bytes more have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the technician gets in: known hosts, keys (besides the SSH agent's), and a password for login and sudo."""

    known_hosts: Path
    identities: tuple[str, ...] = ()
    password: str | None = field(default=None, repr=False)


class Host:
    """A door that somebody is logged in at. Made by `logged_in`."""

    def __init__(self, door: Door, connection: asyncssh.SSHClientConnection, access: Access) -> None:
        self._door = door
        self._connection = connection
        self._password = access.password
        self._root: str | None = None
        self.incoming = INCOMING

    async def prepare(self) -> None:
        """Send the agent and find out how to become root.

        Raises:
            DoorFault: the user may not, or has no room.
        """
        home = (await self._run("umask 077; mkdir -p ~/" + INCOMING + " && cd && pwd")).strip()
        self.incoming = f"{home}/{INCOMING}"
        async with self._files() as files, files.open(f"{self.incoming}/agent.pyz", "wb") as sent:
            await sent.write(agent())
        if self._door.user == "root":
            self._root = ""
        elif (await self._connection.run("sudo -k -n true", stdin=asyncssh.DEVNULL)).exit_status == 0:
            self._root = "sudo -n "
        elif self._password is not None:
            self._root = "sudo -k -S -p '' "
        else:
            raise DoorFault(f"{self._door.user} needs a password for sudo on the door; run with --ask-password")

    async def ask(self, verb: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Have the agent do one thing as root.

        Raises:
            DoorFault: it refuses (its own sentence), or the connection is lost.
        """
        command = f"{self._root}python3 -I {shlex.quote(self.incoming)}/agent.pyz {verb}"
        first = f"{self._password}\n" if self._root and "-S" in self._root else ""
        done = await self._finished(command, first + json.dumps(asked))
        try:
            answer: dict[str, Any] = json.loads(str(done.stdout))
        except ValueError as error:
            said = " ".join(str(done.stderr or done.stdout).split())[-300:] or "nothing"
            raise DoorFault(f"the agent did not answer {verb} (it said: {said})") from error
        if "refused" in answer:
            raise DoorFault(str(answer["refused"]))
        return answer

    async def send(self, files: Mapping[str, Path], sent: Sent) -> None:
        """Send files under the names given; what has already arrived whole is not sent again.

        Raises:
            DoorFault: no room there, or the connection is lost.
        """
        async with self._files() as remote:
            there = {str(entry.filename): entry.attrs.size async for entry in remote.scandir(self.incoming)}
            for name, path in files.items():
                if there.get(name) == path.stat().st_size:
                    sent(path.stat().st_size)
                else:
                    await self._send(remote, name, path, sent)

    async def _send(self, remote: asyncssh.SFTPClient, name: str, path: Path, sent: Sent) -> None:
        part = f"{self.incoming}/{name}.part"
        before = 0

        def progress(_from: object, _to: object, done: int, _total: int) -> None:
            nonlocal before
            sent(done - before)
            before = done

        await remote.put(str(path), part, progress_handler=progress)
        await remote.posix_rename(part, f"{self.incoming}/{name}")

    @asynccontextmanager
    async def _files(self) -> AsyncIterator[asyncssh.SFTPClient]:
        try:
            async with self._connection.start_sftp_client() as files:
                yield files
        except asyncssh.SFTPError as error:
            said = error.reason or type(error).__name__
            raise DoorFault(
                f"files cannot be sent to {self.incoming} ({said}); is the card full? df -h there tells"
            ) from error
        except (asyncssh.Error, OSError) as error:
            raise DoorFault(f"the connection was lost while files were sent ({error}); apply again goes on") from error

    async def _run(self, command: str) -> str:
        done = await self._finished(command, "")
        if done.exit_status:
            said = " ".join(str(done.stderr).split())
            raise DoorFault(f"{self._door.user} cannot write a home folder there ({said}); is the card full?")
        return str(done.stdout)

    async def _finished(self, command: str, stdin: str) -> asyncssh.SSHCompletedProcess:
        try:
            return await asyncio.wait_for(self._connection.run(command, input=stdin), LONGEST_S)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise DoorFault(
                f"the connection was lost ({_plain(error)}); the door finishes a change by itself, apply again goes on"
            ) from error


@asynccontextmanager
async def logged_in(door: Door, access: Access) -> AsyncIterator[Host]:
    """Log in; what goes wrong is named with its cure.

    Raises:
        Unreachable: no way there, no log-in, or a host key that is not the known one.
    """
    try:
        connection = await asyncssh.connect(
            door.host,
            port=door.port,
            username=door.user,
            password=access.password,
            client_keys=list(access.identities) or (),
            known_hosts=str(access.known_hosts),
            connect_timeout=CONNECT_WITHIN_S,
            login_timeout=CONNECT_WITHIN_S,
            keepalive_interval=ALIVE_EVERY_S,
            keepalive_count_max=ALIVE_MISSED,
            config=None,
        )
    except asyncssh.PermissionDenied as error:
        raise Unreachable(
            f"{door.user} may not log in: wrong password or key; --ask-password or --identity FILE gives another"
        ) from error
    except asyncssh.HostKeyNotVerifiable as error:
        raise Unreachable(
            f"its host key is not the one known ({_plain(error)}); a new door: kiosk-fleet trust; a known one whose key"
            f" has changed: find out why, then take its line out of {access.known_hosts}"
        ) from error
    except (asyncssh.Error, OSError, TimeoutError) as error:
        where = f"{door.host}:{door.port}"
        raise Unreachable(f"{where} does not answer ({_plain(error)}); is it on, and on this network?") from error
    async with connection:
        yield Host(door, connection, access)


def _plain(error: BaseException) -> str:
    return str(error) or type(error).__name__
