from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genomamba.demo.evaluation import Row, evaluate, failed_checks, text_table
from genomamba_data_prep.codes import decode
from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.simulate.generate import MarkovSource
from genomamba_data_prep.simulate.markov import equidistant_sources
from genomamba_data_prep.simulate.masks import Runs
from genomamba_data_prep.simulate.truth import MarkovTruth
from genomamba_data_prep.store import Store

SPECIES = ("ape", "bear")


def _row(length: int, accuracy: float, optimum: float) -> Row:
    n = 1000
    confusion = np.zeros((2, 2), dtype=np.int64)
    return Row(length, n, round(accuracy * n), round(optimum * n), confusion)


def test_each_promise_is_checked() -> None:
    good = [_row(1024, 0.55, 0.60), _row(8192, 0.95, 1.0)]
    assert failed_checks(good) == []
    far = [_row(1024, 0.45, 0.60), _row(8192, 0.95, 1.0)]
    assert len(failed_checks(far)) == 1
    assert "at 1024 bp" in failed_checks(far)[0]
    low = [_row(1024, 0.55, 0.60), _row(8192, 0.79, 0.85)]
    assert len(failed_checks(low)) == 1
    assert "0.80" in failed_checks(low)[0]
    assert len(failed_checks([_row(8192, 0.5, 1.0)])) == 2


def test_the_printed_table_has_one_line_a_length() -> None:
    lines = text_table([_row(1024, 0.55, 0.60), _row(8192, 0.95, 1.0)]).splitlines()
    assert len(lines) == 3
    assert lines[2].split()[:3] == ["8,192", "1,000", "0.950"]


@pytest.fixture
def truth_and_stores(tmp_path: Path) -> tuple[MarkovTruth, dict[str, Store]]:
    laws = equidistant_sources(2, 0.05, 2, seed=0)
    runs = Runs(0.0, 1.0)
    truth = MarkovTruth(SPECIES, 2, 0.05, 0, {"chr1": 10_000}, runs, runs, laws)
    rng = np.random.default_rng(0)
    stores = {}
    for name, law in zip(SPECIES, laws, strict=True):
        sequence = decode(MarkovSource(law).sequences(rng, 1, 10_000)[0]).decode()
        (tmp_path / f"{name}.fa").write_text(f">chr1\n{sequence}\n")
        encode_fasta([tmp_path / f"{name}.fa"], tmp_path / name)
        stores[name] = Store.open(tmp_path / name)
    return truth, stores


def test_the_optimum_is_scored_on_the_windows_of_the_table(
    tmp_path: Path, truth_and_stores: tuple[MarkovTruth, dict[str, Store]]
) -> None:
    truth, stores = truth_and_stores
    lines = ["file\trecord\tstart\tend\tprediction"]
    for name in SPECIES:
        lines += [
            f"/x/{name}.fa\tchr1\t{start}\t{start + 1000}\t{'bear' if start else 'ape'}"
            for start in range(0, 10_000, 1000)
        ]
    lines.append("/x/ape.fa\tchr1\t0\t1000\t")  # skipped for its N: no prediction, not counted
    table = tmp_path / "windows.tsv"
    table.write_text("\n".join(lines) + "\n")
    row = evaluate(table, 1000, truth, stores)
    assert row.windows == 20
    assert row.hits == 1 + 9
    assert row.confusion.tolist() == [[1, 9], [1, 9]]
    assert row.optimal_hits == 20  # 50 nats a window
