"""PURE. What a code says of its own character set (extended channel interpretation), honoured exactly.

Decides how bytes in a declared character set become UTF-8. Refuses to guess: where a code declares none, or one that is
unknown here, or its bytes are not in the one it declares, they stay as they are. Called by `kiosk.engines` and
`kiosk.structured_append`.
"""

import re
from collections.abc import Iterable
from itertools import groupby

Segments = tuple[tuple[int | None, bytes], ...]
"""Runs of bytes, each with the number of the character set declared for it; None where none is."""

_ISO_8859 = {number: f"iso8859_{number - 2}" for number in (*range(3, 14), *range(15, 19))}
_FROM_20 = (
    *("shift_jis", "cp1250", "cp1251", "cp1252", "cp1256", "utf_16_be", "utf_8", "ascii", "big5", "gb2312"),
    *("euc_kr", "gbk", "gb18030", "utf_16_le", "utf_32_be", "utf_32_le"),
)
_CODECS = {0: "cp437", 1: "iso8859_1", 2: "cp437", **_ISO_8859, **dict(enumerate(_FROM_20, start=20)), 170: "ascii"}
"""AIM's register of assignments. 899, plain bytes, stays out."""
_RUN = re.compile(rb"\\(\d{6})|\\(\\)|([^\\]+)")


def segments_of(transmitted: bytes) -> Segments:
    r"""Read the transmission that readers use for such codes: `\nnnnnn` declares, a backslash itself is doubled."""
    runs: list[tuple[int | None, bytes]] = []
    declared = None
    for number, backslash, plain in _RUN.findall(transmitted):
        if number:
            declared = int(number)
        else:
            runs.append((declared, backslash or plain))
    return tuple(runs)


def payload_of(segments: Iterable[tuple[int | None, bytes]]) -> bytes:
    """Turn every declared run into UTF-8. Where one cannot be, the bytes of all are left as they are."""
    runs = [(number, b"".join(raw for _, raw in group)) for number, group in groupby(segments, lambda one: one[0])]
    try:
        return b"".join(raw if number is None else raw.decode(_CODECS[number]).encode() for number, raw in runs)
    except (KeyError, UnicodeError):
        return b"".join(raw for _, raw in runs)
