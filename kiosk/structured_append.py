"""PURE. A message divided over up to 16 codes (structured append, ISO/IEC 18004, 8) becomes one payload.

Decides which code is a part, and when the parts are whole. Refuses to know pictures and what the message means: a part
by itself is nothing to judge. `kiosk.engines` makes the parts, since no engine tells of them; `kiosk.sightings` joins.
"""

from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import Self

import numpy as np
from reedsolo import ReedSolomonError, RSCodec

from kiosk.clock import S
from kiosk.codewords import Modules, blocks, masked, path
from kiosk.eci import Segments, payload_of

JOIN_NS = 10 * S
"""Without another of its parts, a message is forgotten: codes are shown side by side, or one after another by hand."""
MOST_MESSAGES = 4
"""Followed at once. A message holds at most 16 parts of 2,953 bytes."""
_MODE = 0b0011
"""A part's first four bits."""
_FIRST_ROWS, _FIRST_COLS = [-1, -1, -2, -2], [-1, -2, -1, -2]
"""Where every code has its first four bits: from its bottom right corner upwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Which part: `index` of `total` (2 to 16), from 0; `parity` is all bytes of the whole message, exclusive-ored."""

    index: int
    total: int
    parity: int


class Part(bytes):
    """The bytes of one part, which are not a payload. Two are equal where their place in the message is, too."""

    header: Header
    segments: Segments

    def __new__(cls, header: Header, segments: Segments) -> Self:
        """Keep the segments: a character may begin in one part and end in the next."""
        part = super().__new__(cls, b"".join(raw for _, raw in segments))
        part.header, part.segments = header, segments
        return part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and (self.header, self.segments) == (other.header, other.segments)

    def __hash__(self) -> int:
        return hash((self.header, self.segments))


def _number(bits: Modules) -> int:
    return reduce(lambda number, bit: number << 1 | int(bit), bits, 0)


def header_of(modules: Modules, version: int, level: str, mask: int) -> Header | None:
    """Read the header from a symbol as it was sampled, mended; None where it has none, or too many faults to say."""
    turned = masked(version, mask)
    # Nearly every code ends here, for the price of a glance.
    if modules.shape != turned.shape or _number((modules ^ turned)[_FIRST_ROWS, _FIRST_COLS]) != _MODE:
        return None
    rows, cols = path(version)
    bits = (modules ^ turned)[rows, cols]
    own, extra = blocks(version, level)[0]
    first = np.packbits(bits[: len(bits) // 8 * 8])[own]
    try:
        mended = RSCodec(extra, nsize=len(own), fcr=0, prim=0x11D).decode(first.tobytes())[0]
    except ReedSolomonError:
        return None
    index, last = mended[0] & 15, mended[1] >> 4
    if mended[0] >> 4 != _MODE or not 0 < last >= index:
        return None
    return Header(index=index, total=last + 1, parity=(mended[1] & 15) << 4 | mended[2] >> 4)


@dataclass(slots=True)
class _Message:
    seen_ns: int
    parts: dict[int, Part] = field(default_factory=dict)


class Messages:
    """Collects parts over frames."""

    def __init__(self) -> None:
        self._messages: dict[tuple[int, int], _Message] = {}

    def join(self, part: Part, now_ns: int) -> bytes | None:
        """Give the payload if this part's message is whole, as often as one of its parts is seen.

        Parts that agree in total and parity make a message; a part that contradicts one of them begins another.
        """
        header = part.header
        key = header.total, header.parity
        self._messages = {k: kept for k, kept in self._messages.items() if now_ns - kept.seen_ns <= JOIN_NS}
        message = self._messages.pop(key, None)
        if message is None or message.parts.get(header.index, part) != part:
            message = _Message(now_ns)
        self._messages[key] = message
        message.seen_ns = now_ns
        message.parts[header.index] = part
        for oldest in list(self._messages)[:-MOST_MESSAGES]:
            del self._messages[oldest]
        return _whole(message.parts, header)


def _whole(parts: dict[int, Part], header: Header) -> bytes | None:
    if len(parts) < header.total:
        return None
    in_order = [parts[index] for index in range(header.total)]
    if reduce(xor, b"".join(in_order), 0) != header.parity:
        return None
    return payload_of(segment for part in in_order for segment in part.segments)
