"""Embeddings equal the pooled hidden vectors of each sequence alone, however the bases are cut."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from genomamba.cli import main
from genomamba.inference.embedding import Embedder, Stretch, read_stretches
from genomamba.training.checkpoint import load_model
from genomamba_data_prep.fasta import read_fasta

RECORDS = {"one": 100, "base": 1, "two": 33, "N": "NNNNNNNN", "three": 64, "mixed": "ACGNacgn" * 5}


def _expected(checkpoint: Path, fasta: Path, pool: str, window: int | None) -> list[tuple]:
    model, _ = load_model(checkpoint)
    rows = []
    for name, codes in read_fasta(fasta):
        for start in range(0, len(codes), window or len(codes)):
            part = codes[start : start + (window or len(codes))] & 7
            with torch.no_grad():
                hidden = model.backbone(torch.from_numpy(part)[None])[0]
            vector = hidden.mean(0) if pool == "mean" else hidden[-1]
            rows.append((name, start, start + len(part), (part == 4).mean(), vector.numpy()))
    return rows


@pytest.mark.parametrize("pool", ["mean", "last"])
@pytest.mark.parametrize("window", [None, 32])
@pytest.mark.parametrize("max_bases", [1, 7, 32, 1000])
def test_equal_alone_and_packed_and_streamed(
    tmp_path: Path, checkpoint: Path, write_fasta, pool: str, window: int | None, max_bases: int
) -> None:
    fasta, out = write_fasta(RECORDS), tmp_path / "x.parquet"
    arguments = ["embed", str(checkpoint), str(fasta), "--output", str(out), "--pool", pool]
    arguments += ["--max-bases", str(max_bases), "--device", "cpu"]
    arguments += [] if window is None else ["--window", str(window)]
    assert main(arguments) == 0
    table = pd.read_parquet(out)
    expected = _expected(checkpoint, fasta, pool, window)
    assert list(table.columns) == ["record", "start", "end", "n_fraction", "embedding"]
    for column, values in zip(table.columns[:-1], zip(*expected, strict=True), strict=False):
        assert table[column].tolist() == pytest.approx(list(values))
    vectors = np.stack([row[-1] for row in expected])
    np.testing.assert_allclose(np.stack(table["embedding"]), vectors, atol=1e-5)


def test_npy_and_parquet_hold_the_same(
    tmp_path: Path, pretraining_checkpoint: Path, write_fasta
) -> None:
    fasta = write_fasta(RECORDS)
    zipped = tmp_path / "in.fa.gz"
    zipped.write_bytes(gzip.compress(fasta.read_bytes()))
    common = ["embed", str(pretraining_checkpoint), str(zipped), "--device", "cpu", "--output"]
    assert main([*common, str(tmp_path / "x.npy")]) == 0
    assert main([*common, str(tmp_path / "x.parquet")]) == 0
    array = np.load(tmp_path / "x.npy")
    assert array.shape == (len(RECORDS), 16)
    assert array.dtype == np.float32
    table = pd.read_parquet(tmp_path / "x.parquet")
    np.testing.assert_array_equal(array, np.stack(table["embedding"]))
    rows = pd.read_csv(tmp_path / "x.npy.rows.tsv", sep="\t", keep_default_na=False)
    assert rows["record"].tolist() == table["record"].tolist() == list(RECORDS)
    assert rows["end"].tolist() == table["end"].tolist()
    metadata = pq.read_schema(tmp_path / "x.parquet").metadata
    assert metadata[b"pool"] == b"mean"
    assert metadata[b"checkpoint"] == b"pretraining.ckpt"


def test_memory_does_not_grow_with_a_record(model) -> None:
    """The model sees no more than a segment, and what was read is let go."""
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    codes = np.zeros(10, dtype=np.uint8)
    stretches = (Stretch("r", 0, i == 0, codes) for i in range(100))
    [row] = Embedder(model.backbone, "mean", 64)(stretches)
    model.backbone._forward_pre_hooks.clear()
    assert row.end == 1000
    assert set(seen) == {(1, 64), (1, 1000 % 64)}


def test_windows_cover_the_record_across_blocks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("genomamba_data_prep.compression.BLOCK_BYTES", 13)
    fasta = tmp_path / "in.fa"
    fasta.write_text(">a\n" + "ACGTA\n" * 9 + ">b\nAC\n")
    ends: dict[tuple[str, int], int] = {}
    for stretch in read_stretches(fasta, 10):
        key = (stretch.record, stretch.start)
        assert stretch.is_first == (key not in ends)
        ends[key] = ends.get(key, stretch.start) + len(stretch.codes)
    starts = {("a", s): min(s + 10, 45) for s in range(0, 45, 10)}
    assert ends == starts | {("b", 0): 2}


@pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
def test_bad_input_leaves_nothing(
    tmp_path: Path, checkpoint: Path, write_fasta, capsys, name: str
) -> None:
    (tmp_path / "out").mkdir()
    fasta = write_fasta({"fine": 200, "protein": "MEF"})
    out = ["--device", "cpu", "--max-bases", "50", "--output", str(tmp_path / "out" / name)]
    assert main(["embed", str(checkpoint), str(fasta), *out]) == 2
    assert "protein, line 4" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
    out[-1] = str(tmp_path / "out" / "x.csv")
    assert main(["embed", str(checkpoint), str(fasta), *out]) == 2
    assert ".parquet or .npy" in capsys.readouterr().err
