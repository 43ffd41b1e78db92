"""What docs/commands.md says of the format, the orders and the figures, held against the code."""

import re
from dataclasses import asdict
from pathlib import Path

import cbor2

from city import command as city_command
from city.command_cli import WAIT_S
from kiosk import commands, diagnostics, errands
from kiosk.command_desk import FILE, REPORT_EVERY_NS, limits_of
from kiosk.commands import encoded
from kiosk.device_keys import PAIR
from kiosk.diagnostics import Holdings, report
from kiosk.machine import Vitals
from kiosk.messages import Order
from kiosk.orders import REFUSED
from kiosk.settings import CommandSettings
from tests.builders import at_ms
from tests.commands import LIMITS, SAID

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
LINE = " ".join(PAGE.split())
TYPES = {"tstr": str, "uint": int, "order": str, '"command"': str}


def grammar() -> tuple[str, str]:
    """The two rules of the CDDL: the map, and the orders."""
    found = re.search(r"```cddl\ncommand = \{\n(.*?)\n\}\norder = (.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1], found[2]


def rows() -> dict[str, list[str]]:
    """The table of orders: what the door does, its setting, and when it is refused."""
    found = re.findall(r"^\| `([a-z_]+)` \| (.*?) \| (.*?) ?\| (.*?) ?\|$", PAGE, re.MULTILINE)
    return {order: [does, longest, refused] for order, does, longest, refused in found if order in list(Order)}


def test_the_grammar_is_the_format() -> None:
    """Every key of a command is in the CDDL with its type, in order, and no other."""
    entries = re.findall(r"^  (\d+) => (\S+?)(?: \.size .*?)?,", grammar()[0], re.MULTILINE)
    content = cbor2.loads(encoded(SAID))
    assert [int(key) for key, _ in entries] == list(content)
    assert [TYPES[kind] for _, kind in entries] == [type(value) for value in content.values()]
    assert content[commands.KIND] == "command"
    assert re.findall(r'"([a-z_]+)"', grammar()[1]) == list(Order)


def test_the_table_has_every_order_and_its_limit() -> None:
    """As kiosk.toml has them at first."""
    settings = CommandSettings()
    assert list(rows()) == list(Order)
    for order, (_, longest, _) in rows().items():
        limit = limits_of(settings).longest_s.get(Order(order))
        assert longest == (f"`longest_{order}_s` = {limit}" if limit else ""), order
    assert set(LIMITS.longest_s) == commands.LASTING


def test_the_table_says_which_orders_a_fire_refuses() -> None:
    """And which it does not."""
    in_fire = next(orders for fact, orders, _ in REFUSED if fact == "fire")
    assert {Order(order) for order, (_, _, refused) in rows().items() if "fire" in refused} == in_fire


def test_the_figures_are_the_code_s() -> None:
    """Sizes, times and names of files."""
    for said in (
        f"at most {commands.MOST_BYTES // 1024} KB",
        f"longer than {commands.MOST_TEXT:,} characters",
        f"more than {commands.AHEAD_S} s in its future",
        f"or after {errands.RESYNC_WITHIN_S} s",
        f"JSON of at most {diagnostics.MOST_BYTES // 1024} KB",
        f"`{FILE}` in `[city_data] folder`",
        f"as one file, `{PAIR}`",
        f"within `--wait` ({WAIT_S} s)",
        f"`{city_command.NUMBERS}` beside the key",
        f"only the user `{city_command.USER}`",
    ):
        assert said in LINE, said
    assert "Valid for more than a day" in LINE
    assert (commands.LONGEST_VALID_S, REPORT_EVERY_NS) == (86_400, 60 * 10**9)
    assert {order.value for order in commands.TIMELESS} == {"diagnostics", "resync"}


def test_every_field_of_a_report_is_explained() -> None:
    """And no other."""
    vitals = Vitals(temperature_c=None, throttled=None, memory_free_mb=None, disk_free_mb=None, up_s=None)
    holdings = Holdings(
        trust_version=0, risk_list_version=0, risk_list_made=None, certificate_until=None, waiting=0, last_command=0
    )
    text = report(at_ms(0), version="", boot_id="", faults={}, vitals=asdict(vitals), holdings=holdings)
    table = PAGE[PAGE.index("| field | says |") : PAGE.index("## The command key")]
    told = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(told) == sorted(re.findall(r'"(\w+)":', text))
