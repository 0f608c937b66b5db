"""Prefix readouts, metrics, intervals over loci, temperature: against their definitions."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from genomamba.inference.evaluate_logits import prefix_lengths, prefix_logits
from genomamba.inference.evaluate_metrics import BINS, log_probabilities, measure
from genomamba.inference.evaluate_temperature import fit_temperature, log_loss
from genomamba.models import MambaConfig, MambaForClassification
from genomamba_data_prep.audit.accuracy import score
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.intervals import wilson


@pytest.fixture(params=["mean", "last"])
def double_model(request: pytest.FixtureRequest) -> MambaForClassification:
    torch.manual_seed(1)
    config = MambaConfig(d_model=8, n_layer=2, d_state=4)
    model = MambaForClassification(config, 3, request.param).double().train()
    with torch.no_grad():
        model(torch.randint(0, 5, (4, 64)))
        model.head.out_proj.weight.normal_()
    return model.eval()


@pytest.mark.parametrize("max_bases", [1, 7, 100, 1 << 20])
def test_a_prefix_readout_is_the_model_on_the_cut_window(
    double_model: MambaForClassification, max_bases: int
) -> None:
    codes = np.random.default_rng(0).integers(0, 5, (3, 37)).astype(np.uint8)
    stops = [1, 2, 4, 16, 32, 37]
    found = prefix_logits(double_model, codes | 8, stops, max_bases)
    for stop, logits in zip(stops, found, strict=True):
        with torch.inference_mode():
            expected = double_model(torch.from_numpy(codes[:, :stop].astype(np.int64)))
        np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-9, atol=1e-10)


def test_in_single_precision(model: MambaForClassification) -> None:
    codes = np.random.default_rng(2).integers(0, 4, (2, 300)).astype(np.uint8)
    whole = prefix_logits(model, codes, [64, 300], 1 << 20)
    cut = prefix_logits(model, codes, [64, 300], 50)
    exact = prefix_logits(copy.deepcopy(model).double(), codes, [64, 300], 1 << 20)
    np.testing.assert_allclose(whole, exact, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(cut, exact, rtol=1e-4, atol=1e-4)


def test_prefix_lengths() -> None:
    assert prefix_lengths(500) == [500]
    assert prefix_lengths(1024) == [1024]
    assert prefix_lengths(5000) == [1024, 2048, 4096, 5000]


def drawn(n: int = 600, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the labels' distribution: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    gumbel = rng.gumbel(size=(n, classes))
    return logits, (logits + gumbel).argmax(axis=1)


def test_the_definitions() -> None:
    logits, labels = drawn()
    found = measure(logits, labels, np.arange(600) // 10, temperature=2.0)
    p = np.exp(log_probabilities(logits, 2.0))
    predicted, confidence = p.argmax(1), p.max(1)
    assert found.accuracy.value == np.mean(predicted == labels)
    assert found.log_loss.value == pytest.approx(-np.log(p[np.arange(600), labels]).mean())
    assert found.brier.value == pytest.approx(((p - np.eye(3)[labels]) ** 2).sum(1).mean())
    for label, estimate in enumerate(found.by_class):
        assert estimate.value == pytest.approx(np.mean(predicted[labels == label] == label))
        row = found.confusion[label]
        assert row.sum() == np.sum(labels == label)
        assert estimate.value == pytest.approx(row[label] / row.sum())
    ece = 0.0
    for i, bin_ in enumerate(found.bins):
        own = (confidence >= i / BINS) & ((confidence < (i + 1) / BINS) | (i == BINS - 1))
        assert bin_.windows == own.sum()
        if own.any():
            assert bin_.confidence == pytest.approx(confidence[own].mean())
            assert bin_.accuracy.value == pytest.approx((predicted == labels)[own].mean())
            ece += own.mean() * abs(bin_.confidence - bin_.accuracy.value)
        else:
            assert np.isnan(bin_.accuracy.value)
    assert found.ece.value == pytest.approx(ece)


def test_the_interval_is_over_loci() -> None:
    logits, labels = drawn()
    loci = np.random.default_rng(3).integers(0, 30, 600)
    found = measure(logits, labels, loci, seed=5)
    audit = score(logits.argmax(1), labels, loci, 3, seed=5)
    assert found.loci == audit.loci == 30
    assert found.accuracy.value == audit.accuracy
    assert found.accuracy.low == pytest.approx(audit.low)
    assert found.accuracy.high == pytest.approx(audit.high)
    assert found.ece == measure(logits, labels, loci, seed=5).ece
    # The same windows ten times, in the same loci, say no more than once.
    again = measure(*(np.repeat(x, 10, axis=0) for x in (logits, labels, loci)), seed=5)
    for one, ten in ((found.log_loss, again.log_loss), (found.ece, again.ece)):
        assert (one.low, one.high) == pytest.approx((ten.low, ten.high))
    # As loci of their own they would pretend to.
    single = measure(*(np.repeat(x, 2, axis=0) for x in (logits, labels)), np.arange(1200))
    assert single.accuracy.high - single.accuracy.low < found.accuracy.high - found.accuracy.low


def test_too_few_loci_have_no_interval() -> None:
    logits, labels = drawn()
    found = measure(logits, labels, np.arange(600) % 4)
    assert found.accuracy.low is None
    rare = np.where(labels == 2, 0, 1 + np.arange(600) % 20)  # class 2 is in one locus only
    found = measure(logits, labels, rare)
    assert found.accuracy.low is not None
    assert found.by_class[2].low is None


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_a_known_temperature_is_found(scale: float) -> None:
    logits, labels = drawn(20_000, 4)
    fitted = fit_temperature(logits * scale, labels)
    assert fitted == pytest.approx(scale, rel=0.03)
    assert fitted == pytest.approx(scale * fit_temperature(logits, labels), rel=1e-9)
    least = log_loss(logits * scale, labels, fitted)
    assert least <= min(log_loss(logits * scale, labels, fitted * f) for f in (0.99, 1.01))
    uncalibrated = measure(logits * 7.0, labels, np.arange(20_000) % 40)
    calibrated = measure(logits * 7.0, labels, np.arange(20_000) % 40, 7.0)
    assert calibrated.ece.value < 0.02 < uncalibrated.ece.value


def test_no_temperature_is_best() -> None:
    labels = np.array([0, 1, 0, 1])
    right = np.array([[2.0, 0], [0, 2], [2, 0], [0, 2]])
    with pytest.raises(InputError, match="classified right"):
        fit_temperature(right, labels)
    with pytest.raises(InputError, match="say nothing"):
        fit_temperature(-right, labels)
    with pytest.raises(InputError, match="say nothing"):
        fit_temperature(np.zeros((4, 2)), labels)


def test_an_interval_where_nothing_varies() -> None:
    labels = np.arange(40) % 2
    logits = np.where(np.arange(2) == labels[:, None], 3.0, 0.0)
    found = measure(logits, labels, np.arange(40) % 10)
    low, high = wilson(10, 10)  # ten loci, not forty windows
    assert (found.accuracy.value, found.accuracy.low, found.accuracy.high) == (1.0, low, high)
    assert found.by_class[0].low == wilson(5, 5)[0]  # the even loci
