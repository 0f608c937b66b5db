"""Mutated files: each is read correctly, as Biopython reads it, or refused as the contract says.

Refused means: exit code 2, one message, nothing on stdout, no traceback, no hang, and the folder as
it was. The mutations are seeded; a failure names its kind and number. More of them:

    GENOMAMBA_FUZZ_CASES=10000 pytest tests/data_prep/test_fuzz.py
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from Bio import bgzf
from Bio.SeqIO.FastaIO import SimpleFastaParser
from pyfaidx import Faidx

from genomamba.cli import main
from genomamba_data_prep.codes import BASE_BITS, SOFT_MASK, N, encode
from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifests import read_manifest
from genomamba_data_prep.store import Store

CASES = int(os.environ.get("GENOMAMBA_FUZZ_CASES", "400"))
SEED = int(os.environ.get("GENOMAMBA_FUZZ_SEED", "0"))
SECONDS = 20.0  # a case that takes longer hangs
OUTCOMES: list[bool] = []  # of the cases so far: whether the input was accepted

Rng = np.random.Generator


class Hang(BaseException):
    """Not an Exception: no handler of ours may swallow it."""


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def cases(kind: str, share: float, run: Callable[[Rng], None]) -> None:
    """Run a share of the cases, each with random numbers of its own; both outcomes must occur."""
    OUTCOMES.clear()
    for case in range(round(CASES * share)):
        rng = np.random.default_rng([SEED, sum(kind.encode()), case])
        try:
            with no_hang():
                run(rng)
        except BaseException as error:
            error.add_note(f"{kind}, case {case}, seed {SEED}")
            raise
    print(f"{kind}: {len(OUTCOMES)} cases, {sum(OUTCOMES)} accepted")
    assert set(OUTCOMES) == {False, True}


def snapshot(folder: Path) -> dict[str, str]:
    """Every file of a folder with a hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def accepted(folder: Path, *arguments: str) -> bool:
    """Run ``genomamba prepare``; checks the contract of a refusal."""
    before = snapshot(folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["prepare", *arguments])
    OUTCOMES.append(code == 0)
    if code == 0:
        return True
    message = err.getvalue()
    assert code == 2, message
    assert message.startswith("genomamba: error: "), message
    assert message.count("\n") == 1, message
    assert not out.getvalue()
    assert snapshot(folder) == before, message
    return False


def mutated(rng: Rng, data: bytes, tokens: list[bytes]) -> bytes:
    """One to four random edits."""
    for _ in range(int(rng.integers(1, 5))):
        data = _edited(rng, data, tokens)
    return data


def _edited(rng: Rng, data: bytes, tokens: list[bytes]) -> bytes:
    a, b = sorted(int(x) for x in rng.integers(0, len(data) + 1, 2))
    b = min(b, a + int(rng.integers(1, 60)))
    lines = data.splitlines(keepends=True) or [b""]
    one, two = (int(x) for x in rng.integers(0, len(lines), 2))
    token = tokens[int(rng.integers(len(tokens)))]
    byte = bytes([int(rng.integers(256))])
    edits: list[Callable[[], bytes]] = [
        lambda: data[:a] + byte + data[a + 1 :],
        lambda: data[:a] + byte + data[a:],
        lambda: data[:a] + data[b:],
        lambda: data[:b] + data[a:b] + data[b:],
        lambda: data[:a],
        lambda: data[a:],
        lambda: data[:a] + token + data[a:],
        lambda: data[:a] + token + data[b:],
        lambda: b"".join(lines[:one] + lines[one + 1 :]),
        lambda: b"".join([*lines[:one], lines[two], *lines[one:]]),
        lambda: data.replace(b"\n", [b"\r\n", b"\r", b"\n\n", b"\n "][int(rng.integers(4))]),
        lambda: data + token,
        lambda: data.swapcase(),
    ]
    return edits[int(rng.integers(len(edits)))]()


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


def test_fasta(tmp_path: Path) -> None:
    def run(rng: Rng) -> None:
        folder = tmp_path / "case"
        folder.mkdir()
        text, fasta = random_fasta(rng), folder / "x.fa"
        inside = rng.random() < 0.7
        whole = compressed(rng, mutated(rng, text, FASTA_TOKENS) if inside else text)
        data = whole if inside else mutated(rng, whole, FASTA_TOKENS)
        fasta.write_bytes(data)
        indexed = rng.random() < 0.3
        if indexed:
            index = b"".join(
                b"%s\t%d\t%d\t%d\t%d\n" % (name.encode(), len(s), offset, *line)
                for name, s, offset, line in index_of(text)
            )
            if rng.random() < 0.5:
                index = mutated(rng, index, [b"\t", b"0", b"-1", b"r0", b"\n", b"9" * 30])
            Path(f"{fasta}.fai").write_bytes(index)
        if accepted(folder, "encode", str(fasta), "--output", str(folder / "store")):
            check_store(folder / "store", data)
            if indexed and not data.startswith(b"\x1f\x8b"):
                check_index(fasta, data)
        shutil.rmtree(folder)

    cases("fasta", 0.4, run)


def index_of(text: bytes) -> Iterator[tuple[str, bytes, int, tuple[int, int]]]:
    """What samtools faidx writes of a FASTA file of `random_fasta`."""
    for name, letters in as_biopython_reads(text):
        offset = text.index(b">%s " % name.encode())
        offset = text.index(b"\n", offset) + 1
        width = len(text[offset:].split(b"\n", 1)[0])
        yield name, letters, offset, (width, width + 1)


LENGTHS = {"human": {"chr1": 300, "chr2": 120, "chrM": 30}, "chimp": {"chr1": 280, "chr3": 90}}
TABLE_TOKENS = [b"\t", b" ", b"-1", b"1e3", b"9" * 25, "０".encode(), b"#", b"track x", b"\x00"]
TABLE_TOKENS += [
    b"\xef\xbb\xbf",
    b"\xff",
    b"train",
    b"Test",
    b"valid",
    b"chr1",
    b"1",
    b"human",
    b"\n",
]
TABLE_TOKENS += [
    b"chimp\tchr1\t0\t9\ttest\n",
    b"\x0c",
    "\u2028".encode(),
    b"species",
    b"\t\t",
    b"../",
]


@pytest.fixture(scope="module")
def genomes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A species set and splits, with dates in the past, so that what is edited is newer."""
    folder = tmp_path_factory.mktemp("genomes")
    rng = np.random.default_rng(0)
    for species, records in LENGTHS.items():
        letters = {name: rng.choice(list("ACGTN"), length) for name, length in records.items()}
        text = "".join(f">{name}\n{''.join(s)}\n" for name, s in letters.items())
        (folder / f"{species}.fa").write_text(text)
        encode_fasta([folder / f"{species}.fa"], folder / species)
    (folder / "set.tsv").write_text("species\tstore\nhuman\thuman\nchimp\tchimp\n")
    rows = ["species\trecord\tstart\tend\tsplit", "human\tchr1\t0\t300\ttest"]
    rows += ["human\tchr2\t0\t120\ttrain", "chimp\tchr1\t5\t250\ttest", "chimp\tchr3\t0\t90\tvalid"]
    (folder / "splits.tsv").write_text("\n".join(rows) + "\n")
    for path in folder.rglob("*"):
        os.utime(path, (10**9, 10**9))
    return folder


def rows_of(data: bytes) -> list[list[str]]:
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    return [[f.strip() for f in line.split("\t")] for line in text.split("\n") if line.strip()]


def read_splits(path: Path) -> list[tuple[str, str, int, int, str]]:
    header, *rows = rows_of(path.read_bytes())
    order = [header.index(name) for name in ("species", "record", "start", "end", "split")]
    fields = [[row[i] for i in order] for row in rows]
    return [(s, r, int(start), int(end), split) for s, r, start, end, split in fields]


def check_disjoint(rows: list[tuple[str, str, int, int, str]]) -> None:
    owner: dict[tuple[str, str, int], str] = {}
    for species, record, start, end, split in rows:
        assert 0 <= start < end <= LENGTHS[species][record]
        assert split in ("train", "valid", "test")
        for base in range(start, end):
            assert owner.setdefault((species, record, base), split) == split


def test_intervals(genomes: Path) -> None:
    def run(rng: Rng) -> None:
        bed, output = genomes / "x.bed", genomes / "out.tsv"
        lines = []
        for _ in range(int(rng.integers(1, 8))):
            start = int(rng.integers(0, 250))
            name = rng.choice(["chr1", "chr2", "1"], p=[0.8, 0.1, 0.1])
            lines.append(f"{name}\t{start}\t{start + int(rng.integers(1, 60))}\ttrain")
        bed.write_bytes(mutated(rng, ("\n".join(lines) + "\n").encode(), TABLE_TOKENS))
        joined = rng.random() < 0.3
        item = f"human={bed}" if rng.random() < 0.5 else str(bed)
        options = ["--rename"] if rng.random() < 0.3 else []
        options += ["--bed" if joined else "--intervals", item, "--output", str(output)]
        if accepted(genomes, "split", str(genomes / "set.tsv"), *options):
            found = read_splits(output)
            check_disjoint(found)
            expected = []
            for record, start, end, split, *_ in (
                row for row in rows_of(bed.read_bytes()) if not row[0].startswith(("#", "track"))
            ):
                for species in ["human"] if "=" in item else LENGTHS:
                    names = [n for n in (record, f"chr{record}") if n in LENGTHS[species]]
                    expected += [(species, n, int(start), int(end), split) for n in names]
            if joined:
                assert bases(found) == bases(expected)
            else:
                assert sorted(found) == sorted(expected)
            output.unlink()
        bed.unlink()

    cases("intervals", 0.2, run)


def bases(rows: list[tuple[str, str, int, int, str]]) -> set[tuple[str, str, int, str]]:
    return {(s, r, base, split) for s, r, a, b, split in rows for base in range(a, b)}


def test_splits_and_species_sets(genomes: Path) -> None:
    def run(rng: Rng) -> None:
        which = ["splits.tsv", "set.tsv"][int(rng.integers(2))]
        original, file = genomes / which, genomes / f"x-{which}"
        file.write_bytes(mutated(rng, original.read_bytes(), TABLE_TOKENS))
        paths = {"splits.tsv": genomes / "splits.tsv", "set.tsv": genomes / "set.tsv", which: file}
        output = genomes / "out.parquet"
        drawing = ["--splits", str(paths["splits.tsv"]), "--length", "10", "--windows", "6"]
        drawing += ["--max-n-fraction", "0.9", "--output", str(output)]
        if accepted(genomes, "manifest", str(paths["set.tsv"]), *drawing):
            rows = read_splits(paths["splits.tsv"])
            if which == "splits.tsv":
                check_disjoint(rows)
            test = bases([row for row in rows if row[4] == "test"])
            for row in pq.read_table(output).to_pylist():
                assert row["end"] - row["start"] == 10
                for base in range(row["start"], row["end"]):
                    assert (row["species"], row["record"], base, "test") in test
            output.unlink()
            output.with_name("out.parquet.sha256").unlink()
        file.unlink()

    cases("splits", 0.15, run)


def test_stores(genomes: Path) -> None:
    def run(rng: Rng) -> None:
        name = ["manifest.json", "codes.bin", "n_runs.bin"][int(rng.integers(3))]
        store = genomes / "x"
        shutil.copytree(genomes / "human", store)
        before = (store / name).read_bytes()
        tokens = [
            b'"',
            b"{",
            b"}",
            b"[",
            b"null",
            b"-1",
            b"1e9",
            b"true",
            b",",
            b"0",
            b"\x04",
            b"\xff",
        ]
        content = mutated(rng, before, tokens)
        (store / name).write_bytes(content)
        if rng.random() < 0.05:
            (store / name).unlink()
            content = b""
        command = ["inspect", str(store), "--json"]
        if rng.random() < 0.5:
            options = ["--fractions", "0.5,0.25,0.25", "--output", str(store.with_name("out.tsv"))]
            command = ["split", str(store), *options, "--within-records"]
        if accepted(genomes, *command):
            same = content == before
            if name == "manifest.json" and not same:
                same = json.loads(content) == json.loads(before)
            assert same
            (genomes / "out.tsv").unlink(missing_ok=True)
        shutil.rmtree(store)

    cases("stores", 0.15, run)


def test_manifests(genomes: Path) -> None:
    original = genomes / "original.parquet"
    drawing = ["--splits", str(genomes / "splits.tsv"), "--length", "10", "--windows", "30"]
    drawing = [
        "manifest",
        str(genomes / "set.tsv"),
        *drawing,
        "--max-n-fraction",
        "0.9",
        "--output",
    ]
    assert accepted(genomes, *drawing, str(original))
    sidecar = original.with_name("original.parquet.sha256").read_bytes()
    table = pq.read_table(original)

    def run(rng: Rng) -> None:
        file = genomes / "x.parquet"
        beside = file.with_name("x.parquet.sha256")
        content, hash_line = original.read_bytes(), sidecar
        edits = rng.random()
        if edits < 0.8:
            content = mutated(rng, content, [b"PAR1", b"human", b"chr2", b"\x00", b"\xff" * 4])
        else:
            hash_line = mutated(rng, hash_line, [b" ", b"0", b"\n", b"\xff"])
        file.write_bytes(content)
        if edits < 0.2 or edits >= 0.8:
            beside.write_bytes(hash_line)
        if accepted(genomes, *drawing, str(file)):
            assert pq.read_table(file).equals(table)
        with contextlib.suppress(InputError):
            assert read_manifest(file).table.equals(table)
        file.unlink()
        beside.unlink(missing_ok=True)

    cases("manifests", 0.1, run)
    original.unlink()
    original.with_name("original.parquet.sha256").unlink()
