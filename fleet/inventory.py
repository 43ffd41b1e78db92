"""PURE. The doors a technician looks after, from TOML or CSV; every mistake at once, with file, door, key and fix.

A TOML inventory may name a CSV (`doors_file`) for its rows. What `kiosk.toml` of a door becomes is put together here,
from the kind of hardware, all doors' settings, the site's and the door's own, the last word winning; and it is
checked by the kiosk's own rules, so that a mistake is found on the laptop, not at the door.
"""

import csv
import difflib
import io
import json
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from fleet.errors import InventoryError
from fleet.hardware import KINDS, SCREEN_PACKAGE, SCREEN_UNIT
from kiosk.settings import Settings

Word = Annotated[str, Field(min_length=1, max_length=253)]
Read = Callable[[str], str]
"""Gives the text of a file that an inventory names."""
HEADER = "# Written whole by kiosk-fleet from the inventory: change it there, not here.\n"
OWN = {"uplink": {"ca_file": "keys/ca.pem", "certificate_file": "keys/device.pem", "key_file": "keys/device.key"}}
"""The files that kiosk-fleet puts on a door that speaks TLS."""


class Door(BaseModel):
    """One row: where a door is reached, and what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Word
    host: Word
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: Word = "pi"
    site: str = ""
    place: Word
    access_point: Word
    direction: Literal["entry", "exit"]
    hardware: str = "pi"
    screen: bool = False
    os: Literal["bookworm", "trixie", ""] = ""
    settings: dict[str, Any] = {}

    @property
    def packages(self) -> list[str]:
        """What it needs from the system."""
        return [*KINDS[self.hardware].packages, *([SCREEN_PACKAGE] if self.screen else [])]

    @property
    def units(self) -> list[str]:
        """What starts with it, beside the kiosk."""
        return [SCREEN_UNIT] if self.screen else []

    def kiosk_toml(self) -> str:
        """The whole kiosk.toml; `settings` are already put together."""
        return HEADER + _toml(self.settings)


def read(name: str, text: str, read_other: Read) -> list[Door]:
    """Make doors of an inventory's text; `name` ends in .csv or .toml.

    Raises:
        InventoryError: with every mistake in it.
    """
    mistakes: list[str] = []
    common, rows = _csv(name, text) if name.endswith(".csv") else _toml_rows(name, text, read_other)
    mistakes += _unknown_tables(name, common)
    doors = [door for where, row in rows if (door := _door(where, row, common, mistakes))]
    mistakes += _twice(name, doors)
    if not rows and not mistakes:
        mistakes.append(f"{name}: no door in it; write a [[doors]] table, or a row below the heading of a CSV")
    if mistakes:
        raise InventoryError(mistakes)
    return doors


Row = tuple[str, dict[str, Any]]


def _csv(name: str, text: str) -> tuple[dict[str, Any], list[Row]]:
    reader = csv.DictReader(io.StringIO(text))
    rows = []
    for row in reader:
        where = f"{name}: line {reader.line_num}"
        if row.pop(None, None) or None in row.values():  # DictReader keeps surplus fields under None
            raise InventoryError([f"{where}: not as many fields as the heading has; is a comma missing?"])
        rows.append((where, {key.strip(): value.strip() for key, value in row.items() if value.strip()}))
    return {}, rows


def _toml_rows(name: str, text: str, read_other: Read) -> tuple[dict[str, Any], list[Row]]:
    try:
        common = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InventoryError([f"{name}: not TOML: {error}"]) from error
    tables = common.pop("doors", [])
    if not isinstance(tables, list) or not all(isinstance(row, dict) for row in tables):
        raise InventoryError([f"{name}: doors: write each as a [[doors]] table"])
    rows = [(f"{name}: door {number}", row) for number, row in enumerate(tables, 1)]
    if other := common.pop("doors_file", None):
        rows += _csv(other, read_other(other))[1]
    return common, rows


def _unknown_tables(name: str, common: Mapping[str, Any]) -> Iterator[str]:
    known = ["defaults", "settings", "sites", "doors", "doors_file"]
    for key, value in common.items():
        if key not in known:
            yield f"{name}: {key}: unknown; {_nearest(key, known)}"
        elif not isinstance(value, dict):
            yield f"{name}: {key}: must be a table"


def _door(where: str, row: Mapping[str, Any], common: Mapping[str, Any], mistakes: list[str]) -> Door | None:
    named = f"{where} ({row['device']})" if "device" in row else where
    try:
        door = Door.model_validate({**common.get("defaults", {}), **row})
    except ValidationError as error:
        mistakes += [f"{named}: {_key(item)}: {_fix(item)}" for item in error.errors()]
        return None
    if door.hardware not in KINDS:
        mistakes.append(f"{named}: hardware: {door.hardware!r} is no kind of door; {_nearest(door.hardware, KINDS)}")
        return None
    sites: Mapping[str, Any] = common.get("sites", {})
    if sites and door.site and door.site not in sites:
        mistakes.append(f"{named}: site: there is no [sites.{door.site}]; {_nearest(door.site, sites)}")
        return None
    tables = _merged(
        [KINDS[door.hardware].settings, common.get("settings", {}), sites.get(door.site, {}), door.settings]
    )
    who = {name: getattr(door, name) for name in ("device", "place", "access_point", "direction")}
    tables = _merged([tables, {"door": who}])
    if tables.get("uplink", {}).get("tls", True):
        tables = _merged([OWN, tables])
    try:
        Settings.model_validate(tables)
    except ValidationError as error:
        mistakes += [f"{named}: settings: {_key(item)}: {_fix(item)}" for item in error.errors()]
        return None
    return door.model_copy(update={"settings": tables})


def _twice(name: str, doors: Iterable[Door]) -> Iterator[str]:
    doors = list(doors)
    for device, times in Counter(door.device for door in doors).items():
        if times > 1:
            yield f"{name}: device: {device!r} stands {times} times; every door has its own name at the broker"
    for (host, port), times in Counter((door.host, door.port) for door in doors).items():
        if times > 1:
            yield f"{name}: host: {host}:{port} stands {times} times; one of them is another machine"


def _merged(tables: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put tables on top of each other, key by key, two levels deep as kiosk.toml is."""
    whole: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            whole[key] = {**whole.get(key, {}), **value} if isinstance(value, Mapping) else value
    return whole


def _key(item: ErrorDetails) -> str:
    return ".".join(map(str, item["loc"])) or "door"


def _fix(item: ErrorDetails) -> str:
    if item["type"] == "extra_forbidden":
        known = Door.model_fields if len(item["loc"]) == 1 else ()
        return f"unknown; {_nearest(str(item['loc'][-1]), known)}"
    if item["type"] == "missing":
        return "missing; every door needs it"
    said = item["msg"].removeprefix("Value error, ")
    given, secret = item["input"], "password" in item["loc"]
    return said + (f" (got {given!r})" if not secret and isinstance(given, str | int | float) else "")


def _nearest(word: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}" if names else "remove it"


def _toml(tables: Mapping[str, Any]) -> str:
    """TOML of what kiosk.toml can hold: values first, then tables of values."""
    lines = [f"{key} = {_value(value)}" for key, value in tables.items() if not isinstance(value, Mapping)]
    for name, table in tables.items():
        if isinstance(table, Mapping):
            lines += [f"\n[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
