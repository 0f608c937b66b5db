"""The bootstrap over loci: standard errors of figures of windows that are dependent within loci.

Windows of one locus overlap, and where species share loci they are orthologous: whole loci are
drawn again, never windows. There are two cases, which the data tell apart:

- *Shared loci.* Some locus has windows of two species. All loci are drawn together, in all species
  at once.
- *Loci of their own.* Every locus has windows of one species only. Each species' loci are a
  stratum, drawn among themselves, and a draw is scaled to as many windows as the species has: how
  many windows are of which species was decided when they were chosen, and is no chance of the data.
  Drawing all loci together would count it as one. A species with a single locus has no spread to
  measure: all are drawn together then, which errs on the wide side.

One stratum is drawn at a time, the others as they are. A stratum of G loci has the variance of its
draws times G / (G - 1), because the bootstrap divides by G where G - 1 is due. Variances add up,
and the degrees of freedom are Welch's and Satterthwaite's, (sum v)^2 / sum(v^2 / (G - 1)): of one
stratum G - 1. With few loci a percentile interval would be far too narrow (Hesterberg 2015, Am Stat
69:371, section 3.2).

Letters: B windows, G loci, F sums, K figures, R replicates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

REPLICATES = 4000
MIN_LOCI = 5  # with fewer the spread between them says too little: no interval, no judgement
CHUNK = 1 << 22  # numbers of the resampling held at a time

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Spread(NamedTuple):
    """How sure figures are, each (K,).

    Attributes:
        error: standard error; nan with fewer than ``MIN_LOCI`` loci.
        freedom: degrees of freedom of Student's t.
        loci: that have any of what the figure is of.
    """

    error: Floats
    freedom: Floats
    loci: Ints

    @property
    def half(self) -> Floats:
        """Half of the 95 % interval, nan where there is none."""
        from scipy.stats import t

        return t.ppf(0.975, self.freedom) * self.error


def sum_by_locus(terms: Floats, loci: npt.NDArray) -> Floats:
    """Sums (G, F) of terms (B, F) over the windows of each locus, loci in sorted order."""
    names, member = np.unique(loci, return_inverse=True)
    sums = np.zeros((len(names), terms.shape[1]))
    np.add.at(sums, member.reshape(-1), terms)
    return sums


def locus_strata(loci: npt.NDArray, labels: Ints) -> Ints:
    """The stratum of each locus, (G,), loci in sorted order; zeros where all are drawn together.

    Args:
        loci: of each window, (B,), of any type that sorts.
        labels: its class, (B,).
    """
    names, member = np.unique(loci, return_inverse=True)
    member = member.reshape(-1)
    least = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(least, member, labels)
    shared = bool((least[member] != labels).any())
    strata, sizes = np.unique(least, return_inverse=True, return_counts=True)[1:]
    if shared or sizes.min() < 2:
        return np.zeros(len(names), dtype=np.int64)
    return strata.reshape(-1).astype(np.int64)


def bootstrap(
    sums: Floats,
    strata: Ints,
    figures: Callable[[Floats], Floats],
    seen: Bools | None = None,
    seed: int = 0,
) -> Spread:
    """Standard errors of figures that are made of sums over loci.

    Args:
        sums: (G, F), as `sum_by_locus` has them; the first column counts windows.
        strata: (G,), as `locus_strata` has them.
        figures: of sums (..., F), the figures (..., K); the same of sums that are all scaled alike.
            One may be nan where a draw has nothing that it is of.
        seen: (G, K), whether a locus has any of what a figure is of; None is all of all.
        seed: of the draws.
    """
    total = sums.sum(axis=0)
    if seen is None:
        seen = np.ones((len(sums), figures(total).shape[-1]), dtype=bool)
    loci = seen.sum(axis=0)
    if len(sums) < MIN_LOCI:
        return Spread(np.full(len(loci), np.nan), np.ones(len(loci)), loci)
    rng = np.random.Generator(np.random.PCG64(seed))
    variance, by_freedom = np.zeros(len(loci)), np.zeros(len(loci))
    for stratum in range(strata.max() + 1):
        own = strata == stratum
        rest = total - sums[own].sum(axis=0)
        drawn = _draw(sums[own], rest, figures, rng)
        count = seen[own].sum(axis=0)
        freedom = np.maximum(count - 1, 1)
        added = _variance(drawn) * count / freedom
        variance += added
        by_freedom += added**2 / freedom
    # Where nothing varies the interval has no width, whatever the degrees of freedom.
    known = by_freedom > 0
    freedom = np.where(known, variance**2 / np.where(known, by_freedom, 1), 1)
    return Spread(np.where(loci < MIN_LOCI, np.nan, np.sqrt(variance)), freedom, loci)


def _draw(
    sums: Floats, rest: Floats, figures: Callable[[Floats], Floats], rng: np.random.Generator
) -> Floats:
    """Figures (R, K) with a stratum's loci drawn again, scaled to its windows, beside the rest."""
    loci, windows = len(sums), sums[:, 0].sum()
    even = np.full(loci, 1 / loci)
    left, found = REPLICATES, []
    while left:
        times = rng.multinomial(loci, even, size=min(left, max(1, CHUNK // loci)))
        drawn = times @ sums
        drawn *= windows / drawn[:, :1]
        found.append(figures(rest + drawn))
        left -= len(times)
    return np.concatenate(found)


def _variance(figures: Floats) -> Floats:
    """Of each column of (R, K), over the replicates that have the figure."""
    there = np.isfinite(figures)
    count = np.maximum(there.sum(axis=0), 1)
    centre = np.where(there, figures, 0).sum(axis=0) / count
    return np.where(there, (figures - centre) ** 2, 0).sum(axis=0) / count


def mean_spread(values: Floats, labels: Ints, loci: npt.NDArray, seed: int = 0) -> Spread:
    """Of the mean of ``values`` (B,) of windows with ``labels`` (B,) in ``loci`` (B,); K is 1."""
    sums = sum_by_locus(np.stack([np.ones(len(values)), values], axis=1), loci)
    return bootstrap(sums, locus_strata(loci, labels), _mean, seed=seed)


def _mean(sums: Floats) -> Floats:
    return sums[..., 1:] / sums[..., :1]
