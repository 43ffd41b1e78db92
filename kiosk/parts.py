"""What a daemon is made of: the hardware, the clock, and what its configuration says of each pure part.

Refuses to know threads. `kiosk.cli` and the tests fill in `Parts`; the daemon makes the rest of it; a journal is
replayed against `gate_for`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from kiosk import wire
from kiosk.camera import FrameSource
from kiosk.clock import Clock, boot_id
from kiosk.config import Loaded
from kiosk.gate import Gate
from kiosk.gate_settings import CityData, GateSettings
from kiosk.gpio_alerts import Lines, Player, limits_for
from kiosk.interlock import Interlock
from kiosk.line_inputs import Inputs
from kiosk.messages import RELAYS, Direction, Line
from kiosk.supervisor import (
    LATE_AFTER_NS,
    MACHINE_LATE_AFTER_NS,
    UPLINK_LATE_AFTER_NS,
    DeadMan,
    ServiceNotifier,
)

_NOBODY_WATCHES = DeadMan()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What differs between a door, a demo and a test: the hardware, the clock, and what is configured."""

    loaded: Loaded
    clock: Clock
    open_camera: Callable[[], FrameSource]
    lines: Lines
    notifier: ServiceNotifier
    dead_man: DeadMan = _NOBODY_WATCHES
    inputs: Inputs | None = None
    journal: TextIO | None = None
    runtime: Path | None = None


def gate_for(loaded: Loaded, city: CityData) -> Gate:
    """Make the gate a configuration describes; also what a journal is replayed against."""
    door, lines, data = loaded.settings.door, loaded.settings.lines, loaded.settings.city_data
    settings = GateSettings(
        direction=Direction(door.direction),
        relay_ms={direction: lines.relay_ms(relay) for direction, relay in RELAYS.items()},
        hold=frozenset(direction for direction, relay in RELAYS.items() if relay.value in lines.hold),
        absence_ms=door.absence_ms,
        repeat_window_s=door.repeat_window_s,
        frame_size=(loaded.settings.camera.width, loaded.settings.camera.height),
        freshness=data.freshness(),
        look_up=data.look_up,
        pass_within_s=door.pass_within_s,
        alarm_waits=door.alarm == "until_acknowledged",
        escalate_after_s=loaded.settings.alerts.escalate_after_s,
        most_escalations=loaded.settings.alerts.most_escalations,
        quiet=lines.quiet(),
        opens_without=frozenset({"camera"} if door.direction == "exit" else door.opens_without),
    )
    return Gate(settings, city)


def origin_of(loaded: Loaded) -> wire.Origin:
    """Who speaks to the city."""
    door = loaded.settings.door
    return wire.Origin(device=door.device, place=door.place, access_point=door.access_point, boot_id=boot_id())


def late_after(parts: Parts) -> dict[str, int]:
    """How long each stage may go without a stamp."""
    stages = ("camera", "decoder", "search", "outbox", "machine", "screen", *(["inputs"] if parts.inputs else []))
    return {**dict.fromkeys(stages, LATE_AFTER_NS), "machine": MACHINE_LATE_AFTER_NS, "uplink": UPLINK_LATE_AFTER_NS}


def player_for(parts: Parts) -> Player:
    """The lines behind their interlock."""
    lines = parts.loaded.settings.lines
    fitted, freed = lines.gpios(), frozenset(map(Line, lines.fire_on))
    longest_ms = max(map(lines.relay_ms, RELAYS.values()))
    return Player(parts.lines, frozenset(fitted), Interlock(limits_for(fitted, longest_ms, freed)))
