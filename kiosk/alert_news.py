"""PURE. What the city says of alerts, told apart from what it has said before.

Its message names the newest alerts of a device with their states, retained and whole, so most of it is repetition.
The uplink owns it.
"""

from kiosk import wire
from kiosk.messages import AlertNews, AlertState

_RANK = {AlertState.ACKNOWLEDGED: 1, AlertState.CLOSED: 2}


class AlertStandings:
    """What was heard last."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, int], AlertState] = {}

    def news(self, said: wire.AlertStates) -> list[AlertNews]:
        """Those that have come further; no alert goes back."""
        heard: dict[tuple[str, int], AlertState] = {}
        news = []
        for standing in said.alerts:
            place = (standing.ledger, standing.sequence)
            before = heard.get(place) or self._heard.get(place)
            if before is None or _RANK[before] < _RANK[standing.state]:
                news.append(AlertNews(ledger=standing.ledger, sequence=standing.sequence, state=standing.state))
                before = standing.state
            heard[place] = before
        self._heard = heard
        return news
