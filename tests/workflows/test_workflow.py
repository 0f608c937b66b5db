"""The workflow runs from FASTA files to the report, and a second time has nothing to do."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from html import unescape
from pathlib import Path

import pytest

from genomamba.cli import main


@pytest.mark.slow
def test_from_fasta_to_the_report(workflow: Path, snakemake) -> None:
    simulated = ["--signal", "markov", "--chromosomes", "3", "--length", "3000", "--seed", "1"]
    simulated += ["--output", str(workflow / "sim")]
    shutil.rmtree(workflow / "sim")
    assert main(["prepare", "simulate", *simulated]) == 0

    done = snakemake(workflow)
    assert done.returncode == 0, done.stdout

    results = workflow / "results"
    [figures] = [
        found
        for found in json.loads((results / "evaluation.json").read_text())["results"]
        if found["quantity"] == "manifest"
    ]
    assert figures["windows"] == 10
    header, *records = (results / "predictions" / "human.tsv").read_text().splitlines()
    assert {"prob_human", "prob_gorilla"} <= set(header.split("\t"))
    assert len(records) == 3
    check_report(results, figures)

    again = snakemake(workflow)
    assert "Nothing to be done" in again.stdout, again.stdout


def check_report(results: Path, figures: dict) -> None:
    """That the page's figures are those of the files it was made from."""
    page = (results / "report.html").read_text()
    for network in ("http:", "https:", "<script", "<link", "<img", "url("):
        assert network not in page
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
    assert f"accuracy at 128 bp {figures['accuracy']['value']:.3f}" in text
    for name, row in zip(("human", "gorilla"), figures["confusion"], strict=True):
        assert f"{name} {' '.join(map(str, row))}" in text
    last = None
    for line in (results / "state" / "run" / "metrics.csv").read_text().splitlines():
        if line.split(",")[1] == "train/loss":
            last = float(line.split(",")[2])
    assert last is not None
    assert f"train/loss 2 1 {last:.6g}" in text
    assert "The checkpoint has made 2 optimiser steps" in text
    assert "human human 3 9,000" in text  # class, assembly, records, bases
    assert "train human 1 1 3,000 33.3%" in text
    for table, sample in (("human", "human"), ("samples", "unknown")):
        lines = (results / "predictions" / f"{table}.tsv").read_text().splitlines()
        for line in lines[1:]:
            row = dict(zip(lines[0].split("\t"), line.split("\t"), strict=True))
            shown = f"{row['prediction']} {float(row['probability']):.3f}"
            assert f"{row['record']} {sample} 3,000 30 {shown}" in text
    assert "Of 3 whose class is known" in text
    titles = re.findall(r'aria-label="Class probabilities along (\w+)"', page)
    assert titles == ["chr1", "chr2", "chr3"]
    checkpoint = results / "state" / "run" / "checkpoints" / "last.ckpt"
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in text
    for species in ("human", "gorilla"):
        manifest = json.loads((results / "stores" / species / "manifest.json").read_text())
        assert manifest["sources"][0]["sha256"] in text
    assert "1 of test.parquet" in text
