"""Two network namespaces and a cable between them: the city's broker in one, the doors in the other.

The cable can be cut, made to swallow one direction, and slowed down. Needs root; without it there is none, and brokers
are on loopback.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CITY, DOORS = "10.99.0.1", "10.99.0.2"
END = "cable0"
NEW_NETWORK = 0x40000000
"""CLONE_NEWNET (setns(2)); it moves the calling thread alone."""
SLOW = "rate 40kbit burst 2kb latency 5s"
"""tc-tbf(8): some 5 KB/s, and up to 5 s of queue."""


def run(*words: str) -> None:
    """Run one command of iproute2's."""
    subprocess.run(words, check=True, capture_output=True)


class Cable:
    """The namespaces `city` and `doors` of one torture, and what is between them."""

    def __init__(self, name: str) -> None:
        self.city, self.doors = f"{name}-city", f"{name}-doors"

    def lay(self) -> None:
        """Make both, and connect them."""
        for space in (self.city, self.doors):
            run("ip", "netns", "add", space)
        run("ip", "-n", self.city, "link", "add", END, "type", "veth", "peer", "name", END, "netns", self.doors)
        for space, address in ((self.city, CITY), (self.doors, DOORS)):
            run("ip", "-n", space, "address", "add", f"{address}/24", "dev", END)
            for device in (END, "lo"):
                run("ip", "-n", space, "link", "set", "dev", device, "up")

    def remove(self) -> None:
        """Leave nothing."""
        for space in (self.city, self.doors):
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)

    def cut(self) -> None:
        """Nothing comes through, and nobody is told."""
        run("ip", "-n", self.city, "link", "set", "dev", END, "down")

    def mend(self) -> None:
        """It is whole again."""
        run("ip", "-n", self.city, "link", "set", "dev", END, "up")

    def half_open(self) -> None:
        """What the doors send arrives; the city's answers do not."""
        run("ip", "-n", self.city, "route", "add", "blackhole", f"{DOORS}/32")

    def whole(self) -> None:
        """Both directions again."""
        run("ip", "-n", self.city, "route", "delete", "blackhole", f"{DOORS}/32")

    def slow(self) -> None:
        """Both directions crawl."""
        for space in (self.city, self.doors):
            run("tc", "-n", space, "qdisc", "add", "dev", END, "root", "tbf", *SLOW.split())

    def quick(self) -> None:
        """Full speed again."""
        for space in (self.city, self.doors):
            run("tc", "-n", space, "qdisc", "delete", "dev", END, "root")


def enter(space: str) -> Callable[[], None]:
    """Give what moves the calling thread into a namespace."""

    def move() -> None:
        with Path("/run/netns", space).open("rb") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), NEW_NETWORK):
                raise OSError(ctypes.get_errno(), f"cannot enter {space}")

    return move


@contextmanager
def laid() -> Iterator[Cable | None]:
    """A cable for a while; None where this machine does not allow one."""
    cable = Cable(f"torture-{os.getpid()}")
    if os.geteuid() or not shutil.which("ip") or not shutil.which("tc"):
        yield None
        return
    try:
        cable.lay()
    except subprocess.CalledProcessError:
        cable.remove()
        yield None
        return
    try:
        yield cable
    finally:
        cable.remove()
