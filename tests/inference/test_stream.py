from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from genomamba.cli import main
from genomamba.inference.budget import Budget
from genomamba.inference.classifier import WindowClassifier
from genomamba.inference.stream import Stream
from genomamba.models import MambaForClassification
from genomamba_data_prep.codes import reverse_complement
from genomamba_data_prep.fasta import read_fasta


def _codes(length: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 5, length).astype(np.uint8)


def _whole(model: torch.nn.Module, codes: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(codes.copy()).long()[None]).log_softmax(-1)[0].numpy()


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize(("bases", "step"), [(7, None), (64, 10), (64, 100), (1000, 64), (1, 1)])
def test_a_stream_is_the_unsplit_pass_at_every_readout(model, pooling, bases, step) -> None:
    other = MambaForClassification(model.config, 3, pooling).eval()
    other.load_state_dict(model.state_dict())
    other.double()
    codes = _codes(211)
    ends = [*range(step or 211, 211, step or 211), 211]
    expected = np.stack([_whole(other, codes[:end]) for end in ends])
    stream = Stream(WindowClassifier(other, 3), Budget(bases, print), len(codes), step)
    for start in range(0, len(codes), 50):
        stream.feed(codes[start : start + 50])
    np.testing.assert_allclose(stream.log_probabilities(), expected, atol=1e-9)
    starts = [0, *ends[:-1]]
    counts = [int((codes[a:b] == 4).sum()) for a, b in zip(starts, ends, strict=True)]
    assert stream.n_counts.tolist() == counts


def test_a_stream_in_pieces_of_what_a_cpu_takes_at_a_time(model, monkeypatch) -> None:
    monkeypatch.setattr("genomamba.inference.classifier.CPU_POSITIONS", 50)
    model, codes = deepcopy(model).double(), _codes(211)
    expected = np.stack([_whole(model, codes[:end]) for end in (70, 140, 210, 211)])
    stream = Stream(WindowClassifier(model, 3), Budget(1000, print), len(codes), 70)
    stream.feed(codes)
    np.testing.assert_allclose(stream.log_probabilities(), expected, atol=1e-9)


def test_a_piece_that_memory_does_not_hold_is_tried_again(model, monkeypatch) -> None:
    codes, model = _codes(5000), deepcopy(model).double()
    expected = _whole(model, codes)
    forward, halved = model.backbone.map_segments, []

    def failing(tokens, *args, **options):
        if tokens.shape[1] > 1500:
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
        return forward(tokens, *args, **options)

    monkeypatch.setattr(model.backbone, "map_segments", failing)
    stream = Stream(WindowClassifier(model, 3), Budget(4096, halved.append), len(codes), None)
    stream.feed(codes)
    assert halved == [2048, 1024]
    np.testing.assert_allclose(stream.log_probabilities()[0], expected, atol=1e-9)


@pytest.fixture
def classified(tmp_path: Path, checkpoint: Path, write_fasta):
    """Runs the command on records of several lengths; returns the table and the records."""

    def run(*options: str) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
        fasta = write_fasta({"a": 300, "b": 20, "c": 64, "d": 1000, "e": 5, "gap": "N" * 50})
        out = tmp_path / "out.tsv"
        arguments = ["classify", fasta, "--checkpoint", checkpoint, "--output", out, *options]
        assert main([*map(str, arguments), "--mode", "stream", "--device", "cpu"]) == 0
        records = {record.name: record.codes for record in read_fasta(fasta)}
        return pd.read_csv(out, sep="\t").set_index("record"), records

    return run


@pytest.mark.parametrize("max_bases", ["32", "100", "100000"])
def test_the_command_gives_the_models_own_probabilities(classified, model, max_bases: str) -> None:
    table, records = classified("--max-bases", max_bases, "--both-strands", "--shard-bases", "400")
    for name in "abcde":
        strands = [_whole(model, codes) for codes in (records[name], _reverse(records[name]))]
        weights = np.exp(np.mean(strands, axis=0))
        found = table.loc[name, ["prob_ape", "prob_bear", "prob_cat"]].to_numpy(float)
        np.testing.assert_allclose(found, weights / weights.sum(), atol=1e-5)
        apart = np.abs(np.exp(strands[0]) - np.exp(strands[1])).sum() / 2
        assert table.loc[name, "strand_disagreement"] == pytest.approx(apart, abs=1e-5)
    assert table.loc["gap", "reason"] == "too large a fraction of N"


def _reverse(codes: np.ndarray) -> np.ndarray:
    return reverse_complement(codes)


def test_the_track_ends_with_the_record(classified, tmp_path: Path, capsys) -> None:
    track = tmp_path / "t.parquet"
    table, _ = classified("--track", str(track), "--step", "100", "--max-bases", "128")
    rows = pd.read_parquet(track)
    assert rows[rows["record"] == "d"]["end"].tolist() == list(range(100, 1001, 100))
    assert rows[rows["record"] == "b"][["start", "end"]].values.tolist() == [[0, 20]]
    for name, last in rows.groupby("record").last().iterrows():
        assert np.exp(last["log_prob_ape"]) == pytest.approx(table.loc[name, "prob_ape"], abs=2e-6)
    assert "2 records are more than 4 times as long" in capsys.readouterr().err


def test_a_bedgraph_has_a_track_a_class_without_overlaps(classified, tmp_path: Path) -> None:
    track = tmp_path / "t.bedgraph"
    classified("--track", str(track), "--step", "128")
    lines = track.read_text().splitlines()
    heads = [line for line in lines if line.startswith("track")]
    assert len(heads) == 3
    assert 'name="log_prob_ape"' in heads[0]
    of_d = [line.split("\t")[1:3] for line in lines if line.startswith("d\t")]
    assert len(of_d) == 3 * 8
    assert of_d[7] == ["896", "1000"]
