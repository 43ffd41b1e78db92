import json
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from city import provision
from city.signing import load_key, new_key
from kiosk.cli import main
from kiosk.clock import Now
from kiosk.config import load
from kiosk.credentials import FORMATS, subject_of
from kiosk.credentials.cose import kid_of
from kiosk.explain import SHAPES, Desk, Explained, desk, explain, granted, lines_of
from tests.builders import REPOSITORY, START
from tests.codes import code, placed
from tests.doors import CONFIG
from tests.health_certificates import SUBJECT_KEY
from tests.people import AUTHORITY_PEM, CODES, DECLARATIONS, HC1_ISSUER, LINKS, NUMBER, SHC_ISSUER, told

NOW = Now(monotonic_ns=0, utc=START, utc_trusted=True)
MALFORMED = {
    "card with a wrong date": CODES["cccd"].replace(b"|03021999|", b"|33021999|"),
    "card with shuffled fields": b"|".join(CODES["cccd"].split(b"|")[position] for position in (0, 2, 5, 3, 1, 4, 6)),
    "national code with names everywhere": CODES["vn1405"].replace(b"|0|", "|Quách Hương|".encode()),
    "insurance card with a wrong name": CODES["bhyt"].replace(b"|4|", b"|QUACH|"),
    "forged certificate": CODES["hc1"][:-3] + b"000",
    "forged declaration": CODES["declaration"][:-3] + b"000",
    "forged card": CODES["shc"][:-4] + b"0000",
    "unknown": b"Qu\xc3\xa1ch Thi Dieu Huong 048199000731",
    "no text": b"\xff\xfe" + CODES["cccd"],
    "place": b"https://qr.tokhaiyte.vn/048199000731",
}


@pytest.fixture(name="door", scope="module")
def _door(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A provisioned kiosk's configuration file."""
    folder = tmp_path_factory.mktemp("door")
    held = provision.Secrets(
        city=new_key(),
        declaration=DECLARATIONS,
        authority=b"",
        authority_public=AUTHORITY_PEM,
        subject=SUBJECT_KEY,
    )
    provision.provision(folder, held, START - timedelta(hours=3), [HC1_ISSUER, SHC_ISSUER])
    rules = (REPOSITORY / "config" / "rules.toml").read_text(encoding="utf-8")
    (folder / "rules.toml").write_text(rules.replace("\nlinks = []\n", f"\nlinks = {list(LINKS)}\n"), encoding="utf-8")
    (folder / "kiosk.toml").write_text(CONFIG.format(rules="rules.toml"), encoding="utf-8")
    return folder / "kiosk.toml"


@pytest.fixture(name="at", scope="module")
def _at(door: Path) -> Desk:
    return desk(load(door), NOW)


def _decisions(explained: Explained) -> tuple[list[str], list[str]]:
    entry, out = explained["entry"], explained["exit"]
    return [entry["decision"], *list(entry)[1:]], [out["decision"], out["reasons"], out["screen"][:7]]


def test_every_format_of_the_table_can_be_explained() -> None:
    """A new row needs a sentence for what its shape is."""
    assert set(SHAPES) == {looks_like for looks_like, _ in FORMATS}


@pytest.mark.parametrize("name", [*CODES, *MALFORMED])
def test_no_explanation_tells_whose_code_it_is(name: str, at: Desk) -> None:
    """Neither number, name, birth date, address nor phone, whatever is wrong with the code."""
    explained = explain((CODES | MALFORMED)[name], at)
    for section, line in (("signature", "kid"), ("reading", "digest")):  # other hex digits in each run, none of hers
        explained.get(section, {}).pop(line, None)
    assert told(json.dumps(explained, ensure_ascii=False)) == []
    assert told("\n".join(lines_of(explained))) == []


def test_a_declaration_is_explained_from_bytes_to_verdict(at: Desk) -> None:
    """Each step has its section, and the reason its wording."""
    explained = explain(CODES["declaration"], at)
    kid = kid_of(load_key(DECLARATIONS).public_key()).hex()
    assert explained["signature"] == {"kid": kid, "issuer 1 signs": "declaration", "signature": "good"}
    assert explained["format"] == {"scheme": "declaration", "because": "begins with TKYT1:"}
    assert explained["fields"] == {
        "issued": "60 minutes ago",
        "expires": "in 23 hours",
        "symptoms": "1 declared",
        "visits": "1 declared",
        "contact": "no",
        "by proxy": "no",
    }
    assert explained["person"] == {
        "subject": f"{subject_of('id', NUMBER, SUBJECT_KEY)[:6]}...",
        "initials": "Q.T.D.H.",
        "risk list": "none here",
    }
    assert explained["city"] == {
        "trust bundle": "1, made 3 hours ago",
        "rules": at.city.rules.version,
        "risk list": "none",
        "time": "trusted",
    }
    assert _decisions(explained) == (
        ["denied, with alarm", "at_risk.symptom", "at_risk.area"],
        ["granted, with alarm", "at_risk.symptom, at_risk.area", "Xin gặp"],
    )
    assert "Please stop" in explained["entry"]["at_risk.symptom"]


def test_a_card_s_fields_are_named_and_masked(at: Desk) -> None:
    """Initials, birth year, and the length of everything else."""
    explained = explain(CODES["cccd of 2024"], at)
    assert explained["fields"] == {
        "number": "***, 12 characters",
        "old number": "***, 9 characters",
        "name": "Q.T.D.H. (***, 20 characters)",
        "birth date": "1999",
        "sex": "***, 2 characters",
        "residence": "***, 34 characters",
        "issue date": "***, 8 characters",
        "further fields": "4, not read",
    }
    assert explained["reading"] == {"is": "a credential", "sealed": "to the health authority"}
    assert _decisions(explained) == (
        ["held", "look-up", "lookup_unavailable"],
        ["granted", "no_declaration", "Tạm biệ"],
    )


@pytest.mark.parametrize("name", ["vn1405", "bhyt"])
def test_other_cards_show_as_little(name: str, at: Desk) -> None:
    """Their names and birth years stand in other places and spellings."""
    fields = explain(CODES[name], at)["fields"]
    assert (fields["name"].partition(" ")[0], fields["birth date"]) == ("Q.T.D.H.", "1999")


@pytest.mark.parametrize(("name", "uses"), [("hc1", "recovery, test, vaccination, until 2023-05-01"), ("shc", "")])
def test_a_certificate_s_signer_and_facts_are_told(name: str, uses: str, at: Desk) -> None:
    """By the kid that the code names, and what the city trusts that key for."""
    explained = explain(CODES[name], at)
    signer = {"hc1": HC1_ISSUER, "shc": SHC_ISSUER}[name]
    assert explained["signature"] == {
        "kid": signer.kid.hex(),
        "issuer 1 signs": uses or "recovery, test, vaccination",
        "signature": "good",
    }
    assert (explained["fields"]["certifies"], explained["fields"]["days since"]) == ("vaccination", "68")
    assert "digest" in explained["reading"]


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("forged certificate", "the code has an error; see `reading`"),
        ("forged declaration", "wrong: not by the key the kid names"),
        ("forged card", "wrong: not by the key the kid names"),
    ],
)
def test_a_forgery_is_told_with_the_key_it_pretends(name: str, signature: str, at: Desk) -> None:
    """A broken zlib stream comes before any signature."""
    assert explain(MALFORMED[name], at)["signature"]["signature"] == signature


def test_a_link_is_told_by_its_length(at: Desk) -> None:
    """The city alone knows whose it is."""
    explained = explain(CODES["link"], at)
    assert explained["format"] == {"scheme": "link", "because": "begins as one of the rules' links"}
    assert explained["fields"] == {"text": f"***, {len(CODES['link'])} characters"}
    assert _decisions(explained)[0] == ["held", "look-up", "unresolved_code"]


def test_what_no_format_fits_is_told_as_that(at: Desk) -> None:
    """With its encoding, where that is why."""
    explained = explain(MALFORMED["no text"], at)
    assert explained["code"]["encoding"] == "not UTF-8: not read"
    assert explained["reading"]["refused"] == "unknown_format"
    assert "signature" not in explained
    assert not granted(explained)


def _run(door: Path, *arguments: str) -> int:
    return main(["explain", *arguments, "--config", str(door)])


def test_the_command_reads_a_text_a_file_and_a_picture(
    door: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same code by three ways is the same, but for the picture's own section."""
    file, picture = tmp_path / "code.bin", tmp_path / "code.PNG"
    file.write_bytes(CODES["cccd"])
    picture.write_bytes(cv2.imencode(".png", placed(code(CODES["cccd"])))[1].tobytes())
    said = []
    for argument in (CODES["cccd"].decode(), f"@{file}", str(picture)):
        assert _run(door, argument, "--json") == 1
        said.append(json.loads(capsys.readouterr().out))
    (by_picture,) = said[2]
    assert by_picture.pop("image")["read by"].startswith("zxing-cpp")
    assert said[0] == said[1] == said[2]


def test_the_command_s_answer_is_whether_the_door_would_open(door: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No code of this person would open an entry today; of the lines, those of the exit come last."""
    assert _run(door, CODES["vn1405"].decode()) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        *("code", "format", "signature", "fields", "reading", "person", "city", "entry", "exit"),
    ]


def test_a_picture_without_a_code_says_so(door: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a file that is none, or is not there, is the technician's mistake."""
    blank, broken = tmp_path / "blank.png", tmp_path / "broken.png"
    blank.write_bytes(cv2.imencode(".png", np.full((80, 80), 128, dtype=np.uint8))[1].tobytes())
    broken.write_bytes(b"no picture")
    assert _run(door, str(blank)) == 1
    assert capsys.readouterr().out == "no code was read in this image\n"
    for wrong in (str(broken), str(tmp_path / "absent.png"), "@absent.bin"):
        assert _run(door, wrong) == 3
        assert len(capsys.readouterr().err.splitlines()) == 2
