"""What a technician writes becomes frozen settings, or every mistake at once.

Two TOML files: kiosk.toml (this door, `kiosk.settings`) and rules.toml (what each reason does and says). A mistake
names file, key and fix; an unknown key gets the nearest known one as a suggestion. It decides nothing about people.
The command line calls it, once, at start.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import (
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails

from kiosk.credentials import link
from kiosk.credentials.keyring import city_issuers
from kiosk.errors import ConfigError
from kiosk.languages import Language, read_language
from kiosk.messages import Decision, Reason, Screen, Symptom
from kiosk.risk import WEIGHT, Rules
from kiosk.settings import Section, Settings, TrustSettings
from kiosk.trust import Issuers

MOST_DECLARATION_HOURS = 168
SUBJECT_KEY_BYTES = 32
"""HMAC-SHA256 keys shorter than its output weaken it (RFC 2104, section 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Everything the daemon starts from: settings with absolute paths, the site's rules, and two keys.

    `city` is the city's own key as `kiosk.trust` wants it; `subject_key` makes the pseudonyms; `languages` are more of
    them for the page.
    """

    settings: Settings
    rules: Rules
    city: Issuers
    subject_key: bytes = field(repr=False)
    languages: tuple[Language, ...] = ()


_RULES = TypeAdapter(Rules)
_PATHS = (  # relative ones start at the folder of kiosk.toml
    ("camera", "path"),
    ("trust", "city_key"),
    ("trust", "bundle"),
    ("trust", "subject_key_file"),
    ("city_data", "folder"),
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
    city = _city_from(settings.trust, path, mistakes)
    subject_key = _subject_key_from(settings.trust, path, mistakes)
    languages = tuple(_languages_from(settings, path.parent, mistakes))
    if mistakes or rules is None or city is None or subject_key is None:
        raise ConfigError(mistakes)
    return Loaded(settings=settings, rules=rules, city=city, subject_key=subject_key, languages=languages)


def _languages_from(settings: Settings, folder: Path, mistakes: list[str]) -> Iterator[Language]:
    for name in settings.screen.languages:
        read = read_language(folder / name)
        if isinstance(read, Language):
            yield read
        else:
            mistakes += read


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


def rules_from_text(text: str) -> Rules | str:
    """Read the rules that the city sends in its bundle, by the same law as a site's; a sentence where they break it."""
    try:
        rules = _RULES.validate_python(tomllib.loads(text), extra="forbid")
    except tomllib.TOMLDecodeError as error:
        return f"the city's rules are not TOML: {error}"
    except ValidationError as error:
        return "the city's rules: " + "; ".join(_mistakes(error, Rules))
    return "; ".join(f"the city's rules: {line}" for line in _unsafe(rules)) or rules


def effective(settings: Settings) -> str:
    """Write settings as TOML-like lines, secrets masked."""
    lines = []
    for name, value in settings:
        if isinstance(value, Section):
            lines.append(f"\n[{name}]")
            lines += [f"{key} = {_shown(item)}" for key, item in value]
        else:
            lines.append(f"{name} = {_shown(value)}")
    return "\n".join(lines)


def _shown(value: object) -> str:
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


def _unsafe_about_declarations(rules: Rules) -> Iterator[str]:
    if any(not some for some in rules.symptom_sets):
        yield "symptom_sets: an empty set makes everybody at risk; name a symptom in it"
    for symptom in sorted(set(Symptom).difference(*rules.symptom_sets)):
        yield f"symptom_sets: {symptom} stands in none; nobody with it would be stopped"
    if not 1 <= rules.declaration_hours <= MOST_DECLARATION_HOURS:
        yield f"declaration_hours: give 1 to {MOST_DECLARATION_HOURS}"


def _unsafe(rules: Rules) -> Iterator[str]:
    """Rules may be worded and tuned, but not so that someone at risk walks in or a reason has no answer."""
    for reason in Reason:
        rule = rules.reasons.get(reason)
        if rule is None:
            yield f'reasons."{reason}": missing; every reason needs a decision and its wording'
        elif reason.startswith("at_risk.") and not (rule.decision is Decision.DENIED and rule.alarm):
            yield f'reasons."{reason}": must be decision = "denied" and alarm = true'
        elif rule.alarm and not reason.startswith("at_risk."):
            yield f'reasons."{reason}": alarm = true is for at_risk.* only: it calls the health authority'
        elif reason in _NEVER_GRANTED and rule.decision is Decision.GRANTED:
            yield f'reasons."{reason}": must not be "granted"; use "held" or "denied"'
    yield from _unsafe_about_declarations(rules)
    for beginning in rules.links:
        if not link.BEGINNING.fullmatch(beginning):
            yield f"links: {beginning!r} is too little: scheme, whole host and a slash, or at least four characters"
    yield from _milder_with_age(rules)
    for name, table, needed in (
        ("screens", rules.screens, (Screen.ATTRACT, Screen.OUT_OF_ORDER, Screen.LOCKED, Screen.FIRE)),
        ("exits", rules.exits, (Screen.GRANTED, Screen.AT_RISK)),
    ):
        yield from (f"{name}.{screen}: missing; the page needs its wording" for screen in needed if screen not in table)


def _milder_with_age(rules: Rules) -> Iterator[str]:
    for newer, older in pairwise(reason for reason in _BY_AGE if reason in rules.reasons):
        least = rules.reasons[newer].decision
        if WEIGHT[rules.reasons[older].decision] < WEIGHT[least]:
            yield f'reasons."{older}": must not be milder than "{newer}"; use "{least}"'


_BY_AGE = (Reason.NO_RISK, Reason.DATA_STALE, Reason.DATA_TOO_OLD)
"""What somebody without a risk gets as the city's data gets older: never anything milder."""

_NEVER_GRANTED = frozenset(
    {
        Reason.SIGNATURE_INVALID,
        Reason.ISSUER_UNKNOWN,
        Reason.MALFORMED,
        Reason.UNSUPPORTED_CERTIFICATE,
        Reason.ISSUER_NOT_ENTITLED,
        Reason.CERTIFICATE_REVOKED,
        Reason.UNRESOLVED_CODE,
        Reason.TRUST_MISSING,
        Reason.DATA_TOO_OLD,
        Reason.PLACE_CODE,
        Reason.UNKNOWN_FORMAT,
        Reason.RECORD_UNAVAILABLE,
        Reason.LEFT_BEFORE_VERDICT,
    }
)


def _city_from(trust: TrustSettings, path: Path, mistakes: list[str]) -> Issuers | None:
    pem = _file_bytes(Path(trust.city_key), f"{path}: trust.city_key", mistakes)
    if pem is None:
        return None
    try:
        return city_issuers(pem)
    except ValueError as error:
        mistakes.append(f"{path}: trust.city_key: {error}")
        return None


def _subject_key_from(trust: TrustSettings, path: Path, mistakes: list[str]) -> bytes | None:
    key = _file_bytes(Path(trust.subject_key_file), f"{path}: trust.subject_key_file", mistakes)
    if key is not None and len(key) < SUBJECT_KEY_BYTES:
        mistakes.append(f"{path}: trust.subject_key_file: needs at least {SUBJECT_KEY_BYTES} random bytes")
        return None
    return key


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
    return settings.model_copy(update=changed)


def _mistakes(error: ValidationError, model: type[object]) -> Iterator[str]:
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "file"
        yield f"{key}: {_fix(item, model)}"


def _fix(item: ErrorDetails, model: type[object]) -> str:
    if item["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        near = difflib.get_close_matches(str(item["loc"][-1]), _known_keys(model, item["loc"][:-1]), n=1, cutoff=0.5)
        return f"unknown key; did you mean {near[0]!r}?" if near else "unknown key; remove it"
    ours = item["type"] == "value_error"
    said = item["msg"].removeprefix("Value error, ") if ours else item["msg"][:1].lower() + item["msg"][1:]
    secret = "password" in item["loc"]
    given = item["input"]
    shown = f" (got {given!r})" if not secret and isinstance(given, str | int | float | bool) else ""
    return said + shown


def _known_keys(model: type[object], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else model
    return list(getattr(model, "model_fields", None) or getattr(model, "__dataclass_fields__", {}))
