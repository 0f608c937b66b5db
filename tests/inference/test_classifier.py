from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from genomamba.inference.classifier import WindowClassifier
from genomamba_data_prep.codes import SOFT_MASK

LENGTHS = [64, 1, 64, 2, 63, 64, 5, 100, 100]


def _windows(lengths: list[int]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 5, length).astype(np.uint8) for length in lengths]


@pytest.mark.parametrize("positions", [1 << 13, 50, 1])
def test_batching_and_packing_do_not_change_the_result(model, positions, monkeypatch) -> None:
    monkeypatch.setattr("genomamba.inference.classifier.CPU_POSITIONS", positions)
    classify = WindowClassifier(deepcopy(model), 3)
    windows = _windows(LENGTHS)
    together = classify(windows)
    alone = np.concatenate([classify([window]) for window in windows])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together - together[0]).max() > 1e-2  # the windows do differ


def test_matches_the_model(model) -> None:
    window = _windows([64])[0]
    with torch.no_grad():
        expected = model(torch.from_numpy(window).long()[None]).log_softmax(-1)
    found = WindowClassifier(model, 3)([window])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.exp(found).sum(1), 1, atol=1e-9)


def test_soft_mask_is_no_information(model) -> None:
    classify = WindowClassifier(model, 3)
    windows = _windows([64, 10])
    masked = [window | np.uint8(SOFT_MASK) for window in windows]
    np.testing.assert_array_equal(classify(windows), classify(masked))


def test_on_the_cpu_rows_are_cut(model, monkeypatch) -> None:
    monkeypatch.setattr("genomamba.inference.classifier.CPU_POSITIONS", 50)
    model = deepcopy(model)
    classify, seen = WindowClassifier(model, 3), []
    forward = model.head.part
    monkeypatch.setattr(
        model.head, "part", lambda x, *rest: seen.append(x.shape[1]) or forward(x, *rest)
    )
    for limit, longest in ((1000, 50), (30, 30)):
        classify.limit(limit)
        classify(_windows(LENGTHS))
        assert max(seen) == longest
        assert sum(seen) == sum(LENGTHS)
        seen.clear()
