"""Mutated FASTA, plain, gzip and bgzip, with and without an index."""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from Bio import bgzf
from Bio.SeqIO.FastaIO import SimpleFastaParser
from pyfaidx import Faidx

from genomamba_data_prep.codes import BASE_BITS, SOFT_MASK, N, encode
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.fasta_genome import FastaGenome
from genomamba_data_prep.store import Store

Rng = np.random.Generator

FASTA_TOKENS = [
    b">",
    b"\n>",
    b">x\n",
    b"\n>a b\n",
    b"\r",
    b"\x00",
    b"\xc3\xa9",
    b"\xff",
    b"\t",
    b" ",
]
FASTA_TOKENS += [
    b"NNNN",
    b"uUtT",
    b"*",
    b"-",
    b";c\n",
    b"\n\n",
    b"RYKM",
    b"E",
    b"\x1f\x8b",
    b"\x0c",
]


def random_fasta(rng: Rng) -> bytes:
    text = b""
    for number in range(int(rng.integers(1, 5))):
        letters = rng.choice(
            np.frombuffer(b"ACGTacgtNnACGTRyU", np.uint8), int(rng.integers(1, 300))
        )
        width = int(rng.integers(1, 80))
        lines = [letters.tobytes()[i : i + width] for i in range(0, len(letters), width)]
        text += b">r%d some words\n" % number + b"\n".join(lines) + b"\n"
    return text if rng.random() < 0.8 else text.rstrip(b"\n")


def compressed(rng: Rng, text: bytes) -> bytes:
    kind = rng.random()
    if kind < 0.6:
        return text
    if kind < 0.75:
        return gzip.compress(text, mtime=0)
    if kind < 0.85:
        half = len(text) // 2
        return gzip.compress(text[:half], mtime=0) + gzip.compress(text[half:], mtime=0)
    buffer = io.BytesIO()
    buffer.close, close = lambda: None, buffer.close  # type: ignore[method-assign]
    with bgzf.BgzfWriter(fileobj=buffer) as writer:
        writer.write(text)
    content = buffer.getvalue()
    close()
    return content


def as_biopython_reads(data: bytes) -> list[tuple[str, bytes]]:
    """Names and letters."""
    text = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    handle = io.StringIO(text.decode("utf-8", "surrogateescape"))
    return [(title.split(None, 1)[0], s.encode()) for title, s in SimpleFastaParser(handle)]


def check_store(path: Path, data: bytes) -> None:
    store, expected = Store.open(path), as_biopython_reads(data)
    assert list(store.records) == [name for name, _ in expected]
    for name, letters in expected:
        codes = encode(letters)
        np.testing.assert_array_equal(store.codes(name), codes)
        record = store.records[name]
        assert record.n == np.count_nonzero((codes & BASE_BITS) == N)
        assert record.soft_masked == np.count_nonzero(codes >= SOFT_MASK)
        assert record.gc == sum(letters.upper().count(base) for base in (b"G", b"C"))


def check_index(fasta: Path, data: bytes) -> None:
    """Where an index was accepted, pyfaidx returns what Biopython reads."""
    faidx = Faidx(str(fasta), rebuild=False, build_index=False, as_raw=True)
    for name, letters in as_biopython_reads(data):
        assert str(faidx.fetch(name, 1, len(letters))).encode() == letters
    faidx.close()


def check_direct_reading(store: Path, fasta: Path) -> None:
    """Read in place, the file has the store's codes, or is refused."""
    with contextlib.suppress(InputError):
        genome, expected = FastaGenome.open(fasta), Store.open(store)
        assert genome.digest == expected.digest
        for name in expected.records:
            np.testing.assert_array_equal(genome.codes(name), expected.codes(name))


def test_fasta(fuzz: Any, tmp_path: Path) -> None:
    def run(rng: Rng) -> None:
        folder = tmp_path / "case"
        folder.mkdir()
        text, fasta = random_fasta(rng), folder / "x.fa"
        inside = rng.random() < 0.7
        whole = compressed(rng, fuzz.mutated(rng, text, FASTA_TOKENS) if inside else text)
        data = whole if inside else fuzz.mutated(rng, whole, FASTA_TOKENS)
        fasta.write_bytes(data)
        indexed = rng.random() < 0.3
        if indexed:
            index = b"".join(
                b"%s\t%d\t%d\t%d\t%d\n" % (name.encode(), len(s), offset, *line)
                for name, s, offset, line in index_of(text)
            )
            if rng.random() < 0.5:
                index = fuzz.mutated(rng, index, [b"\t", b"0", b"-1", b"r0", b"\n", b"9" * 30])
            Path(f"{fasta}.fai").write_bytes(index)
        if fuzz.accepted(folder, "encode", str(fasta), "--output", str(folder / "store")):
            check_store(folder / "store", data)
            check_direct_reading(folder / "store", fasta)
            if indexed and not data.startswith(b"\x1f\x8b"):
                check_index(fasta, data)
        shutil.rmtree(folder)

    fuzz.cases("fasta", 0.4, run)


def index_of(text: bytes) -> Iterator[tuple[str, bytes, int, tuple[int, int]]]:
    """What samtools faidx writes of a FASTA file of `random_fasta`."""
    for name, letters in as_biopython_reads(text):
        offset = text.index(b">%s " % name.encode())
        offset = text.index(b"\n", offset) + 1
        width = len(text[offset:].split(b"\n", 1)[0])
        yield name, letters, offset, (width, width + 1)
