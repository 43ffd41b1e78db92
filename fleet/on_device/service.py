"""The kiosk as systemd runs it, and the gate a release must pass to stay.

The gate: the daemon says READY, runs from the release that is meant, stays up for a while without a restart, and
nothing that was well before the change is bad after it. It decides nothing else.
"""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.on_device.layout import Layout

UNIT = "kiosk.service"
GATE_WITHIN_S = 30.0
"""A release that has not passed by then has failed. Stopping it (15 s at most) and starting the one before must fit
into the rest of the minute."""
BEFORE_WITHIN_S, LOOK_WITHIN_S = 60.0, 120.0
"""For the doctor before a change, and when nobody waits: of its checks, the broker's alone may take 40 s."""
STEADY_S = 4.0
"""How long a started daemon must stay up: systemd would start a crashing one again after 2 s."""
LOOK_EVERY_S = 1.0
"""Each look is a systemctl, which takes a slow board's processor from the daemon that is to start."""
USAGE = 2
"""argparse: the release has no such verb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a release says of its door. `bad` names what is; None if that is not known."""

    green: bool
    by: str
    said: str
    bad: frozenset[str] | None = None


def run(command: Sequence[str], *, within_s: float = 60.0, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A command and what it said, both streams together."""
    return subprocess.run(
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=within_s,
        check=False,
    )


def shown(unit: str, *properties: str) -> dict[str, str]:
    """Properties of a unit, as systemd has them."""
    said = run(["systemctl", "show", unit, *(f"--property={name}" for name in properties)]).stdout
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def health(layout: Layout, within_s: float = LOOK_WITHIN_S) -> Health:
    """Ask the release that runs: `kiosk doctor`, or `kiosk check-config` where it has no doctor yet.

    As the daemon's own user, so that nothing in its folders becomes root's.
    """
    program, config = str(layout.current / "bin/kiosk"), str(layout.config / "kiosk.toml")
    asked = ["runuser", "-u", "kiosk", "--", program]
    try:
        done = run([*asked, "doctor", "--json", "--config", config], within_s=within_s)
    except subprocess.TimeoutExpired:
        return Health(green=False, by="doctor", said=f"no answer within {within_s:.0f} s")
    if done.returncode != USAGE:
        return _diagnosed(done.stdout, green=done.returncode == 0)
    done = run([*asked, "check-config", config])
    return Health(green=done.returncode == 0, by="check-config", said=done.stdout)


def _diagnosed(said: str, *, green: bool) -> Health:
    """Read the doctor's document; what stands before and after it (warnings of libraries) is not its own."""
    try:
        findings = json.loads(said[said.index("{") : said.rindex("}") + 1])["findings"]
        bad = {found["name"]: f"{found['said']}; {found['fix']}" for found in findings if found["mark"] == "bad"}
    except (ValueError, KeyError, TypeError):
        return Health(green=False, by="doctor", said=said)
    told = " | ".join(f"{name}: {text}" for name, text in bad.items())
    return Health(green=green, by="doctor", said=told, bad=frozenset(bad))


class Systemd:
    """`fleet.on_device.change.Service`, for real."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._before: Health | None = None
        self._invocation = ""

    def seconds(self) -> float:
        """Monotonic."""
        return time.monotonic()  # noqa: TID251 - a program of its own, without the kiosk's Clock

    def serves(self) -> bool:
        """Active is READY: the unit's type is notify."""
        return shown(UNIT, "ActiveState").get("ActiveState") == "active"

    def objection(self, config: Path, release: str) -> str | None:
        """`kiosk check-config` of the release; also notes how the door is before the change."""
        if self._layout.current.exists():
            self._before = health(self._layout, BEFORE_WITHIN_S)
        program = self._layout.releases / release / "bin/kiosk"
        done = run([str(program), "check-config", str(config)])
        return None if done.returncode == 0 else f"kiosk check-config: {done.stdout.strip()}"

    def reload(self, units: tuple[str, ...]) -> None:
        """Users and folders first: files of the change may belong to them."""
        run(["systemd-sysusers"])
        run(["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/kiosk.conf"])
        run(["systemctl", "daemon-reload"])
        run(["systemctl", "enable", "--quiet", UNIT, *units])
        _for_the_kiosk(self._layout.config)

    def restart(self, units: tuple[str, ...]) -> None:
        """Without waiting: the gate does."""
        self._invocation = shown(UNIT, "InvocationID").get("InvocationID", "")
        run(["systemctl", "reset-failed", UNIT])
        run(["systemctl", "restart", "--no-block", UNIT, *units])

    def gate(self, release: str) -> str | None:
        """What is wrong with the release that was just started; None when it serves."""
        until = self.seconds() + GATE_WITHIN_S
        return self._started(self._layout.releases / release, until) or self._steady() or self._worse(until)

    def _worse(self, until: float) -> str | None:
        """What is bad now and was well before; a door that has just started gets until then to come to itself.

        What is not known on either side is no reason to go back: the technician sees it in the end.
        """
        if self._before is None or self._before.bad is None:
            return None
        while True:
            now = health(self._layout, max(5.0, until - self.seconds()))
            worse = (now.bad or frozenset()) - self._before.bad
            if not worse:
                return None
            if self.seconds() > until:
                return f"kiosk doctor finds bad what was well: {', '.join(sorted(worse))} ({now.said[-400:]})"
            threading.Event().wait(LOOK_EVERY_S)

    def _started(self, release: Path, until: float) -> str | None:
        state = {}
        while self.seconds() < until:
            state = shown(UNIT, "ActiveState", "SubState", "MainPID", "NRestarts", "Result", "InvocationID")
            anew = state["InvocationID"] != self._invocation
            if anew and state["ActiveState"] == "active" and _runs_from(state["MainPID"], release):
                return None
            if anew and (state["ActiveState"] == "failed" or int(state["NRestarts"])):
                return f"the daemon does not start ({state['Result']}): {last_words()}"
            threading.Event().wait(LOOK_EVERY_S)
        return f"not READY within {GATE_WITHIN_S:.0f} s ({state.get('SubState')}): {last_words()}"

    def _steady(self) -> str | None:
        began, first = self.seconds(), shown(UNIT, "MainPID")
        while self.seconds() < began + STEADY_S:
            threading.Event().wait(LOOK_EVERY_S)
            if shown(UNIT, "ActiveState", "MainPID") != {"ActiveState": "active", **first}:
                return f"the daemon said READY and went away: {last_words()}"
        return None


def _for_the_kiosk(config: Path) -> None:
    """Configuration and keys: root's, and the daemon's to read."""
    for path in (config, *config.rglob("*")):
        shutil.chown(path, "root", "kiosk")
        path.chmod(0o750 if path.is_dir() else 0o640)


def _runs_from(pid: str, release: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(Path(word.decode(errors="replace")).resolve().is_relative_to(release) for word in words[:2] if word)


def last_words(lines: int = 3) -> str:
    """The newest lines that the daemon itself wrote, as one."""
    said = run(["journalctl", f"_SYSTEMD_UNIT={UNIT}", "--lines", str(lines), "--output=cat", "--no-pager"]).stdout
    return " | ".join(said.split("\n")).strip(" |")[-400:]
