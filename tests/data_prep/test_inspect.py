"""What `genomamba prepare inspect` prints of a store and of a FASTA file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genomamba.cli import main
from genomamba_data_prep.encode import encode_fasta


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "x.fa"
    path.write_bytes(b">chr1\nACGTNNNR\nacgu\n>a_longer_name\nNN\n>c\n" + b"GCA\n" * 1000)
    return path


TABLE = """\
record         length      GC        N  soft mask  ambiguous  U
chr1               12  50.00%   33.33%     33.33%          1  1
a_longer_name       2       -  100.00%      0.00%          0  0
c               3,000  66.67%    0.00%      0.00%          0  0
3 records       3,014  66.62%    0.20%      0.13%          1  1
"""


def test_table_of_a_fasta(fasta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "inspect", str(fasta)]) == 0
    assert capsys.readouterr().out == f"path     {fasta}\n\n{TABLE}"


def test_table_of_a_store(tmp_path: Path, fasta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = encode_fasta(fasta, tmp_path / "store", species="Pan", assembly="pan1")
    assert main(["prepare", "inspect", str(store.path)]) == 0
    header = f"path     {store.path}\nspecies  Pan\nassembly pan1\ndigest   {store.digest}\n"
    assert capsys.readouterr().out == f"{header}\n{TABLE}"


def test_json_holds_the_counts(
    tmp_path: Path, fasta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = encode_fasta(fasta, tmp_path / "store")
    contents = []
    for path in (fasta, store.path):
        assert main(["prepare", "inspect", str(path), "--json"]) == 0
        contents.append(json.loads(capsys.readouterr().out))
    assert contents[0]["records"] == contents[1]["records"]
    assert contents[0]["records"][0] == {
        "name": "chr1",
        "length": 12,
        "gc": 4,
        "n": 4,
        "soft_masked": 4,
        "ambiguous": 1,
        "uracil": 1,
    }
    assert contents[0]["total"]["length"] == 3014
    assert contents[1]["digest"] == store.digest


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.fa"
    bad.write_text(">a\nAC GT\n")
    for path, says in (
        (bad, "record a, line 2, position 3"),
        (tmp_path, "not a store"),
        (tmp_path / "none", "No such file"),
    ):
        assert main(["prepare", "inspect", str(path)]) == 2
        captured = capsys.readouterr()
        assert says in captured.err
        assert not captured.out


def test_a_fasta_has_nothing_to_verify(fasta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "inspect", "--verify", str(fasta)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "x.fa: --verify is for a store" in err
