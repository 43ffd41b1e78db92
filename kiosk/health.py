"""PURE. Which stages and contacts work, in the words of whoever noticed. The gate asks what the door can still do."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from kiosk import events
from kiosk.clock import Now
from kiosk.messages import Fault

STOPPING_STAGES = frozenset({"camera", "lines", "outbox"})
"""Without one of these the door cannot do its work and says so at large; without the uplink it can."""


class Health:
    """The faults of one door."""

    def __init__(self) -> None:
        self._faults: dict[str, str] = {}

    def note(self, faults: Mapping[str, str], now: Now) -> list[Fault]:
        """Take what is said of each stage, empty where it works; the answer tells of those where it is news."""
        news = [(stage, fault) for stage, fault in faults.items() if self._faults.get(stage, "") != fault]
        before, self._faults = self._faults, {**self._faults, **dict(news)}
        return [
            Fault(**events.stamp(now), stage=stage, recovered=not fault, detail=fault or before[stage])
            for stage, fault in news
        ]

    @property
    def storing(self) -> bool:
        """Whether events can be recorded."""
        return not self._faults.get("outbox")

    def lacks(self, stages: AbstractSet[str]) -> bool:
        """Whether any of these is down."""
        return any(self._faults.get(stage) for stage in stages)

    @property
    def stopped(self) -> bool:
        """Whether the door cannot do its work."""
        return self.lacks(STOPPING_STAGES)

    @property
    def text(self) -> str:
        """Every fault in one line, for the guard's strip."""
        return " · ".join(f"{stage}: {fault}" for stage, fault in sorted(self._faults.items()) if fault)
