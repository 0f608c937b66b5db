"""What classify reads, and what it does with input that is wrong."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genomamba.cli import main
from genomamba.inference import schema
from genomamba.inference.fasta_records import pieces, split_records
from genomamba.inference.inputs import find_sources, sample_name
from genomamba.inference.plan import array_slice
from genomamba.inference.prefetch import prefetched
from genomamba.inference.reading import Piece
from genomamba_data_prep.codes import decode
from genomamba_data_prep.errors import InputError

GOOD = b"\n>a one\nACGT\nAC\n\n>b\r\nGG\r\nNN\r\n>c\nTT"


@pytest.fixture
def classify(tmp_path: Path, checkpoint: Path):
    def run(*arguments: str | Path | int) -> int:
        common = ["--checkpoint", checkpoint, "--output", tmp_path / "out.tsv", "--device", "cpu"]
        return main(["classify", *map(str, [*arguments, *common])])

    return run


def _table(tmp_path: Path) -> pd.DataFrame:
    return pd.read_csv(tmp_path / "out.tsv", sep="\t", keep_default_na=False)


@pytest.mark.parametrize("block", [1, 2, 3, 5, 7, 1000])
def test_records_are_split_alike_whatever_the_blocks(block: int) -> None:
    blocks = (GOOD[i : i + block] for i in range(0, len(GOOD), block))
    found = {}
    for number, parts in split_records(blocks):
        read = list(pieces(parts, "in.fa"))
        found[number, read[0].name] = np.concatenate([piece.codes for piece in read]).tolist()
    assert found == {(0, "a"): [0, 1, 2, 3, 0, 1], (1, "b"): [2, 2, 4, 4], (2, "c"): [3, 3]}


@pytest.mark.parametrize("block", [3, 1000])
def test_a_bad_record_is_placed_by_its_line_in_the_file(block: int) -> None:
    text = b">a\nAC\nGT\n>b\nAC\nA-T\n>c\nAC\n"
    blocks = (text[i : i + block] for i in range(0, len(text), block))
    names, errors = [], []
    for _, parts in split_records(blocks):
        try:
            names += {piece.name for piece in pieces(parts, "in.fa")}
        except InputError as error:
            errors.append((error.record, error.line, error.position))
    assert names == ["a", "c"]
    assert errors == [("b", 6, 2)]


def test_folders_patterns_and_names(tmp_path: Path) -> None:
    for name in ("b.fa", "a.fasta.gz", "c.fna.bgz", "note.txt"):
        (tmp_path / name).touch()
    expected = [str(tmp_path / name) for name in ("a.fasta.gz", "b.fa", "c.fna.bgz")]
    assert [source.name for source in find_sources([str(tmp_path)], None)] == expected
    pattern = str(tmp_path / "*.f*")
    assert [source.name for source in find_sources([pattern], None)] == expected
    assert [sample_name(name) for name in expected] == ["a", "b", "c"]
    with pytest.raises(InputError, match="more than once"):
        find_sources([str(tmp_path), expected[1]], None)
    with pytest.raises(InputError, match="matches no file"):
        find_sources([str(tmp_path / "*.2bit")], None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no FASTA file"):
        find_sources([str(tmp_path / "empty")], None)


def test_a_sample_sheet_names_samples_and_labels(
    classify, tmp_path: Path, write_fasta, capsys
) -> None:
    write_fasta({"r": 100}, "one.fa")
    write_fasta({"r": 80}, "two.fa", seed=1)
    sheet = tmp_path / "sheet.tsv"
    sheet.write_text("sample\tpath\tlabel\nS1\tone.fa\tape\nS2\ttwo.fa\t\n")
    assert classify("--samples", sheet) == 0
    rows = _table(tmp_path)[["sample", "file", "record", "label"]].values.tolist()
    one, two = str(tmp_path / "one.fa"), str(tmp_path / "two.fa")
    assert rows == [["S1", one, "r", "ape"], ["S2", two, "r", ""]]
    sheet.write_text("sample\tpath\tlabel\nS1\tone.fa\twolf\n")
    assert classify("--samples", sheet) == 2
    assert "wolf" in capsys.readouterr().err


def test_a_name_in_two_files_of_a_sample_is_refused(
    classify, tmp_path: Path, write_fasta, capsys
) -> None:
    (tmp_path / "more").mkdir()
    files = [write_fasta({"r": 100}), write_fasta({"r": 100}, "more/in.fa")]
    assert classify(*files) == 2
    assert "--samples" in capsys.readouterr().err
    other = write_fasta({"r": 100}, "other.fa")  # its sample is another: the file's name
    assert classify(files[0], other) == 0
    assert classify(files[0], other, "--track", tmp_path / "t.bedgraph") == 2
    assert "bedGraph" in capsys.readouterr().err


@pytest.mark.parametrize("zipped", [False, True])
def test_standard_input(
    zipped: bool, classify, tmp_path: Path, write_fasta, monkeypatch, capsys
) -> None:
    fasta = write_fasta({"a": 100, "b": 300})
    assert classify(fasta) == 0
    expected = _table(tmp_path).drop(columns=["sample", "file"])
    content = fasta.read_bytes()
    content = gzip.compress(content) if zipped else content
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert classify("-") == 0
    pd.testing.assert_frame_equal(_table(tmp_path).drop(columns=["sample", "file"]), expected)
    assert classify("-", "--shard", "1/2") == 2
    assert "pipe" in capsys.readouterr().err


def test_a_named_pipe(classify, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if os.fork() == 0:
        pipe.write_text(">a\nACGTACGT\n")
        os._exit(0)
    assert classify(pipe) == 0
    os.wait()
    assert _table(tmp_path)["length"].tolist() == [8]


BAD = ">good\nACGTACGT\n>bad\nAC-T\n>empty\n>good\nAA\n>last\nACGTAAAA\n"


@pytest.mark.parametrize(("policy", "code"), [("skip", 0), ("report", 4), ("fail", 2)])
def test_bad_records_do_not_lose_the_rest(
    policy: str, code: int, classify, tmp_path: Path, write_fasta, capsys
) -> None:
    first = tmp_path / "in.fa"
    first.write_text(BAD)
    cut = tmp_path / "cut.fa.gz"
    letters = decode(np.random.default_rng(0).integers(0, 4, 5000).astype(np.uint8))
    cut.write_bytes(gzip.compress(b">x\nACGTTTT\n>y\n" + letters)[:-200])
    (tmp_path / "protein.fa").write_text("MKV\n")
    missing = tmp_path / "missing.fa"
    files = [first, cut, tmp_path / "protein.fa", missing]
    assert classify(*files, "--on-error", policy) == code
    said = capsys.readouterr().err
    if policy == "fail":
        assert "record bad, line 4, position 3" in said
        assert not (tmp_path / "out.tsv").exists()
        assert not (tmp_path / "out.tsv.parts").exists()
        return
    assert ("line 4, position 3" in said) == (policy == "report")
    table = _table(tmp_path)
    assert table[table["prediction"] != ""]["record"].tolist() == ["good", "last", "x"]
    reasons = table[table["prediction"] == ""]["reason"].tolist()
    expected = [
        "no nucleotide",
        "is empty",
        "twice in this file",
        "cut short",
        "not FASTA",
        "No such file",
    ]
    assert len(reasons) == len(expected)
    assert all(part in reason for part, reason in zip(expected, reasons, strict=True))


def test_short_records_and_uncertain_ones_say_so(classify, tmp_path: Path, write_fasta) -> None:
    fasta = write_fasta({"a": 100, "b": 9, "c": 10})
    assert classify(fasta, "--min-length", 10, "--abstain", 1) == 0
    table = _table(tmp_path).set_index("record")
    assert table.loc["b", "reason"] == "shorter than --min-length 10"
    assert (table["prediction"] == "").all()
    assert table.loc["a", "reason"] == "probability below --abstain 1"
    assert 0 < float(table.loc["a", "probability"]) < 1
    shares = table.loc["a", ["prob_ape", "prob_bear", "prob_cat"]].astype(float).sort_values()
    assert float(table.loc["a", "margin"]) == pytest.approx(
        shares.iloc[2] - shares.iloc[1], abs=2e-6
    )
    entropy = -(shares * np.log2(shares.clip(lower=1e-30))).sum()
    assert float(table.loc["a", "entropy"]) == pytest.approx(entropy, abs=1e-4)


def test_json_lines_hold_the_same_rows(tmp_path: Path, checkpoint: Path, write_fasta) -> None:
    fasta = write_fasta({"a": 100, "gap": "N" * 9})
    for suffix in ("tsv", "jsonl", "parquet"):
        out = tmp_path / f"o.{suffix}"
        arguments = ["classify", fasta, "--checkpoint", checkpoint, "--output", out]
        assert main([*map(str, arguments), "--device", "cpu"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    binary = pd.read_parquet(tmp_path / "o.parquet")
    text = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert rows == json.loads(binary.to_json(orient="records", double_precision=15))
    columns = [name for name in text.columns if text[name].notna().any()]
    pd.testing.assert_frame_equal(text[columns], binary[columns], check_dtype=False, rtol=0)


def test_an_array_deals_out_all_shards_once() -> None:
    for shards in (0, 1, 5, 17):
        for tasks in (1, 2, 5, 8):
            dealt = [i for task in range(tasks) for i in array_slice(shards, task + 1, tasks)]
            assert dealt == list(range(shards))


def test_reading_ahead_keeps_order_and_errors() -> None:
    some = [Piece(i, 0, 1, np.zeros(3, np.uint8)) for i in range(20)]

    def failing():
        yield from some
        raise InputError("bad")

    def size(piece: Piece) -> int:
        return len(piece.codes)

    assert list(prefetched(iter(some), 7, size)) == some
    found = []
    with pytest.raises(InputError, match="bad"):
        found.extend(prefetched(failing(), 7, size))
    ahead = prefetched(iter(some), 1, size)
    assert next(ahead) is some[0]
    ahead.close()  # does not hang though the queue is full


def test_the_documentation_has_every_column() -> None:
    text = (Path(__file__).parents[2] / "docs" / "classify.md").read_text()
    names = list(schema.record_schema([]).names)
    assert [name for name in names if f"| `{name}` |" not in text] == []
