"""The README's first command, as a newcomer runs it, with a stranger listening at the broker."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
VISITORS = 10
"""Every kind from healthy to the health-insurance card once: those hold names and numbers."""
MADE_UP_DATA = (
    *("Nguyễn", "Văn Mẫu", "TRAN THI MAU", "04809000000", "16290000000", "Hòa Cường", "|01011990|"),
    *("Phạm", "Phạm".encode().hex(), "DN4484821000", "482100000", "01/01/1990", "Đà Nẵng".encode().hex()),
)
"""Pieces of the names and numbers in demo/population.py, too long to stand in a time or a pseudonym by chance."""
THE_VISITORS_THEMSELVES = {"showings.json", "journal.jsonl"}
"""What they hold up, written by the demo; a journal with live people is refused. They do hold the pieces."""


def names_somebody(path: Path) -> bool:
    """Whether a file of a running demo holds a piece of a name or number, in any row, free page or log line."""
    if path.name in THE_VISITORS_THEMSELVES:
        return False
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False  # SQLite has just put its log away
    return any(piece.encode() in content for piece in MADE_UP_DATA)


@pytest.mark.timeout(300)  # visitors come in real time: five seconds each
@pytest.mark.skipif(shutil.which("mosquitto_sub") is None, reason="mosquitto_sub is not installed (mosquitto-clients)")
def test_a_stranger_sees_every_event_well_formed_and_nobody_named(tmp_path: Path) -> None:
    """The demo ends well; what it published is what its city stored, fits the schemas, and names nobody."""
    table = tmp_path / "table.json"
    command = [sys.executable, "-m", "demo", "--headless", "--visitors", str(VISITORS), "--seed", "7"]
    with subprocess.Popen(
        [*command, "--json", str(table)],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as demo:
        assert demo.stdout is not None
        port = next(found[1] for line in demo.stdout if (found := re.search(r"127\.0\.0\.1:(\d+) ", line)))
        listen = ["mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-V", "5", "-q", "1", "-t", "kiosk/#", "-F", "%t %p"]
        with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True, encoding="utf-8") as stranger:
            printed, named = "", set()
            for line in demo.stdout:
                printed += line
                named |= {path.name for path in tmp_path.glob("kiosk-demo-*/*") if names_somebody(path)}
            code = demo.wait()
            stranger.terminate()
            heard = stranger.communicate()[0].splitlines()
    assert code == 0, printed
    told = json.loads(table.read_text(encoding="utf-8"))
    assert told["well"]
    assert (told["presentations"], told["read"], told["verdicts_wrong"]) == (VISITORS, VISITORS, [])
    events = [line.split(" ", 1) for line in heard if "/event/" in line]
    assert sorted(json.loads(payload)["data"]["sequence"] for _, payload in events) == list(
        range(1, told["accepted"] + 1)
    )
    for topic, payload in events:
        schema = ROOT / "docs" / "schemas" / f"{topic.rpartition('/')[2]}.json"
        jsonschema.validate(json.loads(payload), json.loads(schema.read_text(encoding="utf-8")))
    assert [piece for piece in MADE_UP_DATA for line in [*heard, printed] if piece in line] == []
    assert (named, list(tmp_path.glob("kiosk-demo-*"))) == (set(), [])


@pytest.mark.parametrize("made", [False, True])
def test_a_useless_folder_is_answered_in_a_sentence(tmp_path: Path, made: bool) -> None:  # noqa: FBT001 - a parameter
    """One that is not there, and one without a picture: what is wrong and where, and nothing keeps running."""
    folder = tmp_path / "pictures"
    if made:
        folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--headless", "--images", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 4
    assert str(folder) in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
