"""Modules to codewords and back: mends a symbol whose modules are known with more or less confidence.

Decides which codewords to believe, which to give up, and when a correction is too doubtful to be taken. Refuses to
know pictures, and what the text says: the symbol is drawn anew, without a fault, for an engine to read. Called by
`kiosk.fusion`; `kiosk.grid` takes the known modules from here. Figures in brackets are clauses of ISO/IEC 18004:2015.

Evidence is float32, one value a module: positive for dark, negative for light, 0 for unknown; 1 is certain.
"""

from functools import cache
from itertools import product
from math import comb

import numpy as np
from numpy.typing import NDArray
from reedsolo import ReedSolomonError, RSCodec

Evidence = NDArray[np.float32]
Modules = NDArray[np.bool_]
"""True is dark."""

LEVELS = "LMQH"
MOST_DOUBT = 1e-9
"""Of one block: the share of random words that a correction like this one would take for a codeword.

With it, versions 1 to 3 correct as many codewords as the standard allows them, which keeps some of theirs back
against miscorrection (table 9, p)."""
LEAST_AGREEMENT = 0.8
"""Of the evidence to the mended symbol's data, as `agreement` has it. Of 20 photos that were mended none had less than
0.94."""
ERASURE_STEPS = 6
MOST_FORMATS = 3
LEAST_FORMAT_FIT = 0.6
"""Of the best one's."""

_EXTRA = {
    "L": "7 10 15 20 26 18 20 24 30 18 20 24 26 30 22 24 28 30 28 28 28 28 30 30 26 28" + 14 * " 30",
    "M": "10 16 26 18 24 16 18 22 22 26 30 22 22 24 24 28 28 26 26 26 26" + 19 * " 28",
    "Q": "13 22 18 26 18 24 18 22 20 24 28 26 24 20 30 24 28 28 26 30 28 30 30 30 30 28" + 14 * " 30",
    "H": "17 28 22 16 22 28 26 26 24 28 24 28 22 24 24 30 28 28 26 28 30 24" + 18 * " 30",
}
"""Error correction codewords of each block, by version (table 9)."""
_BLOCKS = {
    "L": "1 1 1 1 1 2 2 2 2 4 4 4 4 4 6 6 6 6 7 8 8 9 9 10 12 12 12 13 14 15 16 17 18 19 19 20 21 22 24 25",
    "M": "1 1 1 2 2 4 4 4 5 5 5 8 9 9 10 10 11 13 14 16 17 17 18 20 21 23 25 26 28 29 31 33 35 37 38 40 43 45 47 49",
    "Q": "1 1 2 2 4 4 6 6 8 8 8 10 12 16 12 17 16 18 21 20 23 23 25 27 29 34 34 35 38 40 43 45 48 51 53 56 59 62 65 68",
    "H": "1 1 2 4 4 4 5 6 8 8 11 11 16 16 18 16 19 21 25 25 25 34 30 32 35 37 40 42 45 48 51 54 57 60 63 66 70 74 77"
    " 81",
}
"""Blocks, by version (table 9)."""
_LEVEL_BITS = {"L": 1, "M": 0, "Q": 3, "H": 2}
_FORMAT_POLYNOMIAL, _FORMAT_MASK = 0b10100110111, 0b101010000010010
_VERSION_POLYNOMIAL = 0b1111100100101
_WITH_VERSION_INFORMATION = 7


def size(version: int) -> int:
    """Modules a side."""
    return 17 + 4 * version


@cache
def alignments(version: int) -> tuple[int, ...]:
    """Rows, and columns, of the alignment patterns' middles (annex E)."""
    if version == 1:
        return ()
    gaps = version // 7 + 1
    # Even steps from the far end, rounded up to an even number; version 32 is the standard's own exception.
    step = 26 if version == 32 else -(-(size(version) - 13) // (2 * gaps)) * 2  # noqa: PLR2004
    return (6, *sorted(size(version) - 7 - step * index for index in range(gaps)))


def _remainder(value: int, polynomial: int) -> int:
    """In GF(2), the value shifted to make room."""
    length = polynomial.bit_length() - 1
    rest = value << length
    while rest.bit_length() > length:
        rest ^= polynomial << (rest.bit_length() - length - 1)
    return value << length | rest


@cache
def _format_places(version: int) -> NDArray[np.intp]:
    """Row and column of both copies of the 15 bits, most significant first: (2, 15, 2) (7.9.1)."""
    last = size(version) - 1
    around = [(8, col) for col in (0, 1, 2, 3, 4, 5, 7, 8)] + [(row, 8) for row in (7, 5, 4, 3, 2, 1, 0)]
    apart = [(last - index, 8) for index in range(7)] + [(8, last - 7 + index) for index in range(8)]
    return np.array([around, apart])


def _format_bits(level: str, mask: int) -> list[int]:
    bits = _remainder(_LEVEL_BITS[level] << 3 | mask, _FORMAT_POLYNOMIAL) ^ _FORMAT_MASK
    return [bits >> shift & 1 for shift in range(14, -1, -1)]


@cache
def known(version: int) -> NDArray[np.int8]:
    """1 where every symbol of the version is dark, -1 where light, 0 elsewhere: finders, timing, alignment, version."""
    n = size(version)
    pattern = np.zeros((n, n), dtype=np.int8)
    ring = np.maximum(*np.abs(np.mgrid[-4:5, -4:5]))
    finder = np.where((ring == 2) | (ring == 4), -1, 1)  # noqa: PLR2004 - rings by their distance from the middle
    pattern[:8, :8], pattern[:8, -8:], pattern[-8:, :8] = finder[1:, 1:], finder[1:, :8], finder[:8, 1:]
    pattern[6, 8:-8] = pattern[8:-8, 6] = 1 - 2 * (np.arange(8, n - 8) % 2)
    middles = alignments(version)
    for row, col in product(middles, middles):
        if pattern[row - 1, col - 1] == 0:  # on a finder it is not
            pattern[row - 2 : row + 3, col - 2 : col + 3] = np.where(ring == 1, -1, 1)[2:7, 2:7]
    pattern[n - 8, 8] = 1
    if version >= _WITH_VERSION_INFORMATION:
        bits = _remainder(version, _VERSION_POLYNOMIAL)
        block = np.array([2 * (bits >> index & 1) - 1 for index in range(18)]).reshape(6, 3)
        pattern[:6, n - 11 : n - 8], pattern[n - 11 : n - 8, :6] = block, block.T
    pattern.setflags(write=False)
    return pattern


@cache
def path(version: int) -> NDArray[np.intp]:
    """Where the bits of the codewords stand, in order: two flat arrays, rows and columns (7.7.3)."""
    n = size(version)
    taken = known(version) != 0
    taken[tuple(_format_places(version).reshape(-1, 2).T)] = True
    cells: list[tuple[int, int]] = []
    rights = [*range(n - 1, 6, -2), 5, 3, 1]
    for turn, right in enumerate(rights):
        rows = range(n) if turn % 2 else range(n - 1, -1, -1)
        cells += [(row, col) for row in rows for col in (right, right - 1) if not taken[row, col]]
    return np.array(cells).T


@cache
def masked(version: int, mask: int) -> Modules:
    """Where the mask turns a module over (table 10)."""
    i, j = np.mgrid[: size(version), : size(version)]
    return np.asarray(
        (
            (i + j) % 2,
            i % 2,
            j % 3,
            (i + j) % 3,
            (i // 2 + j // 3) % 2,
            i * j % 2 + i * j % 3,
            (i * j % 2 + i * j % 3) % 2,
            ((i + j) % 2 + i * j % 3) % 2,
        )[mask]
        == 0
    )


@cache
def blocks(version: int, level: str) -> tuple[tuple[NDArray[np.intp], int], ...]:
    """Of each block, which codewords of the symbol are its own, in order, and how many of them are for correction."""
    total = path(version).shape[1] // 8
    extra, count = int(_EXTRA[level].split()[version - 1]), int(_BLOCKS[level].split()[version - 1])
    shorter = total // count - extra
    long_from = count - total % count
    order: list[list[int]] = [[] for _ in range(count)]
    turns = [block for at in range(shorter + 1) for block in range(count) if at < shorter or block >= long_from]
    for codeword, block in enumerate(turns + list(range(count)) * extra):
        order[block].append(codeword)
    return tuple((np.array(codewords), extra) for codewords in order)


def formats(evidence: Evidence, version: int) -> list[tuple[str, int]]:
    """Level and mask, the likeliest first: those that both copies of the format information nearly agree with (7.9).

    Where nothing is wrong the next best is a third as likely: they differ in five bits of fifteen at least.
    """
    rows, cols = _format_places(version).transpose(2, 0, 1)
    heard = evidence[rows, cols].sum(axis=0)
    every = list(product(LEVELS, range(8)))
    fit = (2 * np.array([_format_bits(*one) for one in every]) - 1) @ heard
    return [every[index] for index in np.argsort(-fit)[:MOST_FORMATS] if fit[index] >= LEAST_FORMAT_FIT * fit.max()]


def doubt(length: int, extra: int, erased: int, errors: int) -> float:
    """The share of random words of a block that would be corrected with so many erasures and at most so many errors."""
    spare = 256.0 ** (erased - extra)
    return spare * sum(comb(length - erased, wrong) * 255.0**wrong for wrong in range(errors + 1))


@cache
def _attempts(length: int, extra: int) -> tuple[tuple[int, int], ...]:
    """How many of the least reliable codewords to erase, and how many errors may then be corrected."""
    tries = []
    for erased in sorted({round(extra * step / ERASURE_STEPS) for step in range(ERASURE_STEPS)}):
        fits = [
            errors for errors in range((extra - erased) // 2 + 1) if doubt(length, extra, erased, errors) <= MOST_DOUBT
        ]
        tries += [(erased, fits[-1])] if fits else []
    # The last step erases as much as doubt allows.
    most = max((erased for erased in range(extra) if doubt(length, extra, erased, 0) <= MOST_DOUBT), default=0)
    return (*tries, (most, 0)) if most else tuple(tries)


@cache
def _codec(length: int, extra: int) -> RSCodec:
    return RSCodec(extra, nsize=length, fcr=0, prim=0x11D)


def _corrected(word: NDArray[np.uint8], trust: Evidence, extra: int) -> NDArray[np.uint8] | None:
    """The block as its sender wrote it. Hard errors first, then the least reliable codewords erased, more and more."""
    codec = _codec(len(word), extra)
    weakest = np.argsort(trust, kind="stable").tolist()
    for erased, errors in _attempts(len(word), extra):
        try:
            whole = np.frombuffer(codec.decode(bytearray(word), erase_pos=weakest[:erased])[1], dtype=np.uint8)
        except ReedSolomonError:
            continue
        wrong = whole != word
        wrong[weakest[:erased]] = False
        if np.count_nonzero(wrong) <= errors:
            return whole
    return None


def mend(evidence: Evidence, version: int, level: str, mask: int) -> Modules | None:
    """The whole symbol without a fault, or None where too little of it is known.

    By generalised minimum distance (Forney 1966): a codeword is as reliable as the least certain of its modules.
    """
    rows, cols = path(version)
    bits = np.where(masked(version, mask)[rows, cols], -evidence[rows, cols], evidence[rows, cols])
    codewords = bits[: len(bits) // 8 * 8].reshape(-1, 8)
    words, trust = np.packbits(codewords > 0, axis=1)[:, 0], np.abs(codewords).min(axis=1)
    for at, extra in blocks(version, level):
        block = _corrected(words[at], trust[at], extra)
        if block is None:
            return None
        words[at] = block
    symbol = _drawn(words, version, level, mask)
    return symbol if agreement(evidence, symbol, version) >= LEAST_AGREEMENT else None


def _drawn(words: NDArray[np.uint8], version: int, level: str, mask: int) -> Modules:
    """The symbol with these codewords; what is left over stays 0 before masking."""
    symbol = known(version) > 0
    rows, cols = path(version)
    bits = np.zeros(len(rows), dtype=np.bool_)
    bits[: 8 * len(words)] = np.unpackbits(words)
    symbol[rows, cols] = bits ^ masked(version, mask)[rows, cols]
    for copy in _format_places(version):
        symbol[tuple(copy.T)] = _format_bits(level, mask)
    return symbol


def agreement(evidence: Evidence, symbol: Modules, version: int) -> float:
    """How well the evidence fits the symbol's data modules: 1 wholly, 0 as chance would, -1 it is the negative."""
    cells = tuple(path(version))
    heard = evidence[cells]
    return float(np.where(symbol[cells], heard, -heard).sum() / max(float(np.abs(heard).sum()), 1e-9))


def agreements(evidence: Evidence, symbol: Modules, version: int, level: str) -> tuple[Evidence, Evidence]:
    """The same for each block of its own, and how many modules of full weight each has."""
    cells = tuple(path(version))
    heard = evidence[cells]
    fits = np.where(symbol[cells], heard, -heard)
    total = len(fits) // 8 * 8
    fits, weights = fits[:total].reshape(-1, 8).sum(axis=1), np.abs(heard[:total]).reshape(-1, 8)
    of_block = [at for at, _ in blocks(version, level)]
    weight = np.array([weights[at].sum() for at in of_block])
    full = weight**2 / np.maximum([float((weights[at] ** 2).sum()) for at in of_block], 1e-9)
    fit = np.array([fits[at].sum() for at in of_block]) / np.maximum(weight, 1e-9)
    return fit.astype(np.float32), full.astype(np.float32)


def likeness(one: Evidence, other: Evidence, version: int) -> float:
    """Of two looks' data modules: 1 for the same, 0 for two codes that have nothing in common."""
    cells = tuple(path(version))
    first, second = one[cells], other[cells]
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-9))
