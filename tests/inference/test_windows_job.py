from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from genomamba.cli import main
from genomamba.inference.budget import Budget
from genomamba.inference.options import Options
from genomamba.inference.parts import Results
from genomamba.inference.reading import Piece
from genomamba.inference.windows_job import classify_windows
from genomamba_data_prep.codes import Codes, N
from genomamba_data_prep.fasta import read_fasta

CLASSES = ["prob_ape", "prob_bear", "prob_cat"]
WINDOW = 10


class FakeClassifier:
    """The share of A and C, and the bases of every batch."""

    n_classes = 2

    def __init__(self) -> None:
        self.batches: list[int] = []

    def limit(self, bases: int) -> None:
        pass

    def __call__(self, windows: Sequence[Codes]) -> np.ndarray:
        self.batches.append(sum(map(len, windows)))
        share = np.array([0.01 + 0.98 * np.isin(codes, (0, 1)).mean() for codes in windows])
        return np.log(np.stack([share, 1 - share], axis=1))


def _run(windows: list[Codes], max_bases: int = 10_000, **options) -> tuple[Results, list[int]]:
    classifier, told = FakeClassifier(), []
    pieces = [Piece(i, 0, len(codes), codes) for i, codes in enumerate(windows)]
    job = Options(window=WINDOW, max_bases=max_bases, **options)
    budget = Budget(max_bases, told.append)
    found = classify_windows(pieces, classifier, job, budget, told.append)  # type: ignore[arg-type]
    assert sum(told) == sum(map(len, windows))
    return found, classifier.batches


@pytest.mark.parametrize("max_bases", [1, 9, 10, 11, 25, 1000])
def test_results_are_in_order_and_independent_of_the_batch(max_bases: int) -> None:
    rng = np.random.default_rng(0)
    windows = [rng.integers(0, 5, length).astype(np.uint8) for length in (3, 10, 10, 7, 1, 10, 9)]
    found, batches = _run(windows, max_bases)
    whole, _ = _run(windows)
    for mine, theirs in zip(found, whole, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert max(batches) <= max(max_bases, WINDOW)
    assert found.record.tolist() == list(range(7))


def test_windows_of_n_are_skipped() -> None:
    windows = [np.array(codes, np.uint8) for codes in ([0] * 4 + [N] * 6, [N] * 10, [0] * 5 + [N])]
    for max_n, usable in ((0.5, [False, False, True]), (1.0, [True, False, True])):
        found, _ = _run(windows, max_n=max_n)
        assert (~np.isnan(found.log_probabilities[:, 0, 0])).tolist() == usable
        assert found.n_count.tolist() == [6, 10, 1]


def test_both_strands() -> None:
    codes = np.array([0] * 7 + [3] * 3, np.uint8)  # A is 0.7 of it, 0.3 of its reverse complement
    found, _ = _run([codes], both_strands=True)
    shares = np.exp(found.log_probabilities[0, :, 0])
    assert shares.tolist() == pytest.approx([0.01 + 0.98 * 0.7, 0.01 + 0.98 * 0.3])


def _classify(fasta: Path, checkpoint: Path, out: Path, *options: str) -> pd.DataFrame:
    arguments = ["classify", fasta, "--checkpoint", checkpoint, "--output", out, *options]
    assert main([*map(str, arguments), "--device", "cpu"]) == 0
    return pd.read_csv(out, sep="\t").set_index("record")


@pytest.mark.parametrize("mode", ["windows", "stream"])
def test_a_record_has_the_same_prediction_alone_and_in_any_batch(
    mode: str, tmp_path: Path, checkpoint: Path, write_fasta
) -> None:
    lengths = [*np.random.default_rng(5).integers(5, 400, 8).tolist(), 1, 64, 128]
    fasta = write_fasta({f"r{i}": length for i, length in enumerate(lengths)})
    out, options = tmp_path / "out.tsv", ["--mode", mode, "--both-strands", "--records"]
    names = [f"r{i}" for i in range(len(lengths))]
    alone = pd.concat([_classify(fasta, checkpoint, out, *options, name) for name in names])
    for max_bases in ("64", "333", "1000000"):
        batched = _classify(fasta, checkpoint, out, *options, *names, "--max-bases", max_bases)
        np.testing.assert_allclose(batched[CLASSES], alone[CLASSES], atol=1e-5, rtol=0)
        assert (batched["prediction"] == alone["prediction"]).all()
    assert alone[CLASSES].std().max() > 0.1  # the records do differ


def test_a_record_has_the_mean_log_probability_of_its_windows(
    tmp_path: Path, checkpoint: Path, write_fasta, model
) -> None:
    fasta, windows = write_fasta({"a": 300, "b": 64}), tmp_path / "w.tsv"
    track = tmp_path / "t.parquet"
    further = ["--windows-output", str(windows), "--track", str(track)]
    table = _classify(fasta, checkpoint, tmp_path / "out.tsv", *further)
    rows = pd.read_parquet(track)
    assert rows["start"].tolist() == [0, 64, 128, 192, 236, 0]
    scores = rows[[f"log_{name}" for name in CLASSES]]
    records = {record.name: record.codes for record in read_fasta(fasta)}
    for (_, row), found in zip(rows.iterrows(), scores.to_numpy(), strict=True):
        codes = records[row["record"]][row["start"] : row["end"]].astype(np.int64)
        with torch.no_grad():
            own = model(torch.from_numpy(codes)[None]).log_softmax(-1)[0]
        np.testing.assert_allclose(np.exp(found), own.exp(), atol=1e-5)
    mean = np.exp(scores.groupby(rows["record"]).mean())
    expected = mean.div(mean.sum(axis=1), axis=0).to_numpy()
    np.testing.assert_allclose(table[CLASSES], expected, atol=2e-6)
    text = pd.read_csv(windows, sep="\t")
    np.testing.assert_allclose(text[CLASSES], np.exp(scores), atol=2e-6)
