"""Mutated stores and manifests."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifests import read_manifest

Rng = np.random.Generator


def test_stores(fuzz: Any, genomes: Path) -> None:
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
        content = fuzz.mutated(rng, before, tokens)
        (store / name).write_bytes(content)
        if rng.random() < 0.05:
            (store / name).unlink()
            content = b""
        command = ["inspect", str(store), "--json"]
        if rng.random() < 0.5:
            options = ["--fractions", "0.5,0.25,0.25", "--output", str(store.with_name("out.tsv"))]
            command = ["split", str(store), *options, "--within-records"]
        if fuzz.accepted(genomes, *command):
            same = content == before
            if name == "manifest.json" and not same:
                same = json.loads(content) == json.loads(before)
            assert same
            (genomes / "out.tsv").unlink(missing_ok=True)
        shutil.rmtree(store)

    fuzz.cases("stores", 0.15, run)


def test_manifests(fuzz: Any, genomes: Path) -> None:
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
    assert fuzz.accepted(genomes, *drawing, str(original))
    sidecar = original.with_name("original.parquet.sha256").read_bytes()
    table = pq.read_table(original)

    def run(rng: Rng) -> None:
        file = genomes / "x.parquet"
        beside = file.with_name("x.parquet.sha256")
        content, hash_line = original.read_bytes(), sidecar
        edits = rng.random()
        if 0.05 < edits < 0.8:
            content = fuzz.mutated(rng, content, [b"PAR1", b"human", b"chr2", b"\x00", b"\xff" * 4])
        elif edits > 0.8:
            hash_line = fuzz.mutated(rng, hash_line, [b" ", b"0", b"\n", b"\xff"])
        file.write_bytes(content)
        if edits < 0.2 or edits >= 0.8:
            beside.write_bytes(hash_line)
        if fuzz.accepted(genomes, *drawing, str(file)):
            assert pq.read_table(file).equals(table)
        with contextlib.suppress(InputError):
            assert read_manifest(file).table.equals(table)
        file.unlink()
        beside.unlink(missing_ok=True)

    fuzz.cases("manifests", 0.1, run)
    original.unlink()
    original.with_name("original.parquet.sha256").unlink()
