"""The optimum: exact likelihoods, and the accuracy that they give."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from genomamba_data_prep.codes import SOFT_MASK, reverse_complement
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.simulate import bayes
from genomamba_data_prep.simulate.generate import MarkovSource
from genomamba_data_prep.simulate.masks import Runs
from genomamba_data_prep.simulate.truth import MarkovTruth

MakeTruth = Callable[..., MarkovTruth]


def slow_log_likelihood(p: np.ndarray, k: int, codes: np.ndarray) -> float:
    """Base by base; after an N the context is empty."""
    total, context = 0.0, ()
    for base in (codes & 7).tolist():
        if base == 4:
            context = ()
            continue
        tensor = p.reshape((4,) * (k + 1))
        law = tensor.sum(tuple(range(len(context) + 1, k + 1))) if len(context) < k else tensor
        total += np.log(law[(*context, base)] / law[context].sum())
        context = (*context, base)[-k:]
    return total


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 50])
def test_log_likelihoods_base_by_base(make_truth: MakeTruth, k: int, length: int) -> None:
    truth = make_truth(order=k)
    rng = np.random.default_rng(length)
    codes = rng.choice(5, (20, length), p=[0.22] * 4 + [0.12]).astype(np.uint8)
    codes |= rng.choice([0, SOFT_MASK], codes.shape).astype(np.uint8)
    codes[0] = 4
    found = bayes.log_likelihoods(truth, codes)
    expected = [[slow_log_likelihood(p, k, row) for p in truth.word_probabilities] for row in codes]
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert (found[0] == 0).all()


def test_strands_are_equally_likely(make_truth: MakeTruth) -> None:
    truth = make_truth()
    rng = np.random.default_rng(0)
    codes = MarkovSource(truth.word_probabilities[2]).sequences(rng, 50, 500)
    codes[:, 100:130] = 4
    np.testing.assert_allclose(
        bayes.log_likelihoods(truth, codes),
        bayes.log_likelihoods(truth, reverse_complement(codes)),
        atol=1e-9,
    )


def test_blocks_of_windows_do_not_matter(
    make_truth: MakeTruth, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = make_truth()
    codes = MarkovSource(truth.word_probabilities[0]).sequences(np.random.default_rng(0), 37, 100)
    whole = bayes.log_likelihoods(truth, codes)
    monkeypatch.setattr(bayes, "BASES_AT_ONCE", 500)
    np.testing.assert_allclose(whole, bayes.log_likelihoods(truth, codes), rtol=1e-13)


def test_accuracy_agrees_with_hits_and_rises(make_truth: MakeTruth) -> None:
    truth = make_truth(n_runs=Runs(0.02, 50.0))
    optima = bayes.optimal_accuracy(truth, [64, 512, 4096], windows=4000, seed=1)
    assert [optimum.length for optimum in optima] == [64, 512, 4096]
    assert optima[0].accuracy < optima[1].accuracy < optima[2].accuracy
    for optimum in optima:
        accuracy = optimum.accuracy
        hits_error = np.sqrt(accuracy * (1 - accuracy) / optimum.windows)
        assert abs(optimum.hits - accuracy) < 4 * np.hypot(hits_error, optimum.standard_error)


def test_standard_error_is_that_of_repeated_runs(make_truth: MakeTruth) -> None:
    truth = make_truth()
    runs = [bayes.optimal_accuracy(truth, [512], 200, seed)[0] for seed in range(40)]
    spread = np.std([run.accuracy for run in runs], ddof=1)
    assert spread == pytest.approx(np.mean([run.standard_error for run in runs]), rel=0.4)


def gaussian_limit(bases: float, kl: float) -> float:
    """Five equidistant sources, many bases: E[phi(z + sqrt(kl bases)) ** 4], z standard normal."""
    z = np.linspace(-8, 8, 2001)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    below = np.array([0.5 * math.erfc(-(x + math.sqrt(kl * bases)) / math.sqrt(2)) for x in z])
    return float((density * below**4).sum() * (z[1] - z[0]))


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (1.5e-5, {2**10: 0.23, 2**14: 0.34, 2**16: 0.49}),
        (2e-3, {2**10: 0.63, 2**11: 0.79, 2**13: 0.99}),
    ],
    ids=["paper", "demo"],
)
def test_presets(make_truth: MakeTruth, kl: float, expected: dict[int, float]) -> None:
    optima = bayes.optimal_accuracy(make_truth(kl=kl), list(expected), windows=500)
    for optimum, accuracy in zip(optima, expected.values(), strict=True):
        limit = gaussian_limit(optimum.length, kl)
        assert limit == pytest.approx(accuracy, abs=0.01)
        assert optimum.accuracy == pytest.approx(limit, abs=4 * optimum.standard_error + 0.003)


def test_windows_obey_the_n_policy(make_truth: MakeTruth) -> None:
    truth = make_truth(n_runs=Runs(0.2, 40.0))
    for _, codes in bayes._windows(truth, 400, 100, 0, 0.1):
        assert (codes == 4).mean(1).max() <= 0.1
        assert (codes == 4).any()
    with pytest.raises(InputError, match="max-n-fraction"):
        bayes.optimal_accuracy(make_truth(n_runs=Runs(0.9, 20.0)), [4000], 5, max_n_fraction=0)


@pytest.mark.parametrize(
    "arguments", [{"lengths": []}, {"lengths": [0]}, {"windows": 0}, {"max_n_fraction": 1.0}]
)
def test_refuses(make_truth: MakeTruth, arguments: dict) -> None:
    with pytest.raises(InputError):
        bayes.optimal_accuracy(make_truth(), **({"lengths": [10], "windows": 10} | arguments))
