"""`python3 kiosk-agent.pyz VERB`: JSON on standard input, JSON on standard output, as root.

One at a time: a second one that would change something is refused. Exit code 0: the answer is one; 1: the answer is
`{"refused": sentence}`.
"""

import base64
import fcntl
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib import resources
from pathlib import Path
from threading import Event
from typing import Any

from fleet.on_device import change, facts, staging
from fleet.on_device.change import Change, File
from fleet.on_device.files import Refused, write_whole
from fleet.on_device.layout import Layout
from fleet.on_device.service import Systemd, health, run, shown

LOOK_EVERY_S = 0.2
UPDATE_UNIT, RECOVER_UNIT = "kiosk-update.service", "kiosk-update-undo.service"


def main(arguments: list[str]) -> int:
    """Run one verb."""
    verb, layout = arguments[0], Layout()
    asked = {} if sys.stdin.isatty() or verb in _BY_SYSTEMD else json.loads(sys.stdin.read() or "{}")
    try:
        answer = _VERBS[verb](layout, asked)
    except Refused as refusal:
        print(json.dumps({"refused": str(refusal)}))
        return 1
    print(json.dumps(answer))
    return 0


@contextmanager
def _alone(layout: Layout, *, patiently: bool = False) -> Iterator[None]:
    layout.home.mkdir(parents=True, exist_ok=True)
    with (layout.home / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if patiently else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise Refused("somebody else is changing this door right now; wait until they are done") from error
        yield


def _facts(layout: Layout, asked: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    return facts.facts(layout, asked)


def _stage(layout: Layout, asked: Mapping[str, Any]) -> Any:  # noqa: ANN401
    with _alone(layout):
        layout.home.chmod(0o755)
        if names := staging.missing(list(asked["packages"])):
            staging.install_packages(names, [])
        return staging.stage(layout, asked)


def _key(layout: Layout, asked: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """The device key stays here; its certificate request goes out. Made by the release's own environment."""
    with _alone(layout):
        folder = layout.config / "keys"
        if not folder.is_dir():
            folder.mkdir(parents=True)
        python = layout.releases / str(asked["release"]) / "bin/python"
        done = run([str(python), "-I", "-m", "fleet.device_key", str(layout.config / facts.KEY), str(asked["device"])])
        if done.returncode:
            raise Refused(f"no device key can be made: {done.stdout.strip()}")
        return {"request": done.stdout}


def _change(layout: Layout, asked: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Hand a change to systemd, which carries it out whatever becomes of this connection."""
    with _alone(layout):
        _install_agent(layout)
        if asked.get("back"):
            wanted = change.back(layout, asked["number"])
        else:
            files = tuple(_file(layout, asked["release"], row) for row in asked["files"])
            wanted = Change(number=asked["number"], release=asked["release"], files=files, units=tuple(asked["units"]))
        change.write_change(layout, "wanted", wanted)
    done = run(["systemctl", "start", "--no-block", UPDATE_UNIT])
    if done.returncode:
        raise Refused(f"systemd does not start {UPDATE_UNIT}: {done.stdout.strip()}")
    return {"number": wanted.number}


def _install_agent(layout: Layout) -> None:
    """This program and its units, for the change at hand and for a power cut in the middle of it."""
    if (state := shown(UPDATE_UNIT, "ActiveState").get("ActiveState")) not in {"inactive", "failed"}:
        raise Refused(f"a change is under way on this door ({UPDATE_UNIT} is {state}); try again in a minute")
    write_whole(layout.agent, Path(sys.argv[0]).read_bytes())
    for name in (UPDATE_UNIT, RECOVER_UNIT):
        text = resources.files("fleet.on_device").joinpath(name).read_bytes()
        write_whole(layout.at(f"/etc/systemd/system/{name}"), text)
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "enable", "--quiet", RECOVER_UNIT])


def _file(layout: Layout, release: str, row: Mapping[str, Any]) -> File:
    """A row names its content, or a file of the release."""
    if row.get("of_release"):
        content = (layout.releases / release / row["of_release"]).read_bytes()
    else:
        content = base64.b64decode(row["content"])
    return File(path=row["path"], mode=row["mode"], content=content)


def _perform(layout: Layout, _asked: Mapping[str, Any]) -> Any:  # noqa: ANN401
    with _alone(layout, patiently=True):
        return asdict(change.perform(layout, Systemd(layout)))


def _recover(layout: Layout, _asked: Mapping[str, Any]) -> Any:  # noqa: ANN401
    result = change.recover(layout, Systemd(layout), restart=False)
    return asdict(result) if result else {}


def _recover_now(layout: Layout, _asked: Mapping[str, Any]) -> Any:  # noqa: ANN401
    result = change.recover(layout, Systemd(layout), restart=True)
    return asdict(result) if result else {}


def _result(layout: Layout, asked: Mapping[str, Any]) -> Any:  # noqa: ANN401
    # It waits here: to start a Python for each look would take the core that the change needs.
    looks = round(change.AWAITED_S / LOOK_EVERY_S)
    return {"result": change.awaited(layout, asked["number"], looks, partial(Event().wait, LOOK_EVERY_S))}


def _health(layout: Layout, _asked: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if not layout.current.exists():
        raise Refused("no release runs here; run kiosk-fleet apply")
    return facts.told(health(layout))


def _collect(layout: Layout, _asked: Mapping[str, Any]) -> Any:  # noqa: ANN401
    return facts.diagnostics(layout)


_VERBS = {
    "facts": _facts,
    "stage": _stage,
    "key": _key,
    "change": _change,
    "perform": _perform,
    "recover": _recover,
    "recover-now": _recover_now,
    "result": _result,
    "health": _health,
    "collect": _collect,
}

_BY_SYSTEMD = {"perform", "recover", "recover-now"}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
