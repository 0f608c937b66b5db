from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest
import torch

from genomamba.cli import main
from genomamba.inference.schema import record_schema, window_schema

CLASSES = ["ape", "bear", "cat"]


def _classify(*arguments: str | Path | int) -> int:
    return main(["classify", *map(str, arguments), "--device", "cpu"])


def test_tables_of_many_files(tmp_path: Path, checkpoint: Path, write_fasta, capsys) -> None:
    first = write_fasta({"long": 1000, "short": 20, "gap": "N" * 200})
    second = write_fasta({"long": 64, "lower": "acgt" * 10}, "more.fa", seed=1)
    zipped = tmp_path / "more.fa.gz"
    zipped.write_bytes(gzip.compress(second.read_bytes()))
    out, windows = tmp_path / "out.tsv", tmp_path / "windows.tsv"
    common = ["--checkpoint", checkpoint, "--windows-output", windows]
    assert _classify(first, zipped, *common, "--output", out) == 0
    assert capsys.readouterr().out == ""
    table = pd.read_csv(out, sep="\t")
    assert list(table.columns) == record_schema(CLASSES).names
    assert list(table["record"]) == ["long", "short", "gap", "long", "lower"]
    assert list(table["file"]) == [str(first)] * 3 + [str(zipped)] * 2
    assert list(table["windows"]) == [16, 1, 0, 1, 1]
    done = table[table["record"] != "gap"]
    total = done[[f"prob_{name}" for name in CLASSES]].sum(axis=1)
    assert total.tolist() == pytest.approx([1] * 4, abs=1e-4)
    assert table["reason"].notna().tolist() == [False, False, True, False, False]
    rows = pd.read_csv(windows, sep="\t")
    assert list(rows.columns) == window_schema(CLASSES).names
    assert len(rows) == 16 + 1 + 4 + 1 + 1
    assert (rows["end"] - rows["start"]).max() == 64


def test_batch_size_and_format_do_not_change_the_result(
    tmp_path: Path, checkpoint: Path, write_fasta
) -> None:
    fasta = write_fasta({"a": 500, "b": 10, "c": 64, "d": 33, "e": 200})
    tables = []
    for size in (1, 3, 100):
        out = tmp_path / f"{size}.parquet"
        common = ["--checkpoint", checkpoint, "--both-strands", "--batch-size", size]
        assert _classify(fasta, *common, "--output", out) == 0
        tables.append(pd.read_parquet(out))
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], atol=1e-5, rtol=0)
    assert tables[0]["strand_disagreement"].between(0, 1).all()
    out = tmp_path / "out.tsv"
    assert _classify(fasta, "--checkpoint", checkpoint, "--both-strands", "--output", out) == 0
    text, binary = pd.read_csv(out, sep="\t")["probability"], tables[0]["probability"]
    assert text.tolist() == pytest.approx(binary.tolist(), abs=1e-5)


def test_records_by_name(tmp_path: Path, checkpoint: Path, write_fasta, capsys) -> None:
    fasta = write_fasta({"a": 100, "b": 100, "c": 100})
    out = tmp_path / "out.tsv"
    arguments = [fasta, "--checkpoint", checkpoint, "--output", out]
    assert _classify(*arguments, "--records", "c", "a") == 0
    assert list(pd.read_csv(out, sep="\t")["record"]) == ["a", "c"]
    out.unlink()
    assert _classify(*arguments, "--records", "a", "nine") == 2
    assert "nine" in capsys.readouterr().err
    assert not out.exists()


def _set_meta(path: Path, **changes: object) -> Path:
    content = torch.load(path, weights_only=True)
    content["genomamba"] |= changes
    torch.save(content, path)
    return path


BAD_INPUTS = {
    "not FASTA": ({"text": "hello\n"}, "not FASTA"),
    "empty file": ({"text": ""}, "empty"),
    "illegal letter": ({"text": ">a\nACGT\n>b\nAC-T\n"}, "record b"),
    "duplicate names": ({"text": ">a\nACGT\n>a\nACGT\n"}, "record a"),
    "no such FASTA": ({"missing": True}, "in.fa"),
    "suffix": ({"output": "out.csv"}, ".tsv"),
    "no suffix": ({"output": "out"}, ".tsv"),
    "no folder": ({"output": "no/out.tsv"}, "folder"),
    "output is input": ({"output": "in.fa.tsv", "name": "in.fa.tsv"}, "input"),
    "foreign vocabulary": ({"meta": {"vocabulary": ["A", "B"]}}, "vocabulary"),
    "format": ({"meta": {"format": 99}}, "99"),
    "damaged checkpoint": ({"damage": True}, "checkpoint"),
    "device": ({"extra": ["--device", "cuda:77"]}, "cuda:77"),
    "foreign device": ({"extra": ["--device", "abacus"]}, "abacus"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_gets_a_message_and_leaves_nothing(
    case: str, tmp_path: Path, checkpoint: Path, write_fasta, capsys
) -> None:
    change, said = BAD_INPUTS[case]
    fasta = write_fasta({"a": 100}, change.get("name", "in.fa"))
    if "text" in change:
        fasta.write_text(change["text"])
    if "missing" in change:
        fasta.unlink()
    if "meta" in change:
        _set_meta(checkpoint, **change["meta"])
    if "damage" in change:
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    before = sorted(tmp_path.iterdir())
    out = tmp_path / change.get("output", "out.tsv")
    arguments = [fasta, "--checkpoint", checkpoint, "--output", out]
    arguments += ["--windows-output", tmp_path / "w.tsv"]
    code = main(["classify", *map(str, arguments), "--device", "cpu", *change.get("extra", [])])
    assert code == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_sample_sheet_is_not_written_over(
    tmp_path: Path, checkpoint: Path, write_fasta, capsys
) -> None:
    write_fasta({"a": 100})
    sheet = tmp_path / "sheet.tsv"
    sheet.write_text("sample\tpath\nx\tin.fa\n")
    before = sheet.read_text()
    for option in ("--output", "--windows-output"):
        given = {"--output": tmp_path / "out.tsv"} | {option: sheet}
        named = [word for pair in given.items() for word in pair]
        assert _classify("--samples", sheet, "--checkpoint", checkpoint, *named) == 2
        assert "is an input too" in capsys.readouterr().err
        assert sheet.read_text() == before
    assert not (tmp_path / "out.tsv").exists()


def test_a_pretraining_checkpoint_is_refused(
    tmp_path: Path, pretraining_checkpoint: Path, write_fasta, capsys
) -> None:
    out = tmp_path / "out.tsv"
    arguments = [write_fasta({"a": 100}), "--checkpoint", pretraining_checkpoint, "--output", out]
    assert _classify(*arguments) == 2
    assert "Fine-tune" in capsys.readouterr().err
    assert not out.exists()


def test_a_bad_second_file_leaves_nothing(
    tmp_path: Path, checkpoint: Path, write_fasta, capsys
) -> None:
    first, second = write_fasta({"a": 100}), write_fasta({"b": "AC*T"}, "second.fa")
    out = tmp_path / "out.tsv"
    assert _classify(first, second, "--checkpoint", checkpoint, "--output", out) == 2
    assert "second.fa" in capsys.readouterr().err
    assert not out.exists()
