"""Confidence intervals of an accuracy: for independent windows, and for windows that share loci."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

NORMAL_975 = 1.959964  # the standard normal's 97.5 % quantile: intervals of 95 %


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion of independent trials (Wilson 1927).

    Unlike the plain normal interval it stays in [0, 1] and is sound near 0 and 1.

    Args:
        hits: successes, 0 to n.
        n: trials, at least 1.
    """
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"expected 0 <= hits <= n and n >= 1, got {hits} of {n}")
    p, z2 = hits / n, NORMAL_975**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_975 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def cluster_bootstrap(
    correct: npt.ArrayLike, clusters: npt.ArrayLike, seed: int = 0, replicates: int = 10_000
) -> tuple[float, float]:
    """The 95 % percentile interval of an accuracy whose windows are dependent within clusters.

    Whole clusters are drawn again with replacement. The windows of one locus belong in one cluster,
    in all species: they are orthologous, so that a locus which is hard is hard in each.

    Args:
        correct: (n,) whether each window's prediction is right.
        clusters: (n,) the cluster that each window belongs to, of any type that sorts.
        seed: of the resampling.
        replicates: number of resamples.
    """
    correct = np.asarray(correct, dtype=np.float64)
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"expected at least 2 clusters, got {len(names)}")
    hits = np.bincount(member, weights=correct)
    sizes = np.bincount(member)
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn = rng.integers(len(names), size=(replicates, len(names)))
    accuracy = hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(accuracy, [0.025, 0.975])
    return float(low), float(high)
