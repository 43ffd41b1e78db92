"""Codewords against an encoder that is not ours (segno), then what is mended and what is refused."""

from typing import Any

import numpy as np
import pytest
import segno
from segno import consts

from kiosk.codewords import (
    LEVELS,
    MOST_DOUBT,
    Evidence,
    Modules,
    agreement,
    agreements,
    alignments,
    blocks,
    doubt,
    formats,
    known,
    likeness,
    mend,
    size,
)

VERSIONS = range(1, 41)


def symbol(text: str, version: int, level: str, mask: int) -> Modules:
    """As segno draws it."""
    made = segno.make_qr(text, version=version, error=level, mask=mask, mode="byte", boost_error=False)
    return np.array(made.matrix, dtype=np.bool_)


def certain(modules: Modules) -> Evidence:
    """Every module beyond doubt."""
    return np.where(modules, 1, -1).astype(np.float32)


@pytest.mark.parametrize("version", VERSIONS)
def test_blocks_are_those_of_the_standard(version: int) -> None:
    """Sizes and numbers of blocks, and alignment patterns, are segno's in every version and level."""
    table: Any = consts.ECC
    for level in LEVELS:
        parts = table[version][getattr(consts, f"ERROR_LEVEL_{level}")]
        expected = [(part.num_total, part.num_total - part.num_data) for part in parts for _ in range(part.num_blocks)]
        assert [(len(at), extra) for at, extra in blocks(version, level)] == expected
    assert alignments(version) == (() if version == 1 else tuple(consts.ALIGNMENT_POS[version - 2]))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_symbol_is_mended_to_itself(version: int) -> None:
    """Known modules, format and every codeword of every version come out as segno drew them, whatever the mask."""
    level, mask = LEVELS[version % 4], version % 8
    drawn = symbol("Đà Nẵng", version, level, mask)
    assert np.array_equal(drawn[known(version) != 0], known(version)[known(version) != 0] > 0)
    assert formats(certain(drawn), version) == [(level, mask)]
    mended = mend(certain(drawn), version, level, mask)
    assert mended is not None
    assert np.array_equal(mended, drawn)


@pytest.mark.parametrize("mask", range(8))
def test_every_mask_is_the_standards(mask: int) -> None:
    """Each of the eight masks is taken off and put on as segno does."""
    drawn = symbol("x", 2, "M", mask)
    mended = mend(certain(drawn), 2, "M", mask)
    assert mended is not None
    assert np.array_equal(mended, drawn)


def test_modules_that_look_certain_and_are_wrong_are_mended() -> None:
    """Forty of version 9 M, about eight in each block, where eleven can be put right without knowing which they are."""
    drawn, rng = symbol("khai báo", 9, "M", 3), np.random.default_rng(1)
    evidence = certain(drawn)
    spots = rng.permutation(np.argwhere(known(9) == 0)[200:])[:40]
    evidence[tuple(spots.T)] *= -1
    mended = mend(evidence, 9, "M", 3)
    assert mended is not None
    assert np.array_equal(mended, drawn)


def test_what_is_known_to_be_unknown_costs_half() -> None:
    """A third of version 5 H washed out is mended, though not one of its codewords there is right."""
    drawn = symbol("khai báo y tế", 5, "H", 6)
    evidence = certain(drawn)
    evidence[12:24, 10:36] *= -0.01
    mended = mend(evidence, 5, "H", 6)
    assert mended is not None
    assert np.array_equal(mended, drawn)


def test_more_than_the_bound_is_refused() -> None:
    """With three quarters of the modules unknown there is no symbol."""
    evidence = certain(symbol("khai báo y tế", 5, "H", 6))
    evidence[9:] *= -0.01
    assert mend(evidence, 5, "H", 6) is None


def test_chance_is_never_mended() -> None:
    """Random evidence makes no symbol, not even in the versions with the least correction."""
    rng = np.random.default_rng(7)
    for version, level in ((1, "L"), (1, "M"), (2, "L")):
        for _ in range(40):
            evidence = rng.uniform(-1, 1, (size(version),) * 2).astype(np.float32)
            assert mend(evidence, version, level, 0) is None


def test_doubt_is_the_standards_own_caution() -> None:
    """The limit lets small versions correct just what the standard allows them, which is less than they could."""
    allowed = {(26, 7): 2, (26, 10): 4, (26, 13): 6, (26, 17): 8, (44, 10): 4, (70, 15): 7}
    for (length, extra), errors in allowed.items():
        most = max(count for count in range(extra // 2 + 1) if doubt(length, extra, 0, count) <= MOST_DOUBT)
        assert most == errors


def test_agreement_tells_one_code_from_another() -> None:
    """Evidence fits its own symbol in each block, and another text's as chance would."""
    drawn, other = symbol("a" * 180, 9, "M", 1), symbol("b" * 180, 9, "M", 1)
    fit, modules = agreements(certain(drawn), drawn, 9, "M")
    assert fit.tolist() == [1, 1, 1, 1, 1]
    assert modules.tolist() == [8 * length for length in (58, 58, 58, 59, 59)]
    assert agreement(certain(drawn), ~drawn, 9) == -1
    assert likeness(certain(drawn), certain(drawn), 9) == pytest.approx(1)
    assert abs(likeness(certain(drawn), certain(other), 9)) < 0.5
