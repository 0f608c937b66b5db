"""Equally different sources: stationary, closed under reverse complement, of a chosen KL rate.

A source is a distribution p over words of k + 1 bases (see ``words``). Its perturbations p + δ that
are sources again form a linear space: δ sums to 0, δ(word) = δ(reverse complement of word), and the
left and right k-mer marginals of δ agree. To second order the KL rate between p + δ and p + δ' is
half the squared length of δ - δ' in the Fisher information of the conditional distribution, so the
vertices of a regular simplex, in a random orthonormal frame of that space, are sources at equal
distance. Gauss-Newton steps then bring all directed rates to the target exactly.

Letters: S species, W = 4 ** (k + 1) words, F free directions.
"""

from __future__ import annotations

import numpy as np

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.simulate.words import (
    Floats,
    conditional,
    kl_rates,
    left_marginal,
    reverse_complement_words,
    right_marginal,
    word_length,
)

MAX_ORDER = 5
FRAME = 12  # free directions that the refinement may use; the simplex itself lies in S of them
TOLERANCE = 1e-6  # of the target, for every directed rate
STEPS = 30

# Trinucleotides of human sequence, both strands together, in 1e-5: the mean of a GC-rich part
# (34 Mb of GRCh38 chr1:25-66 Mb) and an AT-rich one (3.9 Mb of chr21). GC 0.396; CpG occurs 0.22
# times as often as the base composition gives.
HUMAN_TRINUCLEOTIDES = {
    "AAA": 7947,
    "AAC": 2938,
    "AAG": 3973,
    "AAT": 5380,
    "ACA": 4057,
    "ACC": 2224,
    "ACG": 455,
    "ACT": 3271,
    "AGA": 4410,
    "AGC": 2689,
    "AGG": 3402,
    "ATA": 4537,
    "ATC": 2685,
    "ATG": 3737,
    "CAA": 3815,
    "CAC": 2872,
    "CAG": 3893,
    "CCA": 3520,
    "CCC": 2425,
    "CCG": 472,
    "CGA": 402,
    "CGC": 409,
    "CTA": 2649,
    "CTC": 3256,
    "GAA": 3930,
    "GAC": 1826,
    "GCA": 2786,
    "GCC": 2239,
    "GGA": 2932,
    "GTA": 2371,
    "TAA": 4544,
    "TCA": 3954,
}


def _constraints(length: int) -> Floats:
    """Rows whose product with a perturbation vanishes: stationarity and the sum, (4**k + 1, W)."""
    unit = np.eye(4**length)
    return np.vstack([(left_marginal(unit) - right_marginal(unit)).T, np.ones(4**length)])


def _project(x: Floats, p: Floats) -> Floats:
    """The nearest perturbations in the space, in the sense of sum δ² / p, (W, F) -> (W, F).

    Reverse complementing permutes the constraints, so the projection keeps the symmetry.
    """
    length = word_length(len(p))
    x = (x + x[reverse_complement_words(length)]) / 2
    scale = np.sqrt(p)[:, None]
    rows = _constraints(length) * scale.T
    y = x / scale
    return (y - rows.T @ np.linalg.lstsq(rows @ rows.T, rows @ y, rcond=None)[0]) * scale


def human_like(k: int) -> Floats:
    """A source of order ``k`` with human trinucleotide (k = 1: dinucleotide) composition, (W,)."""
    p = np.zeros(64)
    for word, count in HUMAN_TRINUCLEOTIDES.items():
        p[sum("ACGT".index(base) * 4**i for i, base in enumerate(reversed(word)))] = count
    p += p[reverse_complement_words(3)]
    p /= p.sum()
    uniform = np.full_like(p, 1 / 64)
    p = (
        uniform + _project((p - uniform)[:, None], p)[:, 0]
    )  # the table's rounding breaks stationarity
    if k == 1:
        return left_marginal(p)
    transition = conditional(p).reshape(16, 4)
    for _ in range(k - 2):
        p = (p.reshape(-1, 16, 1) * transition).ravel()
    return p


def _frame(p: Floats, rng: np.random.Generator) -> Floats:
    """Random directions, orthonormal in the Fisher information of the conditional, (W, F).

    For perturbations δ, ε of p the information is sum over words of δ(a|w) ε(a|w) p(w) / p(a|w),
    where δ(a|w) = (δ(wa) - p(a|w) δ(w)) / p(w); the KL rate is half of it to second order.
    """
    directions = _project(p[:, None] * rng.standard_normal((len(p), FRAME)), p)
    context = np.repeat(left_marginal(p), 4)[:, None]
    transition = conditional(p)[:, None]
    change = directions - transition * np.repeat(left_marginal(directions.T).T, 4, axis=0)
    change /= np.sqrt(context * transition)
    _, values, rotation = np.linalg.svd(change, full_matrices=False)
    keep = values > 1e-6 * values[0]  # order 1 has fewer than FRAME free directions
    return directions @ (rotation[keep].T / values[keep])


def _rate_gradients(p: Floats) -> tuple[Floats, Floats]:
    """Derivatives of the rate (s, t) by p_s and by p_t, each (S, S, W)."""
    log = np.log(conditional(p))
    context = np.repeat(left_marginal(p), 4, axis=-1)
    by_first = log[:, None] - log[None]
    by_second = context[:, None] / context[None] - p[:, None] / p[None]
    return by_first, by_second


def equidistant_sources(k: int, kl: float, n_species: int, seed: int) -> Floats:
    """Sources whose directed KL rates all equal ``kl`` nats a base, (S, W).

    Args:
        k: order of the sources, 1 to ``MAX_ORDER``.
        kl: the rate between any two, nats a base.
        n_species: number of sources.
        seed: of the random directions in which they differ.

    Raises:
        InputError: an order out of range, or a rate too high for sources near human composition.
    """
    if not 1 <= k <= MAX_ORDER:
        raise InputError(f"order {k}: expected 1 to {MAX_ORDER}", fix="Give --order 2")
    if not kl > 0:
        raise InputError(f"KL rate {kl}: expected a positive number", fix="Give --kl 1.5e-5")
    base = human_like(k)
    frame = _frame(base, np.random.Generator(np.random.PCG64(seed)))
    positions = np.zeros((n_species, frame.shape[1]))
    positions[:, :n_species] = np.sqrt(kl) * (np.eye(n_species) - 1 / n_species)
    first, second = np.nonzero(~np.eye(n_species, dtype=bool))
    for _ in range(STEPS):
        p = base + positions @ frame.T
        if p.min() <= 0:
            break
        missing = kl - kl_rates(p)[first, second]
        if np.abs(missing).max() <= TOLERANCE * kl:
            return p
        by_first, by_second = (gradient @ frame for gradient in _rate_gradients(p))
        jacobian = np.zeros((len(first), n_species, frame.shape[1]))
        pairs = np.arange(len(first))
        jacobian[pairs, first] = by_first[first, second]
        jacobian[pairs, second] = by_second[first, second]
        step = np.linalg.lstsq(jacobian.reshape(len(first), -1), missing, rcond=None)[0]
        positions += step.reshape(positions.shape)
    raise InputError(
        f"no {n_species} sources of order {k} with equal KL rates of {kl} nats a base were found",
        fix="Lower --kl or change --seed",
    )
