"""Settings and rules: what a technician writes, and what is answered when it is wrong."""

import re
import tomllib
from pathlib import Path

import pytest

from city.signing import new_key, public_pem
from kiosk.config import effective, load, load_rules, rules_from_text
from kiosk.errors import ConfigError
from kiosk.messages import Line, Reason
from kiosk.settings import Settings

SHIPPED = Path(__file__).parents[2] / "config"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as provisioning leaves it: keys and rules in place."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "subject.key").write_bytes(bytes(32))
    (tmp_path / "keys" / "city.pem").write_bytes(public_pem(new_key()))
    (tmp_path / "rules.toml").write_text((SHIPPED / "rules.toml").read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    """A kiosk.toml with that text."""
    path = folder / "kiosk.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes_in(path: Path) -> list[str]:
    """What the technician is told, without the leading file name."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [line.removeprefix(f"{path}: ") for line in caught.value.mistakes]


def test_the_shipped_file_shows_every_key_and_its_default() -> None:
    """config/kiosk.toml read back is the defaults, key for key."""
    shown = tomllib.loads((SHIPPED / "kiosk.toml").read_text(encoding="utf-8"))
    defaults = Settings().model_dump()
    defaults["uplink"]["password"] = ""
    assert shown == defaults


def test_an_empty_file_means_the_defaults(folder: Path) -> None:
    """Nothing need be written but what differs."""
    settings, named = load(written(folder, "")).settings, {"rules_file", "trust"}
    assert settings.model_dump(exclude=named) == Settings().model_dump(exclude=named)


def test_relative_names_start_at_the_file(folder: Path) -> None:
    """So that a folder can be moved whole."""
    settings = load(written(folder, '[outbox]\npath = "here.sqlite3"\n')).settings
    assert settings.outbox.path == str(folder / "here.sqlite3")
    assert settings.rules_file == str(folder / "rules.toml")
    assert settings.trust.city_key == str(folder / "keys" / "city.pem")
    assert settings.trust.bundle == str(folder / "keys" / "trust.bundle")
    assert settings.city_data.folder == "/var/lib/kiosk"


def test_ten_mistakes_are_all_told_at_once(folder: Path) -> None:
    """File, key, what is wrong, and what to do, for each of ten; also for those a wrong section would have hidden."""
    path = written(
        folder,
        """
        spped = 3
        [door]
        device = "Cửa 1"
        direction = "enter"
        [camera]
        fps = 300
        widht = 1280
        [lines]
        green = 17
        red = 17
        relay_pulse_ms = "500"
        [uplink]
        host = "broker.example.vn"
        tls = false
        port = 0
        [trust]
        city_key = ""
        """,
    )
    assert sorted(mistakes_in(path)) == [
        "camera.fps: input should be less than or equal to 60 (got 300)",
        "camera.widht: unknown key; did you mean 'width'?",
        "door.device: use lower-case letters, digits and dashes only: it becomes an MQTT topic level (got 'Cửa 1')",
        "door.direction: input should be 'entry' or 'exit' (got 'enter')",
        "lines.relay_pulse_ms: input should be a valid integer (got '500')",
        "lines: GPIO 17 is used by green and red: give each line its own",
        "spped: unknown key; remove it",
        "trust.city_key: string should have at least 1 character (got '')",
        "uplink.port: input should be greater than or equal to 1 (got 0)",
        "uplink: tls: without TLS only a broker on this machine is allowed; set tls = true",
    ]


def test_a_password_is_never_shown(folder: Path) -> None:
    """Neither among the effective settings nor in an answer to a mistake."""
    loaded = load(written(folder, '[uplink]\npassword = "s3cret-word"\n'))
    assert 'password = "**********"' in effective(loaded.settings)
    assert "s3cret-word" not in effective(loaded.settings)
    assert mistakes_in(written(folder, "[uplink]\npassword = 12345\n")) == [
        "uplink.password: input should be a valid string"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[camera]\nsource = "v4l2"\n', "camera: path: source 'v4l2' needs one (the device, file or folder)"),
        (
            "[camera]\nlongest_exposure_us = 20000\nfps = 60\n",
            "camera: longest_exposure_us: a frame at fps = 60 lasts 16666 us; shorten one of them",
        ),
        (
            "[camera]\nregion = [0.5, 0.0, 0.6]\n",
            "camera: region: left, top and side must stay within 1, and side be at least 0.2",
        ),
        ("[lines]\nentry_relay = -1\n", "file: lines.entry_relay: a door whose direction is 'entry' needs its relay"),
        ('[uplink]\nkey_file = "k"\n', "uplink: certificate_file and key_file go together; set both or neither"),
        (
            '[journal]\npath = "j"\n',
            "file: journal.path: a journal holds what codes say; remove it, or play a recording",
        ),
        (
            '[camera]\nsource = "visitors"\npath = "v.json"\n',
            "file: lines.pin_factory: simulated visitors must not move a real door; use 'mock'",
        ),
        (
            "[city_data]\nfresh_minutes = 61\nlimit_hours = 1\n",
            "city_data: limit_hours: must not be less than fresh_minutes; data is fresh first, then old",
        ),
        (
            '[city_data]\nrisk_list = "optional"\n',
            "city_data.risk_list: input should be 'required' or 'none' (got 'optional')",
        ),
        (
            '[door]\nalarm = "until_acknowledged"\n',
            "file: door.alarm: staff acknowledge with inputs.staff_override, which this door lacks",
        ),
        (
            "[inputs]\nrequest_to_exit = 5\n[lines]\nexit_relay = -1\n",
            "file: inputs.request_to_exit: needs lines.exit_relay, which it opens",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(folder: Path, text: str, said: str) -> None:
    """A configuration that could not work, or not safely, does not start."""
    assert mistakes_in(written(folder, text)) == [said]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Its own name, not a stack trace."""
    assert mistakes_in(tmp_path / "kiosk.toml") == ["no such file; give the path of a kiosk.toml"]


@pytest.mark.parametrize(("content", "said"), [(b"a = = 1", "not TOML: "), (b"\xff", "byte 0 is not UTF-8")])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    """Where and why."""
    (tmp_path / "kiosk.toml").write_bytes(content)
    (mistake,) = mistakes_in(tmp_path / "kiosk.toml")
    assert mistake.startswith(said)


def test_missing_and_useless_keys_are_named(folder: Path) -> None:
    """Both files at once, and what they need; a trust bundle may still come over the network."""
    (folder / "keys" / "subject.key").write_bytes(b"short")
    (folder / "keys" / "city.pem").unlink()
    assert mistakes_in(written(folder, "")) == [
        (
            f"trust.city_key: {folder / 'keys' / 'city.pem'} cannot be read (No such file or directory);"
            " provisioning puts it there"
        ),
        "trust.subject_key_file: needs at least 32 random bytes",
    ]


def test_a_city_key_of_another_kind_is_named(folder: Path) -> None:
    """The city signs with P-256; anything else is a wrong file."""
    (folder / "keys" / "city.pem").write_bytes(b"-----BEGIN PUBLIC KEY-----")
    assert mistakes_in(written(folder, "")) == [
        "trust.city_key: issuer key 1 is not a PEM public key (-----BEGIN PUBLIC KEY-----)"
    ]


def test_a_line_the_door_lacks_is_not_claimed() -> None:
    """-1 in place of a GPIO."""
    settings = Settings.model_validate({"lines": {"exit_relay": -1, "amber": -1}})
    assert set(settings.lines.gpios()) == {Line.GREEN, Line.RED, Line.BUZZER, Line.ENTRY_RELAY}


def rules_with(folder: Path, old: str, new: str) -> list[str]:
    """Mistakes in the shipped rules after one change."""
    path = folder / "rules.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_rules(path)
    return [line.removeprefix(f"{path}: ") for line in caught.value.mistakes]


def deciding(decisions: dict[str, str]) -> str:
    """The text of the shipped rules with other decisions for some reasons."""
    text = (SHIPPED / "rules.toml").read_text(encoding="utf-8")
    for reason, decision in decisions.items():
        text, changes = re.subn(rf'(\[reasons\.{reason}\]\n(?:#.*\n)*decision = )"\w+"', rf'\1"{decision}"', text)
        assert changes == 1
    return text


def test_the_shipped_rules_answer_every_reason() -> None:
    """No reason is without a decision and words in both languages."""
    rules = load_rules(SHIPPED / "rules.toml")
    assert set(rules.reasons) == set(Reason)
    assert all(rule.wording.vi and rule.wording.en for rule in rules.reasons.values())


def test_rules_that_would_let_a_risk_in_are_refused(folder: Path) -> None:
    """A typing error must not open the door."""
    old = '[reasons."at_risk.symptom"]\ndecision = "denied"'
    assert rules_with(folder, old, old.replace("denied", "granted")) == [
        'reasons."at_risk.symptom": must be decision = "denied" and alarm = true'
    ]


def test_rules_that_would_grant_what_cannot_be_trusted_are_refused(folder: Path) -> None:
    """A forged code is never a ticket."""
    old = '[reasons.signature_invalid]\ndecision = "denied"'
    assert rules_with(folder, old, old.replace("denied", "granted")) == [
        'reasons."signature_invalid": must not be "granted"; use "held" or "denied"'
    ]


@pytest.mark.parametrize("reason", ["unsupported_certificate", "place_code"])
def test_rules_that_would_grant_what_names_nobody_are_refused(folder: Path, reason: str) -> None:
    """A certificate that nobody has opened, or a poster, lets nobody in."""
    rules = (folder / "rules.toml").read_text(encoding="utf-8")
    start = rules.index("decision", rules.index(f"[reasons.{reason}]"))
    line = rules[start : rules.index("\n", start)]
    row = rules[rules.index(f"[reasons.{reason}]") : start] + line
    assert rules_with(folder, row, row.replace(line, 'decision = "granted"')) == [
        f'reasons."{reason}": must not be "granted"; use "held" or "denied"'
    ]


def test_a_missing_reason_and_a_wrong_word_are_named(folder: Path) -> None:
    """Unknown reasons, decisions and keys are all told."""
    assert rules_with(folder, "[reasons.no_declaration]", "[reasons.no_declarations]")[0].startswith(
        "reasons.no_declarations.[key]: input should be 'no_risk'"
    )


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ({"data_stale": "denied"}, ['reasons."data_too_old": must not be milder than "data_stale"; use "denied"']),
        ({"no_risk": "held"}, ['reasons."data_stale": must not be milder than "no_risk"; use "held"']),
        ({"no_risk": "held", "data_stale": "held"}, []),
        ({"data_stale": "held", "data_too_old": "denied"}, []),
    ],
)
def test_rules_that_get_milder_with_age_are_refused(folder: Path, decisions: dict[str, str], said: list[str]) -> None:
    """Older data never opens a door that newer data would keep shut; the fix is named. The city's rules obey too."""
    path = folder / "rules.toml"
    path.write_text(deciding(decisions), encoding="utf-8")
    sent = rules_from_text(deciding(decisions))
    if said:
        with pytest.raises(ConfigError) as caught:
            load_rules(path)
        assert caught.value.mistakes == [f"{path}: {line}" for line in said]
        assert sent == "; ".join(f"the city's rules: {line}" for line in said)
    else:
        assert sent == load_rules(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("test_days = 3", "test_day = 3", "the city's rules: certificates.test_day: unknown key; remove it"),
        (
            "look_back_days = 21",
            "lookback_days = 21",
            "the city's rules: look_back_days: field required; lookback_days: unknown key; did you mean 'look_back",
        ),
        (
            "look_back_days = 21",
            'look_back_days = "some"',
            "the city's rules: look_back_days: input should be a valid integer",
        ),
        ("look_back_days = 21", "look_back_days = = 21", "the city's rules are not TOML: "),
        (
            '[reasons.signature_invalid]\ndecision = "denied"',
            '[reasons.signature_invalid]\ndecision = "granted"',
            'the city\'s rules: reasons."signature_invalid": must not be "granted"',
        ),
    ],
)
def test_what_the_city_sends_is_held_to_the_same_law(old: str, new: str, said: str) -> None:
    """Unknown keys, wrong values and unsafe answers are told, and are no rules."""
    text = (SHIPPED / "rules.toml").read_text(encoding="utf-8")
    assert old in text
    sent = rules_from_text(text.replace(old, new))
    assert isinstance(sent, str)
    assert sent.startswith(said)


@pytest.mark.parametrize("decision", ["held", "granted", "denied"])
def test_a_site_chooses_what_a_code_passed_back_gets(decision: str) -> None:
    """Hard anti-passback holds or denies; soft lets in, and the record says why it should not have been."""
    rules = rules_from_text(deciding({"already_presented": decision}))
    assert not isinstance(rules, str)
    assert rules.reasons[Reason.ALREADY_PRESENTED].decision == decision


SETS = 'symptom_sets = [["cough"], ["fever"], ["short_of_breath"]]'


@pytest.mark.parametrize(
    ("shipped", "changed", "said"),
    [
        (SETS, "symptom_sets = [['cough'], ['fever', 'short_of_breath'], []]", ["symptom_sets: an empty set makes"]),
        (SETS, "symptom_sets = [['cough', 'fever']]", ["symptom_sets: short_of_breath stands in none;"]),
        ("declaration_hours = 24", "declaration_hours = 0", ["declaration_hours: give 1 to 168"]),
    ],
)
def test_rules_about_declarations_stop_who_is_at_risk(
    folder: Path, shipped: str, changed: str, said: list[str]
) -> None:
    """A symptom that no set names, an empty set, and an age without sense are each told."""
    assert [line[: len(said[0])] for line in rules_with(folder, shipped, changed)] == said
