"""The .fai beside a FASTA: verified where it is, never needed, never made; and pyfaidx's bases."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from pyfaidx import Faidx, Fasta

from genomamba_data_prep.codes import decode
from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.errors import InputError

SEQUENCES = {"one": b"ACGTNacgtn" * 25, "two": b"A" * 60, "three": b"CG"}


def fasta_of(sequences: dict[str, bytes], width: int = 60, end: bytes = b"\n") -> bytes:
    lines = []
    for name, letters in sequences.items():
        lines.append(b">" + name.encode())
        lines += [letters[start : start + width] for start in range(0, len(letters), width)]
    return end.join(lines) + end


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """A FASTA with the index that pyfaidx makes of it."""
    path = tmp_path / "x.fa"
    path.write_bytes(fasta_of(SEQUENCES))
    Faidx(str(path)).close()
    assert (tmp_path / "x.fa.fai").exists()
    return path


def test_fresh_index_is_accepted(tmp_path: Path, fasta: Path) -> None:
    before = (tmp_path / "x.fa.fai").stat()
    encode_fasta([fasta], tmp_path / "store")
    assert (tmp_path / "x.fa.fai").stat() == before


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("width", [1, 7, 60, 1000])
def test_index_of_any_layout_is_accepted(tmp_path: Path, width: int, end: bytes) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(fasta_of(SEQUENCES, width, end))
    Faidx(str(path)).close()
    encode_fasta([path], tmp_path / "store")


def test_index_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(fasta_of(SEQUENCES))
    encode_fasta([path], tmp_path / "store")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["store", "x.fa"]


STALE = {
    "a base more": (fasta_of(SEQUENCES | {"two": b"A" * 61}), "two", 2),
    "another name": (fasta_of({"uno": b"ACGTNacgtn" * 25}), "uno", 1),
    "a record more": (fasta_of(SEQUENCES | {"four": b"A"}), None, 4),
    "a record less": (fasta_of({"one": SEQUENCES["one"]}), None, 2),
    "another order": (fasta_of(dict(reversed(SEQUENCES.items()))), "three", 1),
    "another width": (fasta_of(SEQUENCES, width=50), "one", 1),
    "other line ends": (fasta_of(SEQUENCES, end=b"\r\n"), "one", 1),
    "a longer header": (fasta_of(SEQUENCES).replace(b">two", b">two more"), "two", 2),
}


@pytest.mark.parametrize(("content", "record", "line"), STALE.values(), ids=STALE.keys())
def test_stale_index(
    tmp_path: Path, fasta: Path, content: bytes, record: str | None, line: int
) -> None:
    fasta.write_bytes(content)
    with pytest.raises(InputError, match="stale index") as refusal:
        encode_fasta([fasta], tmp_path / "store")
    error = refusal.value
    assert (error.file, error.record, error.line) == (tmp_path / "x.fa.fai", record, line)
    assert f"Delete it, or make it again with `samtools faidx {fasta}`" in str(error)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\n", b"one\t250\n", b"one\t250\ta\t60\t61\n", b"one\t250\t5\t0\t0\n"]
)
def test_damaged_index(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(fasta_of({"one": SEQUENCES["one"]}))
    (tmp_path / "x.fa.fai").write_bytes(content)
    with pytest.raises(InputError, match="stale index"):
        encode_fasta([path], tmp_path / "store")


def test_index_of_a_compressed_file(tmp_path: Path, fasta: Path) -> None:
    index = (tmp_path / "x.fa.fai").read_text()
    compressed = tmp_path / "y.fa.gz"
    compressed.write_bytes(gzip.compress(fasta.read_bytes()))
    (tmp_path / "y.fa.gz.fai").write_text(index)
    encode_fasta([compressed], tmp_path / "store")
    (tmp_path / "y.fa.gz.fai").write_text(index.replace("250", "251"))
    with pytest.raises(InputError, match="the FASTA has one of 250 bases here"):
        encode_fasta([compressed], tmp_path / "other")


def test_same_bases_as_pyfaidx(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    alphabet = np.frombuffer(b"ACGTNacgtn", dtype=np.uint8)
    sequences = {f"r{i}": rng.choice(alphabet, rng.integers(1, 5000)).tobytes() for i in range(20)}
    path = tmp_path / "x.fa"
    path.write_bytes(fasta_of(sequences, width=61))
    store = encode_fasta([path], tmp_path / "store")
    peer = Fasta(str(path))
    for name, record in store.records.items():
        assert record.length == len(peer[name])
        for _ in range(20):
            start, end = np.sort(rng.integers(0, record.length + 1, 2)).tolist()
            bases = decode(store.codes(name, start, end)).decode()
            assert bases == (peer[name][start:end].seq if end > start else "")
