"""The benchmark of ``genomamba classify`` runs in every mode at tiny sizes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from genomamba_data_prep.codes import BASE_BITS
from genomamba_data_prep.fasta import read_fasta

FOLDER = Path(__file__).parents[2] / "benchmarks"


def _run(output: Path, *arguments: str) -> list[dict[str, str]]:
    command = [sys.executable, str(FOLDER / "classify.py"), *arguments, "--output", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--model", "8x2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(done.stdout.splitlines()) == len(rows)
    return rows


@pytest.mark.parametrize("mode", ["windows", "share"])
def test_the_command_beside_the_bare_model(tmp_path: Path, mode: str) -> None:
    sizes = ["--bases", "12000", "--records", "3", "--window", "1000", "--forward-bases", "4000"]
    [row] = _run(tmp_path / "rows.csv", mode, *sizes)
    assert (row["mode"], row["bases"], row["records"]) == (mode, "12000", "3")
    rate, bare, ratio = (float(row[name]) for name in ("mbp_s", "reference_mbp_s", "ratio"))
    expected = rate / bare if mode == "windows" else bare / rate
    assert ratio == pytest.approx(expected, rel=0.02, abs=1e-3)


def test_a_stream_and_a_quarter_of_it(tmp_path: Path) -> None:
    rows = _run(tmp_path / "rows.csv", "stream", "--length", "4000", "--max-bases", "500")
    assert [row["bases"] for row in rows] == ["1000", "4000"]
    quarter, whole = (float(row["rss_peak_mib"]) for row in rows)
    assert float(rows[1]["ratio"]) == pytest.approx(whole / quarter, rel=0.01)
    assert whole > 50  # torch alone is more


@pytest.mark.parametrize("lengths", ["log", "uniform"])
def test_packing_says_what_is_a_sample(tmp_path: Path, lengths: str) -> None:
    sizes = ["--records", "4", "--sample", "2", "--max-bases", "40000", "--lengths", lengths]
    rows = _run(tmp_path / "rows.csv", "packing", *sizes)
    assert [row["records"] for row in rows] == ["4", "2", "2"]
    assert "the first 2 of 4 records" in rows[1]["note"]
    assert "first" not in rows[0]["note"]
    for row in rows[1:]:
        assert float(row["reference_mbp_s"]) == float(rows[0]["mbp_s"])
        expected = float(rows[0]["mbp_s"]) / float(row["mbp_s"])
        assert float(row["ratio"]) == pytest.approx(expected, rel=0.02)


def test_the_input_is_bgzip_of_the_lengths(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from bgzip_input import BLOCK_BASES, write_bgzip

    lengths = [1, 60, 61, 2 * BLOCK_BASES + 7]
    path = tmp_path / "in.fa.gz"
    write_bgzip(path, lengths)
    records = list(read_fasta(path))
    assert [len(record.codes) for record in records] == lengths
    counts = np.bincount(records[-1].codes & BASE_BITS, minlength=5)
    assert counts[4] == 0
    assert counts[:4].min() > 0.2 * lengths[-1]
