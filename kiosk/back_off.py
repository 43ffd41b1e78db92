"""PURE. How long a door waits before it connects again, so that a city of doors never comes at once.

No door can tell the broker's end from a cut in its own line: a broker that was killed, one that was told to stop, a
machine that fell silent and a line that was cut look the same for one door or for 32,000. So each waits as if all
32,000 waited with it:

- A wait is no likelier to end in one second of `spread_s` than in another. N doors that begin to wait at one instant
  come at N / spread_s a second, however many there are and whatever made them begin.
- After an attempt that failed, or a connection that had not stood for `spread_s`, a whole `spread_s` goes before. Those
  who come again thus never come among those who have not come yet, and while a broker stays away it is left at peace:
  each door comes every 1.5 spread_s. (With full jitter up to a ceiling, a door comes every half ceiling. That a good
  connection is one that has stood is AWS's rule too: minimum connected time to reset the reconnect delay.)
- An alert does not wait. Alerts are few, and each is raised at a moment of its own: the door connects at once, and if
  that fails, again after up to 2, 4, 8 ... s and at last every 0.75 spread_s: 593 a second even if all had one.

It reads no clock and knows no broker. The uplink asks it; `scripts/torture fleet` shows what it does to a broker.
"""

from collections.abc import Callable

SPREAD_S = 72.0
"""32,000 doors are 444 connects a second, 600 at most with chance and alerts on top (docs/reliability.md)."""
QUICK_S = 2.0
"""Longest first wait with an alert; doubles with each."""


class BackOff:
    """The waiting of one door.

    Args:
        uniform: a random number between two bounds, every one as likely. Doors must not share its seed.
        spread_s: over how long the doors of one broker spread themselves.
    """

    def __init__(self, uniform: Callable[[float, float], float], spread_s: float = SPREAD_S) -> None:
        self._uniform = uniform
        self._spread_s = spread_s
        self._quick_s = QUICK_S

    def next_s(self, *, stood_s: float, alert: bool) -> float:
        """Seconds to wait from now on.

        Args:
            stood_s: how long the connection had stood that just ended; 0 if the attempt failed.
            alert: one is waiting to be sent.
        """
        stood = stood_s >= self._spread_s
        if alert:
            longest_s = min(QUICK_S if stood else self._quick_s, self._spread_s)
            self._quick_s = 2 * longest_s
            return self._uniform(longest_s / 2, longest_s)
        self._quick_s = QUICK_S
        return self._uniform(0.0, self._spread_s) if stood else self._uniform(self._spread_s, 2 * self._spread_s)

    def hurry(self) -> None:
        """An alert has just been raised: connect now, whatever is left to wait."""
        self._quick_s = QUICK_S
