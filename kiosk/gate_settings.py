"""PURE. What a gate goes by: what its site has chosen, and what the city has sent. Made by the daemon's first lines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time

from kiosk.messages import Credential, Direction, Refusal
from kiosk.risk import Freshness, Rules
from kiosk.risk_list import RiskList


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What a site chooses. `repeat_window_s`: a person granted entry is not granted again for so long.

    `relay_ms` is how long one opening drives each relay; those in `hold` are on until somebody has passed, and so long
    at most. `frame_size` is the camera's width and height in pixels. `freshness` is None where the site goes without
    the city's risk list. `look_up`: ask the city about people whose code only says who they are. `pass_within_s`: how
    long a grant is good for where passages are seen. `alarm_waits`: an alarm lasts until staff acknowledge it.
    `opens_without` names the stages without which the lane opens again and again instead of staying shut (fail-safe).
    `quiet`: Vietnamese time from when to when the buzzer rests, over midnight if need be.
    """

    direction: Direction
    relay_ms: Mapping[Direction, int]
    hold: frozenset[Direction]
    absence_ms: int
    repeat_window_s: int
    frame_size: tuple[int, int]
    freshness: Freshness | None
    look_up: bool
    pass_within_s: int
    alarm_waits: bool
    escalate_after_s: int
    most_escalations: int
    opens_without: frozenset[str] = frozenset()
    quiet: tuple[time, time] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CityData:
    """What the city has sent, as one value: it changes as a whole, between two steps.

    `read` turns a payload into a credential or a refusal, with the keys the city trusts; pure. `trusting` is false
    while there is no trust bundle.
    """

    rules: Rules
    read: Callable[[bytes], Credential | Refusal]
    risk_list: RiskList | None = None
    trusting: bool = True

    @property
    def listed_at(self) -> datetime | None:
        """When the city wrote its risk list."""
        return self.risk_list.made_at if self.risk_list else None
