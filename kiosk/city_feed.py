"""Takes what the city sends to all kiosks: the trust bundle and the risk list.

Decides what is taken, what is reported, and when the whole list is needed. Nothing counts that is not signed by the
city, whole and newer; what is refused changes nothing. Refuses to know MQTT, and what bundle and list are used for.
The uplink calls it, in its own thread; `kiosk.city_files` keeps what it takes.
"""

from collections.abc import Callable

from kiosk import wire
from kiosk.city_files import RiskFiles, TrustFiles
from kiosk.errors import CityFilesFault
from kiosk.risk_list import Issuers, RiskList, read_update
from kiosk.trust import Bundle, read_bundle

MOST_DELTAS = 100
"""About a day's; then the whole list is fetched once, so that a start stays quick."""
TRUST, RISK_LIST = "trust", "risk-list"
"""The stages it reports as."""


class CityFeed:
    """The newest bundle and list, from the files at the start and from the city afterwards.

    Args:
        trust: keeps the bundle.
        risks: keeps the list.
        city: the city's keys.
        on_change: told bundle and list whenever one of them is new; not for those of the start.
        on_trouble: told a stage and a sentence when a file or an update was refused; an empty sentence when the stage
            has what the city last sent again.
    """

    def __init__(
        self,
        trust: TrustFiles,
        risks: RiskFiles,
        city: Issuers,
        *,
        on_change: Callable[[Bundle | None, RiskList | None], None],
        on_trouble: Callable[[str, str], None],
    ) -> None:
        self._trust, self._risks, self._city = trust, risks, city
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._troubled: set[str] = set()
        self.bundle, trust_troubles = trust.load()
        self.risk_list, risk_troubles = risks.load()
        self._newest_list = 1
        """The highest version the city is known to have; every list has at least 1."""
        self._piled_up = risks.deltas >= MOST_DELTAS
        self._again: set[str] = set()
        """The stages for which everything was asked for anew, and has not come yet."""
        self._on_resynced: Callable[[str], None] = lambda _: None
        self._settle(TRUST, "; ".join(trust_troubles))
        self._settle(RISK_LIST, "; ".join(risk_troubles))

    @property
    def wants_snapshot(self) -> bool:
        """Whether the list is missing, an update of it has been missed, updates have piled up, or a person asks."""
        return self._list_version < self._newest_list or self._piled_up or RISK_LIST in self._again

    @property
    def wants_trust(self) -> bool:
        """Whether the bundle is to be asked for once more."""
        return TRUST in self._again

    def resync(self, on_done: Callable[[str], None]) -> None:
        """Fetch bundle and list anew; `on_done` is told what is held once both have come. From any thread."""
        self._on_resynced = on_done
        self._again = {TRUST, RISK_LIST}

    def receive(self, topic: str, payload: bytes) -> None:
        """Take what came at one of the city's topics. Nothing at all is how a broker says that it forgets it."""
        if not payload:
            return
        stage, take = (TRUST, self._take_bundle) if topic == wire.TRUST_TOPIC else (RISK_LIST, self._take_update)
        bundle, risk_list = self.bundle, self.risk_list
        try:
            trouble = take(payload)
        except CityFilesFault as fault:
            trouble = str(fault)
        if self.bundle is not bundle or self.risk_list is not risk_list:
            self._on_change(self.bundle, self.risk_list)
        if self._again and topic != wire.DELTA_TOPIC and not trouble:
            self._came_again(stage)
        self._settle(stage, trouble)

    @property
    def _list_version(self) -> int:
        return self.risk_list.version if self.risk_list else 0

    def _came_again(self, stage: str) -> None:
        self._again.discard(stage)
        if not self._again:
            trust = self.bundle.version if self.bundle else 0
            self._on_resynced(f"trust bundle version {trust}, risk list version {self._list_version}")

    def _take_bundle(self, content: bytes) -> str:
        read = read_bundle(content, self._city)
        if isinstance(read, Bundle) and self.bundle and read.version == self.bundle.version:
            return ""
        bundle = self._trust.take(self.bundle, content)
        if isinstance(bundle, str):
            return f"a trust bundle from the city was refused: {bundle}"
        self.bundle = bundle
        return ""

    def _take_update(self, content: bytes) -> str:
        update = read_update(content, self._city)
        if isinstance(update, str):
            return f"an update of the risk list was refused: {update}"
        waited = self.wants_snapshot
        if (self._piled_up or RISK_LIST in self._again) and update.base == 0:
            self._piled_up = False
            if update.version <= self._list_version:
                return ""  # the city has made no newer one yet; asking again would give the same
        self._newest_list = max(self._newest_list, update.version)
        if update.version == self._list_version or (waited and update.base > self._list_version):
            return ""  # held already, or another one that the awaited snapshot is for
        after = self._risks.take(self.risk_list, content)
        if isinstance(after, str):
            return f"an update of the risk list was refused: {after}"
        self.risk_list = after
        self._piled_up = bool(update.base) and self._risks.deltas % MOST_DELTAS == 0
        return ""

    def _settle(self, stage: str, trouble: str) -> None:
        """Tell a trouble; take it back once the stage has no more, and for the list, is not behind."""
        if trouble:
            self._troubled.add(stage)
            self._on_trouble(stage, trouble)
        elif stage in self._troubled and not (stage == RISK_LIST and self.wants_snapshot):
            self._troubled.remove(stage)
            self._on_trouble(stage, "")
