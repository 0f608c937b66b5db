"""Mutated interval files, splits and species sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

Rng = np.random.Generator

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


def test_intervals(fuzz: Any, genomes: Path) -> None:
    def run(rng: Rng) -> None:
        bed, output = genomes / "x.bed", genomes / "out.tsv"
        lines = []
        renamed = rng.random() < 0.3
        for _ in range(int(rng.integers(1, 6))):
            start = int(rng.integers(0, 220))
            name = "1" if renamed and rng.random() < 0.5 else "chr1"
            lines.append(f"{name}\t{start}\t{start + int(rng.integers(1, 60))}\ttrain")
        bed.write_bytes(fuzz.mutated(rng, ("\n".join(lines) + "\n").encode(), TABLE_TOKENS))
        joined = rng.random() < 0.3
        item = str(bed) if joined and rng.random() < 0.5 else f"human={bed}"
        options = ["--rename"] if renamed else []
        options += ["--bed" if joined else "--intervals", item, "--output", str(output)]
        if fuzz.accepted(genomes, "split", str(genomes / "set.tsv"), *options):
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

    fuzz.cases("intervals", 0.2, run)


def bases(rows: list[tuple[str, str, int, int, str]]) -> set[tuple[str, str, int, str]]:
    return {(s, r, base, split) for s, r, a, b, split in rows for base in range(a, b)}


def test_splits_and_species_sets(fuzz: Any, genomes: Path) -> None:
    def run(rng: Rng) -> None:
        which = ["splits.tsv", "set.tsv"][int(rng.integers(2))]
        original, file = genomes / which, genomes / f"x-{which}"
        file.write_bytes(fuzz.mutated(rng, original.read_bytes(), TABLE_TOKENS))
        paths = {"splits.tsv": genomes / "splits.tsv", "set.tsv": genomes / "set.tsv", which: file}
        output = genomes / "out.parquet"
        drawing = ["--splits", str(paths["splits.tsv"]), "--length", "10", "--windows", "6"]
        drawing += ["--max-n-fraction", "0.9", "--output", str(output)]
        if fuzz.accepted(genomes, "manifest", str(paths["set.tsv"]), *drawing):
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

    fuzz.cases("splits", 0.15, run)
