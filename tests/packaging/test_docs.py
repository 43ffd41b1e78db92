"""What docs/ says about code, topics, figures and layers, held against the code."""

import ast
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kiosk import wire
from kiosk.back_off import SPREAD_S
from kiosk.connection import BIGGEST_MESSAGE, KEEP_ALIVE_S
from kiosk.daemon import RECORD_WITHIN_S
from kiosk.gpio_alerts import RELAY_MARGIN_NS
from kiosk.look_ups import KEPT_NONE_NS, KEPT_NS, WAIT_NS
from kiosk.messages import Reason, Scheme
from kiosk.outbox import MOST_UNSTORED
from kiosk.questions import ANSWER_WITHIN_S, MOST_WAITING
from kiosk.risk_list import MOST_ENTRIES
from kiosk.sightings import MOST_TRACKED
from kiosk.window import ACKNOWLEDGE_WITHIN_S, WINDOW

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"])
CODE_NAME = re.compile(r"`([a-z_]+/[\w/]+\.py):\s+([\w.]+)`")
PATH = re.compile(r"`(?!(?:kiosk|city)/v1)((?:kiosk|city|demo|docs|config|scripts|systemd|tests)/[\w./-]*)[`:]")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
EXAMPLE = re.compile(r"<!-- example: ([a-z-]+) -->\n```json\n(.*?)```", re.DOTALL)
SCHEMAS = sorted((DOCS / "schemas").glob("*.json"))
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of the licence's standard text."""


def page_name(page: Path) -> str:
    """A file's name from the root of the repository."""
    return str(page.relative_to(ROOT))


def text_of(name: str) -> str:
    """A page as one line, so that it does not matter where its lines break."""
    return " ".join((DOCS / name).read_text(encoding="utf-8").split())


def rows_of(name: str, heading: str) -> list[list[str]]:
    """The cells of the table under the header row that begins with `heading`."""
    lines = (DOCS / name).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading}")) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def names_bound(body: list[ast.stmt]) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Every name that statements bind, with the body of what it names."""
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name, node.body
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, []
            case ast.Assign(targets=targets):
                yield from ((target.id, []) for target in targets if isinstance(target, ast.Name))


@cache
def parsed(file: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(file.read_text(encoding="utf-8"))


def is_defined(file: Path, dotted: str) -> bool:
    """Whether a Python file defines a name, such as `Class.method`."""
    body = parsed(file).body
    for part in dotted.split("."):
        found = dict(names_bound(body))
        if part not in found:
            return False
        body = found[part]
    return True


@cache
def asyncapi() -> dict[str, Any]:
    """The whole docs/asyncapi.yaml; not to be changed by a test."""
    document: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
    return document


def resolve(reference: str) -> Any:  # noqa: ANN401 - any part of a document
    """What a `$ref` of asyncapi.yaml points at."""
    file, _, pointer = reference.partition("#")
    part: Any = json.loads((DOCS / file).read_text(encoding="utf-8")) if file else asyncapi()
    for key in pointer.strip("/").split("/") if pointer else ():
        part = part[key]
    return part


def references(part: object) -> Iterator[str]:
    """Every `$ref` in a part of a document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def check_docs(folder: Path) -> subprocess.Popen[str]:
    """Start the check of the documents beside a copy of the script."""
    command = [sys.executable, str(folder / "scripts" / "make_docs.py"), "--check"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_page_names_code_that_exists(page: Path) -> None:
    """Every `file.py: name` in a page is a file of this project, and the name is defined in it."""
    named = CODE_NAME.findall(page.read_text(encoding="utf-8"))
    assert [f"{file}: {name}" for file, name in named if not is_defined(ROOT / file, name)] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_page_names_files_that_exist(page: Path) -> None:
    """Every path in backticks and every link between pages leads to a file or a folder."""
    text = page.read_text(encoding="utf-8")
    missing = [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    missing += [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert missing == []


def test_the_check_for_names_can_fail() -> None:
    """A method that a class does not have is noticed, and one that it has is found."""
    assert is_defined(ROOT / "kiosk" / "gate.py", "Gate.step")
    assert not is_defined(ROOT / "kiosk" / "gate.py", "Gate.stop")


def test_the_walk_of_one_scan_passes_every_stage() -> None:
    """docs/architecture.md leads from the camera to the city's database."""
    walked = [file for file, _ in CODE_NAME.findall((DOCS / "architecture.md").read_text(encoding="utf-8"))]
    stages = ["camera", "decoder", "gate", "sightings", "risk", "choreography", "outbox", "gpio_alerts", "uplink"]
    assert [stage for stage in stages if f"kiosk/{stage}.py" not in walked] == []
    assert walked.index("kiosk/camera.py") < walked.index("kiosk/gate.py") < walked.index("city/store.py")


def test_the_layers_are_those_that_are_checked() -> None:
    """The table of layers is the contract that lint-imports holds, row by row."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]["layers"]
    told = [cell.split(", ") for (cell,) in rows_of("architecture.md", "layer of")]
    assert told == [layer.split(" | ") for layer in contract]


def test_the_table_of_threads_is_whole() -> None:
    """Every thread that the daemon makes has a row, and the core, which is the main thread."""
    tree = parsed(ROOT / "kiosk" / "daemon.py")
    maker = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "_threads")
    work = next(node for node in ast.walk(maker) if isinstance(node, ast.Dict))
    made = {key.value for key in work.keys if isinstance(key, ast.Constant)}
    told = {row[0].split()[0] for row in rows_of("architecture.md", "thread")}
    assert told == {"core", *made}


def test_the_table_of_topics_is_the_code_s() -> None:
    """Every topic that the kiosk or the city uses is in the table, and no other."""
    told = [row[0].strip("`") for row in rows_of("mqtt.md", "topic")]
    device = "<device>"
    events = [wire.event_topic(device, kind) for kind in wire.KINDS]
    own = [
        *(wire.state_topic, wire.heartbeat_topic, wire.acknowledgement_topic, wire.alert_states_topic),
        *(wire.command_topic, wire.look_up_topic, wire.answer_topic),
    ]
    everybodys = [wire.TRUST_TOPIC, wire.SNAPSHOT_TOPIC, wire.DELTA_TOPIC]
    assert told == [*events, *(topic(device) for topic in own), *everybodys]


def test_the_table_of_topics_agrees_with_the_asyncapi_document() -> None:
    """Topic, quality of service, retention and direction are the same in both."""
    document = asyncapi()
    stated = {}
    for operation in document["operations"].values():
        channel = resolve(operation["channel"]["$ref"])
        binding = operation["bindings"]["mqtt"]
        stated[channel["address"].replace("{device}", "<device>")] = (
            str(binding["qos"]),
            "yes" if binding["retain"] else "no",
            "kiosk" if operation["action"] == "send" else "city",
        )
    rows = rows_of("mqtt.md", "topic")
    assert {row[0].strip("`"): (row[2], row[3], row[4].split(";")[0]) for row in rows} == stated


def test_every_reference_of_the_asyncapi_document_resolves() -> None:
    """No `$ref` of docs/asyncapi.yaml leads nowhere, and each message has its schema."""
    found = list(references(asyncapi()))
    assert all(resolve(reference) for reference in found)
    assert {f"./schemas/{schema.name}" for schema in SCHEMAS} <= set(found)


def test_the_will_of_the_asyncapi_document_is_one() -> None:
    """The last will is a state that says offline, retained, at the topic of states."""
    binding = asyncapi()["servers"]["city"]["bindings"]["mqtt"]
    said = wire.decode_state(binding["lastWill"]["message"].encode())
    assert isinstance(said, wire.State)
    assert (said.online, said.at) == (False, None)
    assert (binding["lastWill"]["topic"], binding["lastWill"]["retain"]) == (wire.state_topic("{device}"), True)
    assert binding["keepAlive"] == KEEP_ALIVE_S


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.stem)
def test_every_example_fits_its_schema(schema: Path) -> None:
    """The examples of a message are valid, and not with a field more or one of the wrong type."""
    read = json.loads(schema.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(read)
    validator = jsonschema.Draft202012Validator(read, format_checker=jsonschema.FormatChecker())
    examples = [example["payload"] for example in asyncapi()["components"]["messages"][schema.stem]["examples"]]
    assert examples
    for example in examples:
        assert list(validator.iter_errors(example)) == []
        assert not validator.is_valid({**example, "name": "somebody"})
        assert not any(validator.is_valid({**example, key: 1.5}) for key in example)


def test_the_examples_of_the_page_are_read_by_the_firmware() -> None:
    """Every example in docs/mqtt.md is a message that `kiosk.wire` reads, at its own topic."""
    examples = dict(EXAMPLE.findall((DOCS / "mqtt.md").read_text(encoding="utf-8")))
    assert set(examples) == {*wire.KINDS, "birth", "will", "heartbeat", "acknowledgement", "alert-states", "look-up"}
    for kind in wire.KINDS:
        read = wire.decode_event(wire.event_topic("door-01", kind), examples[kind].encode())
        assert isinstance(read, wire.Received)
        assert wire.kind_of(read.stored.event) == kind
    states = [wire.decode_state(examples[name].encode()) for name in ("birth", "will")]
    assert [state.online for state in states if isinstance(state, wire.State)] == [True, False]
    assert isinstance(wire.decode_acknowledgement(examples["acknowledgement"].encode()), wire.Acknowledgement)
    assert isinstance(wire.decode_heartbeat(examples["heartbeat"].encode()), wire.Heartbeat)
    assert isinstance(wire.decode_alert_states(examples["alert-states"].encode()), wire.AlertStates)
    asked = wire.decode_look_up(wire.look_up_topic("door-01"), examples["look-up"].encode())
    assert isinstance(asked, wire.Asked)


def test_what_an_older_city_cannot_read_is_as_told() -> None:
    """A field it does not know is passed over; a reason it does not know makes an event unreadable."""
    example = json.loads(dict(EXAMPLE.findall((DOCS / "mqtt.md").read_text(encoding="utf-8")))["check-in"])
    topic = wire.event_topic("door-01", "check-in")
    newer = {**example, "data": {**example["data"], "temperature": 36.6}}
    assert isinstance(wire.decode_event(topic, json.dumps(newer).encode()), wire.Received)
    newer = {**example, "data": {**example["data"], "reasons": ["a_reason_of_tomorrow"]}}
    assert isinstance(wire.decode_event(topic, json.dumps(newer).encode()), wire.Unreadable)


def test_a_renamed_device_s_old_events_are_as_told() -> None:
    """An event stored under one name is unreadable at another name's topic."""
    example = dict(EXAMPLE.findall((DOCS / "mqtt.md").read_text(encoding="utf-8")))["check-in"]
    assert isinstance(wire.decode_event(wire.event_topic("door-02", "check-in"), example.encode()), wire.Unreadable)


def test_the_generated_files_are_up_to_date(tmp_path: Path) -> None:
    """`scripts/make_docs.py --check` finds nothing to write; beside an old copy it exits with 1 and a diff."""
    for name in ("scripts/make_docs.py", "docs/mqtt.md", "docs/asyncapi.yaml", *map(page_name, SCHEMAS)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    old = tmp_path / "docs" / "asyncapi.yaml"
    old.write_text(old.read_text(encoding="utf-8").replace("qos: 1", "qos: 0", 1), encoding="utf-8")
    with check_docs(ROOT) as here, check_docs(tmp_path) as there:
        assert here.communicate()[0] == ""
        assert "-          qos: 0\n+          qos: 1" in there.communicate()[0]
    assert (here.returncode, there.returncode) == (0, 1)
    assert "qos: 0" in old.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "figure"),
    [
        ("architecture.md", f"at most {RECORD_WITHIN_S * 1000:.0f} ms"),
        ("decisions/0002-record-before-drive.md", f"at most {RECORD_WITHIN_S * 1000:.0f} ms"),
        ("decisions/0002-record-before-drive.md", f"margin of {RELAY_MARGIN_NS // 1_000_000} ms"),
        ("decisions/0002-record-before-drive.md", f"at most {MOST_UNSTORED:,}"),
        ("mqtt.md", f"at most {MOST_UNSTORED:,}"),
        ("mqtt.md", f"at most {WINDOW} events"),
        ("mqtt.md", f"for {ACKNOWLEDGE_WITHIN_S} s"),
        ("mqtt.md", f"at least every {KEEP_ALIVE_S} s"),
        ("mqtt.md", f"{SPREAD_S:.0f} to {2 * SPREAD_S:.0f} s"),
        ("mqtt.md", f"later than {ANSWER_WITHIN_S} s"),
        ("mqtt.md", f"At most {MOST_WAITING} look-ups"),
        ("mqtt.md", f"up to {BIGGEST_MESSAGE >> 20} MiB"),
        ("risk-list.md", f"at most {MOST_ENTRIES // 1_000_000} million"),
        ("decisions/0003-outbox-and-uplink.md", f"{WINDOW} events in flight"),
        ("decisions/0003-outbox-and-uplink.md", f"unacknowledged for {ACKNOWLEDGE_WITHIN_S} s"),
        ("decisions/0007-two-at-once.md", f"At most {MOST_TRACKED} codes"),
        ("decisions/0012-city-data.md", f"at most {WAIT_NS // 1_000_000} ms"),
        ("decisions/0012-city-data.md", f"for {KEPT_NS // 60_000_000_000} minutes"),
        ("decisions/0012-city-data.md", f"for {KEPT_NONE_NS // 1_000_000_000} s"),
    ],
)
def test_a_figure_is_the_code_s(page: str, figure: str) -> None:
    """A bound that a page states is the constant in the code."""
    assert figure in text_of(page)


def test_the_glossary_has_one_row_for_each_word() -> None:
    """No word stands twice, and each has a place in the code."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ") and "| say" not in line]
    words = [row[0].strip() for row in rows]
    assert len(words) == len(set(words))
    assert [row[0] for row in rows if not CODE_NAME.search(row[2])] == []


def test_the_schemas_list_every_reason_and_scheme() -> None:
    """Whoever reads the schema of check-ins knows all reasons and formats of this version."""
    read = json.loads((DOCS / "schemas" / "check-in.json").read_text(encoding="utf-8"))
    assert read["$defs"]["Reason"]["enum"] == [reason.value for reason in Reason]
    assert read["$defs"]["Scheme"]["enum"] == [scheme.value for scheme in Scheme]


def test_decisions_are_numbered_and_whole() -> None:
    """The notes count from 1 without a gap, and each says context, decision, alternatives and consequences."""
    notes = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(note.name[:4]) for note in notes] == list(range(1, len(notes) + 1))
    wanted = ["Context", "Decision", "Alternatives", "Consequences"]
    for note in notes:
        text = note.read_text(encoding="utf-8")
        assert text.startswith(f"# {note.name[:4]}: ")
        assert [title for title in wanted if f"\n## {title}\n" not in text] == []


def test_the_licence_is_the_standard_text() -> None:
    """LICENSE is Apache-2.0, as pyproject.toml says, word for word."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["license"] == "Apache-2.0"
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_the_changelog_has_a_place_for_what_comes() -> None:
    """CHANGELOG.md begins with what is not released."""
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert titles[0] == "[Unreleased]"
