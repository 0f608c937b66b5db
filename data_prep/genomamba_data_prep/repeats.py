"""Lengths of short tandem repeats: what words of a few bases do not see of a window.

Genome assemblies differ in them: the technology and the assembler decide how long a run of one base
or a microsatellite comes out, and species differ in them, too.

Letters: L bases, F features.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import BASE_BITS, Codes, N

PERIODS = (1, 2, 3, 4)  # bases of the unit
EDGES = (4, 5, 6, 7, 8, 9, 11, 13, 16, 19, 23, 27, 32, 38, 45)  # bases; a quarter of an octave
KINDS = 1 + len(PERIODS)  # runs of A or T are apart from those of C or G
FEATURES = KINDS * len(EDGES)


def repeat_features(codes: Codes) -> npt.NDArray[np.float64]:
    """Repeats a base, by kind and length, (L,) -> (``FEATURES``,); the same on either strand.

    A repeat is a longest stretch in which every base but the first unit equals the one a unit
    before it. It is counted at its whole length, the unit's repetition at least 4 bases long (of
    runs, the run itself), and under its shortest period only. N ends a repeat.

    Args:
        codes: soft-mask bit allowed.
    """
    bases = codes & np.uint8(BASE_BITS)
    found = [np.zeros(0, np.int64)] * KINDS
    for period in PERIODS:
        starts, lengths = _stretches(bases, period)
        lengths += period
        least = EDGES[0] + (period if period > 1 else 0)
        kept = (lengths >= least) & ~_has_shorter_period(bases, starts, period)
        starts, lengths = starts[kept], lengths[kept]
        if period == 1:
            weak = np.isin(bases[starts], (0, 3))  # A or T
            found[0], found[1] = lengths[weak], lengths[~weak]
        else:
            found[period] = lengths
    bins = [np.searchsorted(EDGES, lengths, side="right") - 1 for lengths in found]
    counts = [np.bincount(own, minlength=len(EDGES)) for own in bins]
    return np.concatenate(counts) / max(1, len(codes))


def _stretches(bases: Codes, period: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where bases equal those a period later: each stretch's start and length."""
    equal = (bases[period:] == bases[:-period]) & (bases[period:] != N)
    borders = np.flatnonzero(np.diff(equal, prepend=False, append=False))
    return borders[::2], borders[1::2] - borders[::2]


def _has_shorter_period(
    bases: Codes, starts: npt.NDArray[np.int64], period: int
) -> npt.NDArray[np.bool_]:
    """Whether the unit at each start is itself a repetition."""
    shorter = [p for p in PERIODS if p < period and period % p == 0]
    unit = bases[starts[:, None] + np.arange(period)]
    found = np.zeros(len(starts), dtype=bool)
    for p in shorter:
        found |= (unit == np.roll(unit, p, axis=1)).all(axis=1)
    return found
