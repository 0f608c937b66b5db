"""The best accuracy that any classifier can reach on a Markov simulation: exact likelihood ratios.

log P(window | species) is linear in the counts of the window's words of k + 1 bases, plus the
start: a window's first k bases, and the k bases after a run of N, have the stationary law. With
equal priors the posterior is the softmax over species, and the optimum's accuracy is the mean of
its maximum. The sources are closed under reverse complement, so a strand and its complement have
the same likelihood and an unknown strand costs nothing.

A run of N restarts the context. For runs shorter than the source's memory (some ten bases) that
forgets a little; the rest is exact.

Letters: B windows, L bases, S species, W = 4 ** (k + 1) words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import BASE_BITS, Codes, N
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.simulate.generate import MarkovSource
from genomamba_data_prep.simulate.masks import Runs
from genomamba_data_prep.simulate.truth import MarkovTruth
from genomamba_data_prep.simulate.words import Floats, conditional, left_marginal

BASES_AT_ONCE = 2**21
MAX_REDRAWS = 1000


class Optimum(NamedTuple):
    """The optimal classifier's accuracy at one length.

    Attributes:
        length: bases a window.
        windows: number of windows.
        accuracy: mean of the largest posterior, which is the optimum's expected accuracy.
        standard_error: of ``accuracy``.
        hits: fraction of the windows that the optimum classified right.
    """

    length: int
    windows: int
    accuracy: float
    standard_error: float
    hits: float


def _log_conditionals(word_probabilities: Floats) -> list[Floats]:
    """log P(base | the j bases before it) for j = 0 ... k, each (S, 4 ** (j + 1))."""
    laws = [word_probabilities]
    while laws[0].shape[1] > 4:
        laws.insert(0, left_marginal(laws[0]))
    return [np.log(conditional(law)) for law in laws]


def log_likelihoods(truth: MarkovTruth, codes: Codes) -> Floats:
    """Log-likelihood of windows under every species' source.

    Args:
        truth: the sources.
        codes: (B, L) codes, N and the soft-mask bit included.

    Returns:
        (B, S) nats; a window of N only has likelihood 1 under all.
    """
    codes = np.atleast_2d(codes)
    tables = _log_conditionals(truth.word_probabilities)
    result = np.empty((len(codes), len(truth.species)))
    rows = max(1, BASES_AT_ONCE // max(1, codes.shape[1]))
    for first in range(0, len(codes), rows):
        bases = codes[first : first + rows] & np.uint8(BASE_BITS)
        result[first : first + rows] = _word_counts(bases, truth.order + 1) @ tables[-1].T
        _add_starts(result[first : first + rows], bases, tables[:-1])
    return result


def _word_counts(bases: Codes, length: int) -> Floats:
    """How often every word of ``length`` bases occurs in each window, (B, L) -> (B, W)."""
    n_windows, n_words = len(bases), 4**length
    last = bases.shape[1] - length + 1
    if last <= 0:
        return np.zeros((n_windows, n_words))
    words = np.zeros((n_windows, last), dtype=np.uint16)
    for offset in range(length):
        words = words * np.uint16(4) + bases[:, offset : offset + last]
    unknown = bases >= N
    if unknown.any():
        for offset in range(length):
            words[unknown[:, offset : offset + last]] = n_words
    bins = words + np.arange(n_windows, dtype=np.intp)[:, None] * (n_words + 1)
    counts = np.bincount(bins.ravel(), minlength=n_windows * (n_words + 1))
    return counts.reshape(n_windows, n_words + 1)[:, :-1].astype(np.float64)


def _add_starts(result: Floats, bases: Codes, tables: list[Floats]) -> None:
    """Add the terms of the first k bases of every stretch without N, in place."""
    starts = bases < N
    starts[:, 1:] &= bases[:, :-1] >= N
    row, position = np.nonzero(starts)
    words = np.zeros(len(row), dtype=np.intp)
    for table in tables:
        inside = position < bases.shape[1]
        row, position, words = row[inside], position[inside], words[inside]
        base = bases[row, position]
        known = base < N
        row, position, base = row[known], position[known], base[known]
        words = words[known] * 4 + base
        np.add.at(result, row, table[:, words].T)
        position = position + 1


def posteriors(log_likelihood: Floats) -> Floats:
    """P(species | window) with equal priors, (B, S)."""
    shifted = np.exp(log_likelihood - log_likelihood.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def summarise(length: int, posterior: Floats, labels: npt.NDArray[np.integer]) -> Optimum:
    """The optimum on windows of known species; the standard error is a stratified sample's."""
    best = posterior.max(1)
    strata = [best[labels == label] for label in np.unique(labels)]
    variance = sum(part.var(ddof=1) * len(part) for part in strata if len(part) > 1)
    return Optimum(
        length=length,
        windows=len(best),
        accuracy=float(best.mean()),
        standard_error=float(np.sqrt(variance)) / len(best),
        hits=float((posterior.argmax(1) == labels).mean()),
    )


def _n_mask(
    runs: Runs, rng: np.random.Generator, n: int, length: int, max_n_fraction: float
) -> npt.NDArray[np.bool_]:
    """Masks of windows, (n, L); those with too much N are redrawn, as for the model."""
    mask = np.empty((n, length), dtype=bool)
    refused = np.arange(n)
    for _ in range(MAX_REDRAWS):
        mask[refused] = runs.draw(rng, len(refused) * length).reshape(len(refused), length)
        fraction = mask[refused].mean(1)
        refused = refused[fraction > max_n_fraction]
        if not len(refused):
            return mask
    raise InputError(
        f"almost no window of {length} bases has at most {max_n_fraction:g} of N",
        fix="Raise --max-n-fraction",
    )


def _windows(
    truth: MarkovTruth, length: int, per_species: int, seed: int, max_n_fraction: float
) -> Iterator[tuple[int, Codes]]:
    """Fresh windows of every species in blocks: label, codes (B, L)."""
    rows = max(1, BASES_AT_ONCE // length)
    for label, word_probabilities in enumerate(truth.word_probabilities):
        source = MarkovSource(word_probabilities)
        key = np.random.SeedSequence(seed, spawn_key=(length, label))
        rng = np.random.Generator(np.random.PCG64(key))
        for first in range(0, per_species, rows):
            n = min(rows, per_species - first)
            codes = source.sequences(rng, n, length)
            codes[_n_mask(truth.n_runs, rng, n, length, max_n_fraction)] = N
            yield label, codes


def optimal_accuracy(
    truth: MarkovTruth,
    lengths: Sequence[int],
    windows: int = 1000,
    seed: int = 0,
    *,
    max_n_fraction: float = 0.1,
    progress: Callable[[int], object] | None = None,
) -> list[Optimum]:
    """The optimum by window length, on fresh windows of the sources.

    Args:
        truth: the sources; equal priors.
        lengths: bases a window.
        windows: at each length, rounded up to the same number of every species.
        seed: of the windows.
        max_n_fraction: windows with a larger fraction of N are redrawn; in [0, 1).
        progress: called with the number of bases done since the last call.

    Raises:
        InputError: a length or number that is not positive, or no window passes ``max_n_fraction``.
    """
    if min(lengths, default=0) < 1 or windows < 1:
        raise InputError("expected lengths and a number of windows of at least 1")
    if not 0 <= max_n_fraction < 1:
        raise InputError(f"expected max_n_fraction in [0, 1), got {max_n_fraction}")
    per_species = -(-windows // len(truth.species))
    result = []
    for length in lengths:
        found, labels = [], []
        for label, codes in _windows(truth, length, per_species, seed, max_n_fraction):
            found.append(posteriors(log_likelihoods(truth, codes)))
            labels.extend([label] * len(codes))
            if progress is not None:
                progress(codes.size)
        result.append(summarise(length, np.concatenate(found), np.array(labels)))
    return result
