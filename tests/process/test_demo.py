"""The README's first command, as a newcomer runs it, with a stranger listening at the broker."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from demo.cards import identity_card
from demo.cast import Expected
from demo.city import City
from demo.people import Person, folded, person
from demo.population import Visitor, kinds_of, visitors
from demo.report import Visit
from kiosk.credentials.sealing import seal_for
from kiosk.messages import Decision, Reason, Scheme
from kiosk.testing.visitors import Medium, Showing, showings_from_json

ROOT = Path(__file__).parents[2]
VISITORS = 10
"""The kinds of `demo.population.FIRST`: every format that names somebody, each with a person of its own."""
THE_VISITORS_THEMSELVES = {"showings.json", "journal.jsonl"}
"""What they hold up, written by the demo: the file the simulated camera plays, and the replay trace, which a daemon
with a live camera refuses to write. These two hold the codes by design; nothing else may."""


def real_data(who: Person) -> Iterator[bytes]:
    """Name, numbers, phone and address of somebody, as text and in every spelling that codes and files have."""
    texts = (who.given, *(parent.partition(" ")[2] for parent in who.parents), "Hòa Cường Bắc")
    for text in texts:
        plain = folded(text)
        spellings = {text, unicodedata.normalize("NFD", text), plain, plain.upper(), plain.upper().replace(" ", "<")}
        for spelling in spellings:
            yield spelling.encode()
            yield spelling.encode().hex().encode()
            yield spelling.encode().hex().upper().encode()
            yield json.dumps(spelling)[1:-1].encode()
    certificate = f"XX:{who.serial:012d}"
    for number in (who.number, who.insurance, who.qid, who.phone, certificate, f"Tổ {who.serial}, "):
        yield number.encode()
        yield number.encode().hex().encode()


MADE_UP_DATA = frozenset(piece for serial in range(1, VISITORS + 1) for piece in real_data(person(serial)))


def shown(folder: Path) -> set[bytes]:
    """The visitors' codes themselves, as they are, in hex and in base64."""
    codes = [code for made in showings_from_json((folder / "showings.json").read_text()) for code in made.codes]
    return {form for code in codes for form in (code, code.hex().encode(), base64.b64encode(code))}


def told_by(content: bytes, pieces: frozenset[bytes]) -> list[bytes]:
    """Which pieces are in it."""
    return [piece for piece in pieces if piece in content]


def files_that_tell(folder: Path, pieces: frozenset[bytes]) -> set[str]:
    """Which files of a running demo hold a piece: database, write-ahead log, log, key, configuration, or their name."""
    telling = set()
    try:
        paths = list(folder.rglob("*"))
    except FileNotFoundError:
        return set()  # the demo has just put its folder away
    for path in paths:
        if not path.is_file() or path.name in THE_VISITORS_THEMSELVES:
            continue  # a folder, or the socket of trial visits
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # SQLite has just put its log away
        if told_by(content + str(path).encode(), pieces):
            telling.add(path.name)
    return telling


@pytest.mark.timeout(300)  # visitors come in real time: five seconds each
@pytest.mark.skipif(shutil.which("mosquitto_sub") is None, reason="mosquitto_sub is not installed (mosquitto-clients)")
def test_a_stranger_sees_every_event_well_formed_and_nobody_named(tmp_path: Path) -> None:
    """The demo ends well; what it published is what its city stored, fits the schemas, and names nobody.

    Neither does any file of the run but the visitors' own, while it is written; the health authority alone learns who.
    """
    table = tmp_path / "table.json"
    command = [sys.executable, "-m", "demo", "--headless", "--visitors", str(VISITORS), "--seed", "7"]
    with subprocess.Popen(
        [*command, "--json", str(table)],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as demo:
        assert demo.stdout is not None
        port = next(found[1] for line in demo.stdout if (found := re.search(r"127\.0\.0\.1:(\d+) ", line)))
        (folder,) = tmp_path.glob("kiosk-demo-*")
        codes = shown(folder)
        pieces = MADE_UP_DATA | codes
        listen = ["mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-V", "5", "-q", "1", "-t", "#", "-F", "%t %x"]
        with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True, encoding="utf-8") as stranger:
            printed, telling = "", set[str]()
            try:
                for line in demo.stdout:
                    printed += line
                    telling |= files_that_tell(folder, pieces)
                code = demo.wait()
            finally:
                stranger.terminate()
            heard = [(topic, bytes.fromhex(content)) for topic, content in _pairs(stranger.communicate()[0])]
    assert code == 0, printed
    told = json.loads(table.read_text(encoding="utf-8"))
    assert told["well"]
    assert (told["presentations"], told["read"], told["verdicts_wrong"]) == (VISITORS, VISITORS, [])
    events = [(topic, json.loads(content)) for topic, content in heard if "/event/" in topic]
    assert sorted(event["data"]["sequence"] for _, event in events) == list(range(1, told["accepted"] + 1))
    for topic, event in events:
        schema = ROOT / "docs" / "schemas" / f"{topic.rpartition('/')[2]}.json"
        jsonschema.validate(event, json.loads(schema.read_text(encoding="utf-8")))
    assert {made["name"]: made["sealed"] for made in told["formats"]} == SEALED
    assert told["identities_wrong"] == []
    assert sum(1 for topic, _ in heard if topic.endswith("/lookup")) == LOOKED_UP
    assert [topic for topic, content in heard if told_by(topic.encode() + content, pieces)] == []
    assert told_by(printed.encode(), pieces) == []
    assert (telling, list(tmp_path.glob("kiosk-demo-*"))) == (set(), [])
    assert len([code for code in codes if told_by(code, MADE_UP_DATA)]) >= LOOKED_UP  # what was looked for was there


SEALED = {"declaration": 0, "vn1405": 1, "cccd": 2, "bhyt": 1, "hc1": 2, "shc": 1, "link": 0, "none": 0}
"""How many sealed identities the health authority opened, each to exactly the right person."""
LOOKED_UP = 4
"""Two identity cards, a personal QR and an insurance card: without a signature, and with the name in the clear."""


def _pairs(heard: str) -> Iterator[tuple[str, str]]:
    for line in heard.splitlines():
        topic, _, content = line.partition(" ")
        yield topic, content


def test_as_many_visitors_as_the_help_says_are_one_of_each_kind() -> None:
    """46 kinds, each once: that number stands in the README and in the demo's help."""
    now = datetime(2021, 11, 22, tzinfo=UTC)
    came = [visitor.kind for visitor in visitors(City(7, now).cast, 46)]
    assert sorted(came) == sorted(kinds_of(City(7, now).cast))


def test_an_identity_that_is_not_the_holders_is_wrong() -> None:
    """The demo opens each seal: its own person passes; another one, nobody, or an unreadable seal does not."""
    authority = X25519PrivateKey.generate()
    seal = seal_for(authority.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    who = identity_card(person(1)).who
    assert who is not None
    expected = Expected(decision=Decision.HELD, reason=Reason.NO_DECLARATION, scheme=Scheme.CCCD, who=who)
    showing = Showing(codes=(b"1",), medium=Medium.CARD, seed=1)
    found = []
    for sealed in (seal(who), seal(replace(who, number="048000000000")), "", "AAAA"):
        visit = Visit(Visitor(kind="ID card", showing=showing, expected=(expected,)), 0, 1)
        visit.events.append({"kind": "check-in", "sequence": 1, "body": {"sealed": sealed}})
        found.append(len(visit.wrong_identities(authority)))
    assert found == [0, 2, 1, 2]


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
