from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from genomamba.inference.records import Options, RecordClassifier
from genomamba_data_prep.codes import Codes, N, reverse_complement

CLASSES = ["ape", "bear"]
WINDOW = 10


class Rows:
    def __init__(self) -> None:
        self.rows: list[dict] = []

    def write(self, row: dict) -> None:
        self.rows.append(row)


class FakeClassifier:
    """The share of A and C, and the largest batch seen."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, windows: Sequence[Codes]) -> np.ndarray:
        self.batches.append(sum(map(len, windows)))
        share = np.array([0.01 + 0.98 * np.isin(codes, (0, 1)).mean() for codes in windows])
        return np.log(np.stack([share, 1 - share], axis=1))


def _run(records, batch_bases=10_000, both_strands=False, max_n_fraction=0.5):
    classify, table, windows = FakeClassifier(), Rows(), Rows()
    options = Options(WINDOW, batch_bases, max_n_fraction, both_strands)
    run = RecordClassifier(classify, CLASSES, options, table, windows)
    for name, codes in records:
        run.add("file.fa", name, np.asarray(codes, dtype=np.uint8))
    return run.finish(), table.rows, windows.rows, classify


def _random(lengths: list[int]) -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(f"r{i}", rng.integers(0, 5, length)) for i, length in enumerate(lengths)]


@pytest.mark.parametrize("batch_bases", [1, 9, 10, 11, 25, 1000])
def test_rows_are_in_order_and_independent_of_the_batch(batch_bases: int) -> None:
    records = _random([3, 10, 47, 1, 100, 9, 20])
    counts, table, windows, classify = _run(records, batch_bases)
    _, whole_table, whole_windows, _ = _run(records, 10_000)
    assert table == whole_table
    assert windows == whole_windows
    assert [row["record"] for row in table] == [name for name, _ in records]
    assert max(classify.batches) <= max(batch_bases, WINDOW)
    assert counts.windows == len([row for row in windows if "prediction" in row])


def test_a_record_has_the_mean_log_probability_of_its_windows() -> None:
    _, table, windows, _ = _run([("r", [0] * 10 + [2] * 5 + [0] * 5)])
    log_mean = np.mean([[np.log(row[f"prob_{name}"]) for name in CLASSES] for row in windows], 0)
    expected = np.exp(log_mean) / np.exp(log_mean).sum()
    assert [table[0][f"prob_{name}"] for name in CLASSES] == pytest.approx(expected)
    assert table[0]["prediction"] == "ape"
    assert table[0]["probability"] == pytest.approx(expected[0])


def test_windows_of_n_are_skipped_and_counted() -> None:
    codes = [0] * 10 + [N] * 10 + [2] * 4 + [N] * 6
    counts, table, windows, _ = _run([("r", codes), ("gap", [N] * 30)])
    assert [("reason" in row) for row in windows] == [False, True, True, True, True, True]
    assert (table[0]["windows"], table[0]["windows_skipped"]) == (1, 2)
    assert table[0]["n_fraction"] == pytest.approx(16 / 30)
    assert table[1]["reason"]
    assert "prediction" not in table[1]
    assert (counts.windows, counts.windows_skipped) == (1, 5)
    assert counts.records_without_prediction == 1


def test_a_window_of_n_only_is_skipped_whatever_the_fraction() -> None:
    counts, *_ = _run([("r", [N] * 10)], max_n_fraction=1.0)
    assert counts.windows_skipped == 1


def test_both_strands_are_averaged() -> None:
    codes = np.array([0] * 7 + [3] * 3)  # A is 0.7 of it, and 0.3 of its reverse complement
    _, forward, *_ = _run([("r", codes)])
    _, reverse, *_ = _run([("r", reverse_complement(codes.astype(np.uint8)))])
    _, both, windows, _ = _run([("r", codes)], both_strands=True)
    assert both[0]["prob_ape"] == pytest.approx(0.5)
    apart = abs(forward[0]["prob_ape"] - reverse[0]["prob_ape"])
    assert both[0]["strand_disagreement"] == pytest.approx(apart)
    assert windows[0]["strand_disagreement"] == pytest.approx(apart)
