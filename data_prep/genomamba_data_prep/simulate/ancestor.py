"""The common ancestor: Markov background, interspersed repeats, microsatellites, and their ageing.

The background is the human-like source of order 2 (GC 0.40, CpG at 0.22 of its expectation). The
ancestor has a history of some epochs: in each, new repeats overwrite random places, and then
everything changes at 4 % of the sites by the substitution process of ``evolve``, so that copies
diverge with age, lose their CpG first, and the composition is near what the process keeps. In the
end L1-like copies cover 17 % of the sequence, Alu-like ones 11 % and microsatellites 3 %
(International Human Genome Sequencing Consortium 2001, Nature 409:860) but for overlaps; all are in
lower case.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from genomamba_data_prep.codes import SOFT_MASK, Codes
from genomamba_data_prep.simulate.evolve import substitute
from genomamba_data_prep.simulate.generate import MarkovSource
from genomamba_data_prep.simulate.markov import human_like
from genomamba_data_prep.simulate.repeats import (
    Copies,
    alu_consensus,
    copies,
    l1_consensus,
    l1_lengths,
    l1_mean_length,
    ranges,
)

EPOCHS, EPOCH_LENGTH = 4, 0.04
L1_COVERAGE, ALU_COVERAGE, MICROSATELLITE_COVERAGE = 0.17, 0.11, 0.03
MAX_UNIT = 6  # of microsatellites
MICROSATELLITE_MIN, MICROSATELLITE_MEAN = 12, 40


class Families(NamedTuple):
    """The consensus sequences that a simulation's repeats are copies of."""

    background: MarkovSource
    alu: Codes
    l1: Codes


def draw_families(rng: np.random.Generator) -> Families:
    """The background and its repeat families."""
    background = MarkovSource(human_like(2))
    return Families(background, alu_consensus(rng), l1_consensus(rng, background))


def _microsatellites(rng: np.random.Generator, families: Families, n: int) -> Copies:
    """Tandem repeats of units of 1 to 6 bases, units drawn from the background."""
    lengths = MICROSATELLITE_MIN + rng.geometric(1 / (MICROSATELLITE_MEAN - MICROSATELLITE_MIN), n)
    units = families.background.sequences(rng, n, MAX_UNIT)
    unit_lengths = rng.integers(1, MAX_UNIT + 1, n)
    offsets = ranges(np.zeros(n, dtype=np.intp), lengths)
    codes = units[np.repeat(np.arange(n), lengths), offsets % np.repeat(unit_lengths, lengths)]
    return Copies(codes, lengths)


def _paste(rng: np.random.Generator, codes: Codes, repeats: Copies) -> None:
    """Overwrite ``codes`` with copies at random places, soft-masked; what overhangs is left out."""
    places = ranges(rng.integers(0, len(codes), len(repeats.lengths)), repeats.lengths)
    inside = places < len(codes)
    codes[places[inside]] = repeats.codes[inside] | np.uint8(SOFT_MASK)


def _number(rng: np.random.Generator, length: int, coverage: float, mean_length: float) -> int:
    """How many copies in one epoch; after all epochs they cover that fraction of the sequence."""
    return int(rng.poisson(-np.log1p(-coverage) * length / mean_length / EPOCHS))


def draw_ancestor(
    rng: np.random.Generator, families: Families, length: int, ts_tv: float, cpg: float
) -> Codes:
    """A stretch of the ancestor's genome, (length,) codes without N.

    Args:
        rng: source of chance.
        families: see `draw_families`.
        length: bases.
        ts_tv: transitions over transversions, by number.
        cpg: factor of the rate of CpG transitions.
    """
    codes = families.background.sequences(rng, 1, length)[0]
    for _ in range(EPOCHS):
        lengths = l1_lengths(rng, _number(rng, length, L1_COVERAGE, l1_mean_length()))
        _paste(rng, codes, copies(rng, families.l1, lengths))
        size = len(families.alu)
        lengths = np.full(_number(rng, length, ALU_COVERAGE, size), size)
        _paste(rng, codes, copies(rng, families.alu, lengths))
        n = _number(rng, length, MICROSATELLITE_COVERAGE, MICROSATELLITE_MEAN)
        _paste(rng, codes, _microsatellites(rng, families, n))
        substitute(rng, codes, EPOCH_LENGTH, ts_tv, cpg, factors=np.ones((64, 4)))
    return codes
