"""PURE. Many sightings of one code make one presentation.

A camera sees a held-up code thirty times a second; the door must judge it once. A presentation lasts from the first
sighting until the code has been out of view for `absence_ns`, and none goes by unnoticed: one that leaves before the
gate was ready for it is handed over too. Parts of a divided message are joined here, where the readings of all
engines meet. This stage knows payload bytes only, not what they mean; the gate calls it and decides when it is ready
for the next one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from kiosk.messages import Presentation, Sighting
from kiosk.structured_append import Messages, Part

MOST_TRACKED = 16
"""Distinct codes followed at once: a frame holds at most 8, and the ones that just left linger for `absence_ns`."""


@dataclass(slots=True)
class _Track:
    presentation: Presentation
    last_seen_ns: int
    judged: bool = False


class Sightings:
    """Follows the codes in view.

    Args:
        absence_ns: how long a code must be out of view before showing it again counts anew.
    """

    def __init__(self, absence_ns: int) -> None:
        self._absence_ns = absence_ns
        self._tracks: dict[bytes, _Track] = {}
        self._left: list[Presentation] = []
        self._messages = Messages()

    def see(self, sightings: Iterable[Sighting]) -> None:
        """Note the codes read in one frame."""
        for sighting in self._joined(sightings):
            track = self._tracks.get(sighting.payload)
            if track and sighting.captured_ns - track.last_seen_ns <= self._absence_ns:
                track.last_seen_ns = max(track.last_seen_ns, sighting.captured_ns)
                continue
            self._drop(sighting.payload)
            presentation = Presentation(
                payload=sighting.payload, engine=sighting.engine, first_seen_ns=sighting.captured_ns
            )
            self._tracks[sighting.payload] = _Track(presentation, sighting.captured_ns)
        while len(self._tracks) > MOST_TRACKED:
            self._drop(min(self._tracks, key=lambda payload: self._tracks[payload].last_seen_ns))

    def _joined(self, sightings: Iterable[Sighting]) -> Iterator[Sighting]:
        """Whole messages for their parts; a part of one that is not whole yet is nothing to judge."""
        for sighting in sightings:
            if not isinstance(sighting.payload, Part):
                yield sighting
            elif payload := self._messages.join(sighting.payload, sighting.captured_ns):
                yield replace(sighting, payload=payload)

    def take(self, now_ns: int) -> Presentation | None:
        """Take the longest-waiting code that is in view and not judged yet; it counts as judged from now on."""
        self._forget(now_ns)
        waiting = [track for track in self._tracks.values() if not track.judged]
        if not waiting:
            return None
        first = min(waiting, key=lambda track: track.presentation.first_seen_ns)
        first.judged = True
        return first.presentation

    def take_left(self, now_ns: int) -> list[Presentation]:
        """Take the codes that have left the view before anybody judged them."""
        self._forget(now_ns)
        left, self._left = self._left, []
        return left

    def _forget(self, now_ns: int) -> None:
        for payload in [p for p, track in self._tracks.items() if now_ns - track.last_seen_ns > self._absence_ns]:
            self._drop(payload)

    def _drop(self, payload: bytes) -> None:
        track = self._tracks.pop(payload, None)
        if track and not track.judged:
            self._left.append(track.presentation)
