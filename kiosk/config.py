"""What a technician writes becomes frozen settings, or every mistake at once.

Two TOML files: kiosk.toml (this door) and rules.toml (what each reason does and says). A mistake names file, key and
fix; an unknown key gets the nearest known one as a suggestion. Defaults stand here once; config/kiosk.toml shows them
and a test keeps the two equal. It decides nothing about people. The command line calls it, once, at start.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from kiosk.credentials import Keyring
from kiosk.errors import ConfigError
from kiosk.messages import RELAYS, Decision, Direction, Line, Reason, Screen
from kiosk.risk import Rules

SUBJECT_KEY_BYTES = 32
"""HMAC-SHA256 keys shorter than its output weaken it (RFC 2104, section 3)."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _is_topic_level(text: str) -> str:
    if not text.isascii() or not text.replace("-", "").isalnum() or text != text.lower():
        raise ValueError("use lower-case letters, digits and dashes only: it becomes an MQTT topic level")
    return text


FileName = Annotated[str, Field(min_length=1)]
Gpio = Annotated[int, Field(ge=0, le=27)]
"""A Broadcom GPIO number on the 40-pin header."""


class DoorSettings(_Section):
    """[door] who and where this kiosk is."""

    device: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_is_topic_level)] = "door-01"
    place: Annotated[str, Field(min_length=1, max_length=64)] = "place-0001"
    access_point: Annotated[str, Field(min_length=1, max_length=64)] = "main"
    direction: Literal["entry", "exit"] = "entry"
    absence_ms: Annotated[int, Field(ge=200, le=10_000)] = 1500
    repeat_window_s: Annotated[int, Field(ge=0, le=3600)] = 30


class CameraSettings(_Section):
    """[camera] where frames come from."""

    source: Literal["picamera2", "v4l2", "video", "images", "visitors"] = "picamera2"
    path: str = ""
    width: Annotated[int, Field(ge=320, le=4608)] = 1280
    height: Annotated[int, Field(ge=240, le=2592)] = 720
    fps: Annotated[int, Field(ge=5, le=60)] = 30

    @model_validator(mode="after")
    def _path_belongs(self) -> Self:
        if self.source != "picamera2" and not self.path:
            raise ValueError(f"path: source {self.source!r} needs one (the device, file or folder)")
        return self


class LineSettings(_Section):
    """[lines] what hangs on which GPIO; leave a line out when the door has none."""

    pin_factory: Literal["lgpio", "rpigpio", "mock"] = "lgpio"
    green: Gpio | None = 17
    amber: Gpio | None = 27
    red: Gpio | None = 22
    buzzer: Gpio | None = 23
    entry_relay: Gpio | None = 24
    exit_relay: Gpio | None = 25
    active_low: list[Literal["green", "amber", "red", "buzzer", "entry_relay", "exit_relay"]] = []
    relay_pulse_ms: Annotated[int, Field(ge=100, le=5000)] = 500

    def gpios(self) -> dict[Line, int]:
        """Every line this door has, and its GPIO."""
        return {line: gpio for line in Line if (gpio := getattr(self, line.value)) is not None}

    @model_validator(mode="after")
    def _no_clash(self) -> Self:
        by_gpio: dict[int, list[str]] = {}
        for line, gpio in self.gpios().items():
            by_gpio.setdefault(gpio, []).append(line.value)
        clashes = [f"GPIO {gpio} is used by {' and '.join(names)}" for gpio, names in by_gpio.items() if len(names) > 1]
        if clashes:
            raise ValueError("; ".join(clashes) + ": give each line its own")
        return self


class TrustSettings(_Section):
    """[trust] whose declarations count, and the key that turns a person into a pseudonym."""

    declaration_keys: Annotated[list[FileName], Field(min_length=1)] = ["keys/declaration.pem"]
    subject_key_file: FileName = "keys/subject.key"


class OutboxSettings(_Section):
    """[outbox] the durable queue."""

    path: FileName = "/var/lib/kiosk/outbox.sqlite3"


class UplinkSettings(_Section):
    """[uplink] the city's broker."""

    host: Annotated[str, Field(min_length=1, max_length=253)] = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 8883
    username: str = ""
    password: SecretStr = SecretStr("")
    tls: bool = True
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.tls and not _is_loopback(self.host):
            raise ValueError("tls: without TLS only a broker on this machine is allowed; set tls = true")
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file go together; set both or neither")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ScreenSettings(_Section):
    """[screen] the page at the door; always on loopback."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8080


class ClockSettings(_Section):
    """[clock] when UTC is believed."""

    trust: Literal["timesyncd", "always"] = "timesyncd"


class JournalSettings(_Section):
    """[journal] a trace of inputs and effects, for replay; it holds what codes say, so never with live people."""

    path: str = ""


class Settings(_Section):
    """kiosk.toml, whole. `rules_file` and all other relative paths start at the file's own folder."""

    rules_file: FileName = "rules.toml"
    door: DoorSettings = DoorSettings()
    camera: CameraSettings = CameraSettings()
    lines: LineSettings = LineSettings()
    trust: TrustSettings = TrustSettings()
    outbox: OutboxSettings = OutboxSettings()
    uplink: UplinkSettings = UplinkSettings()
    screen: ScreenSettings = ScreenSettings()
    clock: ClockSettings = ClockSettings()
    journal: JournalSettings = JournalSettings()

    @model_validator(mode="after")
    def _no_play_at_a_real_door(self) -> Self:
        if self.camera.source == "visitors" and self.lines.pin_factory != "mock":
            raise ValueError("lines.pin_factory: simulated visitors must not move a real door; use 'mock'")
        return self

    @model_validator(mode="after")
    def _journal_without_people(self) -> Self:
        if self.journal.path and self.camera.source in {"picamera2", "v4l2"}:
            raise ValueError("journal.path: a journal holds what codes say; remove it, or play a recording")
        return self

    @model_validator(mode="after")
    def _relay_for_direction(self) -> Self:
        relay = RELAYS[Direction(self.door.direction)]
        if relay not in self.lines.gpios():
            raise ValueError(f"lines.{relay}: a door whose direction is {self.door.direction!r} needs its relay")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Everything the daemon starts from: settings with absolute paths, the rules, and the keys."""

    settings: Settings
    rules: Rules
    keyring: Keyring


_RULES = TypeAdapter(Rules)
_PATHS = (  # relative ones start at the folder of kiosk.toml
    ("camera", "path"),
    ("trust", "subject_key_file"),
    ("outbox", "path"),
    ("uplink", "ca_file"),
    ("uplink", "certificate_file"),
    ("uplink", "key_file"),
    ("journal", "path"),
)


def load(path: Path) -> Loaded:
    """Read kiosk.toml and all it names.

    Raises:
        ConfigError: with every mistake in every file.
    """
    mistakes: list[str] = []
    settings = _settings_from(_read_toml(path), path, mistakes)
    settings = _with_absolute_paths(settings, path.parent.absolute())
    rules = _rules_from(Path(settings.rules_file), mistakes)
    keyring = _keys_from(settings.trust, path, mistakes)
    if mistakes or rules is None or keyring is None:
        raise ConfigError(mistakes)
    return Loaded(settings=settings, rules=rules, keyring=keyring)


def load_rules(path: Path) -> Rules:
    """Read a rules file alone.

    Raises:
        ConfigError: with every mistake in it.
    """
    mistakes: list[str] = []
    rules = _rules_from(path, mistakes)
    if rules is None:
        raise ConfigError(mistakes)
    return rules


def effective(settings: Settings) -> str:
    """Write settings as TOML-like lines, secrets masked."""
    lines = []
    for name, value in settings:
        if isinstance(value, _Section):
            lines.append(f"\n[{name}]")
            lines += [f"{key} = {_shown(item)}" for key, item in value]
        else:
            lines.append(f"{name} = {_shown(value)}")
    return "\n".join(lines)


def _shown(value: object) -> str:
    if value is None:
        return "(none)"
    return json.dumps(str(value) if isinstance(value, SecretStr) else value, ensure_ascii=False)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError([f"{path}: no such file; give the path of a kiosk.toml"]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}); check its owner and mode"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not TOML: {error}"]) from error


def _settings_from(raw: dict[str, Any], path: Path, mistakes: list[str]) -> Settings:
    """Validate; then leave out what was wrong and validate again, so that clashes hidden behind it show too."""
    while True:
        try:
            return Settings.model_validate(raw)
        except ValidationError as error:
            mistakes += [f"{path}: {line}" for line in _mistakes(error, Settings)]
            for item in error.errors():
                _drop(raw, item["loc"])


def _drop(raw: dict[str, Any], loc: tuple[int | str, ...]) -> None:
    """Take the mistaken key out; a mistake of a whole section takes the section."""
    if not loc:
        raw.clear()
        return
    table = raw.get(str(loc[0])) if len(loc) > 1 else raw
    key = str(loc[min(len(loc), 2) - 1])
    if isinstance(table, dict) and key in table:
        del table[key]
    else:
        raw.pop(str(loc[0]), None)


def _rules_from(path: Path, mistakes: list[str]) -> Rules | None:
    try:
        rules = _RULES.validate_python(_read_toml(path), extra="forbid")
    except ConfigError as error:
        mistakes += error.mistakes
        return None
    except ValidationError as error:
        mistakes += [f"{path}: {line}" for line in _mistakes(error, Rules)]
        return None
    unsafe = [f"{path}: {line}" for line in _unsafe(rules)]
    mistakes += unsafe
    return None if unsafe else rules


def _unsafe(rules: Rules) -> Iterator[str]:
    """Rules may be worded and tuned, but not so that someone at risk walks in or a reason has no answer."""
    for reason in Reason:
        rule = rules.reasons.get(reason)
        if rule is None:
            yield f'reasons."{reason}": missing; every reason needs a decision and its wording'
        elif reason.startswith("at_risk.") and not (rule.decision is Decision.DENIED and rule.alarm):
            yield f'reasons."{reason}": must be decision = "denied" and alarm = true'
        elif reason in _NEVER_GRANTED and rule.decision is Decision.GRANTED:
            yield f'reasons."{reason}": must not be "granted"; use "held" or "denied"'
    for screen in (Screen.ATTRACT, Screen.OUT_OF_ORDER):
        if screen not in rules.screens:
            yield f"screens.{screen}: missing; the page needs its wording"


_NEVER_GRANTED = frozenset(
    {
        Reason.SIGNATURE_INVALID,
        Reason.ISSUER_UNKNOWN,
        Reason.MALFORMED,
        Reason.UNKNOWN_FORMAT,
        Reason.RECORD_UNAVAILABLE,
        Reason.LEFT_BEFORE_VERDICT,
    }
)


def _keys_from(trust: TrustSettings, path: Path, mistakes: list[str]) -> Keyring | None:
    subject_key = _file_bytes(Path(trust.subject_key_file), f"{path}: trust.subject_key_file", mistakes)
    pems = [_file_bytes(Path(name), f"{path}: trust.declaration_keys", mistakes) for name in trust.declaration_keys]
    if subject_key is not None and len(subject_key) < SUBJECT_KEY_BYTES:
        mistakes.append(f"{path}: trust.subject_key_file: needs at least {SUBJECT_KEY_BYTES} random bytes")
        return None
    if subject_key is None or None in pems:
        return None
    try:
        return Keyring.from_pem(subject_key=subject_key, issuer_pems=[pem for pem in pems if pem])
    except ValueError as error:
        mistakes.append(f"{path}: trust.declaration_keys: {error}")
        return None


def _file_bytes(name: Path, key: str, mistakes: list[str]) -> bytes | None:
    try:
        return name.read_bytes()
    except OSError as error:
        mistakes.append(f"{key}: {name} cannot be read ({error.strerror}); provisioning puts it there")
        return None


def _with_absolute_paths(settings: Settings, folder: Path) -> Settings:
    changed: dict[str, Any] = {"rules_file": str(folder / settings.rules_file)}
    for section, key in _PATHS:
        table = changed.get(section, getattr(settings, section))
        if name := getattr(table, key):
            changed[section] = table.model_copy(update={key: str(folder / name)})
    keys = [str(folder / name) for name in settings.trust.declaration_keys]
    changed["trust"] = changed["trust"].model_copy(update={"declaration_keys": keys})
    return settings.model_copy(update=changed)


def _mistakes(error: ValidationError, model: type[object]) -> Iterator[str]:
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "file"
        yield f"{key}: {_fix(item, model)}"


def _fix(item: ErrorDetails, model: type[object]) -> str:
    if item["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        near = difflib.get_close_matches(str(item["loc"][-1]), _known_keys(model, item["loc"][:-1]), n=1, cutoff=0.5)
        return f"unknown key; did you mean {near[0]!r}?" if near else "unknown key; remove it"
    said = item["msg"].removeprefix("Value error, ")
    secret = "password" in item["loc"]
    given = item["input"]
    shown = f" (got {given!r})" if not secret and isinstance(given, str | int | float | bool) else ""
    return said[:1].lower() + said[1:] + shown


def _known_keys(model: type[object], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else model
    return list(getattr(model, "model_fields", None) or getattr(model, "__dataclass_fields__", {}))
