"""``genomamba report``: the page holds what its inputs hold, and inputs that differ are refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from genomamba.cli import main
from genomamba.inference.evaluate_document import read_document
from genomamba.inference.evaluate_tables import json_document
from genomamba.inference.report.prediction_tables import read_predictions
from genomamba.inference.report.predictions import predictions_section
from genomamba.inference.report.tracks import SPANS, tracks_section
from genomamba.inference.report.training import POINTS, Curve, training_section
from genomamba.inference.schema import record_schema, track_schema
from genomamba.inference.writers import table_writer

CLASSES = ("ape", "bear", "cat")
RECORDS = [f"chr{k}" for k in range(7)]
METRICS = "step,metric,value\n0,train/loss,1.25\n1,train/loss,0.75\n1,valid/accuracy,nan\n"


@pytest.fixture
def folder(tmp_path: Path, write_species_set: Callable[..., Path], checkpoint: Path) -> Path:
    """All that a workflow leaves, of an untrained model."""
    rng = np.random.default_rng(0)
    genomes = {
        species: {record: "".join(rng.choice(list("ACGT"), 3000)) for record in RECORDS}
        for species in CLASSES
    }
    species_set = write_species_set(genomes)
    folder = species_set.parent
    run = folder / "run"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(checkpoint, run / "checkpoints" / "last.ckpt")
    (run / "metrics.csv").write_text(METRICS)
    (run / "config.yaml").write_text("seed_everything: 77\n")
    fasta = folder / "in.fa"
    fasta.write_text("".join(f">{name}\n{'ACGTTGCA' * 40}\n" for name in ("one", "two")))
    commands = [
        f"prepare split {species_set} --train chr0 --valid chr1 --test {','.join(RECORDS[2:])} "
        f"--output {folder}/splits.tsv",
        f"prepare manifest {species_set} --splits {folder}/splits.tsv --length 300 --windows 30 "
        f"--seed 5 --output {folder}/test.parquet",
        f"evaluate --checkpoint {run}/checkpoints/last.ckpt --species-set {species_set} "
        f"--manifest {folder}/test.parquet --output {folder}/evaluation.html --device cpu",
        f"classify {fasta} --checkpoint {run}/checkpoints/last.ckpt --device cpu "
        f"--output {folder}/in.tsv --track {folder}/in.track.parquet",
    ]
    for command in commands:
        assert main(command.split()) == 0
    species_set.rename(folder / "species.tsv")
    return folder


@pytest.fixture
def report(folder: Path) -> Callable[..., int]:
    def report(output: str = "report.html", options: tuple[str, ...] = (), **given: Path) -> int:
        arguments = {
            "--species-set": folder / "species.tsv",
            "--splits": folder / "splits.tsv",
            "--manifests": folder / "test.parquet",
            "--run": folder / "run",
            "--evaluation": folder / "evaluation.json",
            "--predictions": folder / "in.tsv",
            "--tracks": folder / "in.track.parquet",
            "--output": folder / output,
        } | {f"--{name.replace('_', '-')}": path for name, path in given.items()}
        pairs = [str(part) for pair in arguments.items() for part in pair]
        return main(["report", *pairs, *options])

    return report


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_page_holds_what_the_files_hold(folder: Path, report: Callable[..., int]) -> None:
    assert report() == 0
    page = (folder / "report.html").read_text()
    for network in ("http:", "https:", "<script", "<link", "<img", "url("):
        assert network not in page
    text = text_of(page)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    [result] = evaluation["results"]
    assert f"accuracy at 300 bp {result['accuracy']['value']:.3f}" in text
    low, high = (f"{result['accuracy'][end]:.3f}" for end in ("low", "high"))
    assert f"{low} – {high}" in text
    for row, name in zip(result["confusion"], CLASSES, strict=True):
        assert f"{name} {' '.join(map(str, row))}" in text
    assert "train/loss 2 1 0.75 0.75 1.25" in text
    assert "valid/accuracy" not in text  # its only value is no number
    for row in (folder / "in.tsv").read_text().splitlines()[1:]:
        _, _, record, _, length, _, prediction, probability, *_ = row.split("\t")
        assert f"{record} in {length} 5 {prediction} {float(probability):.3f}" in text
    assert "Class probabilities along one" in page
    assert "test ape 5 5 15,000 71.4%" in text
    assert "test.parquet test 300 30 10" in text
    assert "77 of training" in text
    assert "5 of test.parquet" in text
    request = evaluation["request"]
    digests = [request["checkpoint_sha256"], request["species_set_digest"]]
    for digest in (*digests, request["manifests"][0]["digest"]):
        assert digest in text
    for chart in re.findall(r"<svg viewBox.*?</svg>", page, re.S):
        ElementTree.fromstring(chart)


def test_the_same_page_twice_and_only_by_force(
    folder: Path, report: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert report() == 0
    before = (folder / "report.html").read_bytes()
    assert report() == 2
    assert "--force" in capsys.readouterr().err
    assert report(options=("--force",)) == 0
    assert (folder / "report.html").read_bytes() == before


def test_an_evaluation_is_read_as_it_was_written(folder: Path) -> None:
    path = folder / "evaluation.json"
    assert json_document(read_document(path)) == path.read_text()


def changed_checkpoint(folder: Path, **change: object) -> Path:
    content = torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    content["genomamba"] |= change
    path = folder / "changed.ckpt"
    torch.save(content, path)
    return path


def test_what_is_refused(
    folder: Path, report: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def no(*words: str, **given: Path) -> None:
        before = sorted(folder.iterdir())
        capsys.readouterr()
        assert report(**given) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1, message
        for word in (*words, *(path.name for path in given.values())):
            assert word in message
        assert sorted(folder.iterdir()) == before

    def file(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text)
        return path

    missing = folder / "missing"
    no("expected the folder of a training run", "genomamba fit", run=missing)
    no("cannot be read", "genomamba evaluate", evaluation=missing)
    no("no such table", "genomamba classify", predictions=folder / "missing.tsv")
    no("no such track", "genomamba classify", tracks=missing)
    no("cannot be read", species_set=missing)
    no("cannot be read", splits=missing)
    no("no such manifest", "genomamba prepare manifest", manifests=missing)
    no("no such checkpoint", checkpoint=missing)
    no("the suffix is .html, not '.pdf'", output=folder / "report.pdf")
    no("mkdir -p", output=folder / "no" / "report.html")

    no("as JSON", evaluation=file("bad.json", "{"))
    no("a field is missing", evaluation=file("empty.json", "{}"))
    no(".tsv, .parquet, .jsonl", predictions=folder / "in.fa")
    no("the columns sample", predictions=file("bad.tsv", "sample\trecord\nx\ty\n"))
    no("in Parquet", tracks=folder / "in.tsv")
    no("log_prob_ape", tracks=folder / "evaluation.parquet")
    no("the file is empty", predictions=file("nothing.tsv", ""))
    document = json.loads((folder / "evaluation.json").read_text())
    document["results"][0]["confusion"].pop()
    no("a confusion matrix of", evaluation=file("cut.json", json.dumps(document)))
    del document["request"]["device"]
    no("request has no device", evaluation=file("older.json", json.dumps(document)))
    damaged = folder / "damaged.track.parquet"
    whole = (folder / "in.track.parquet").read_bytes()
    group = pq.read_metadata(folder / "in.track.parquet").row_group(0)
    for column in (0, group.num_columns - 1):  # a name, a probability
        start = group.column(column).dictionary_page_offset
        damaged.write_bytes(whole[:start] + bytes(40) + whole[start + 40 :])
        no("a damaged track", tracks=damaged)
    rows = (folder / "in.tsv").read_text().splitlines()
    no("row 2", "fields expected", predictions=file("cut.tsv", "\n".join([*rows[:2], rows[2][:9]])))
    text = "\n".join(row.replace("\t320\t", "\tlong\t") for row in rows) + "\n"
    no("row 1", "long", predictions=file("letters.tsv", text))

    digest = json.loads((folder / "evaluation.json").read_text())["request"]["checkpoint_sha256"]
    text = (folder / "in.tsv").read_text().replace(digest[:16], "0" * 16)
    no("expected predictions of", "0" * 16, predictions=file("other.tsv", text))
    text = (folder / "evaluation.json").read_text().replace(digest, "0" * 64)
    no("expected an evaluation of", "--checkpoint", evaluation=file("other.json", text))
    changed = changed_checkpoint(folder, data={"splits_digest": "1" * 64})
    no("trained on", "1" * 64, checkpoint=changed)
    changed = changed_checkpoint(folder, classes=["ape", "cat", "bear"])
    no("the order counts", checkpoint=changed)
    changed = changed_checkpoint(folder, classes=None, task="pretraining")
    no("expected a classifier's checkpoint", checkpoint=changed)

    (folder / "run" / "metrics.csv").write_text("step,metric,value\nx,y,z\n")
    no("metrics.csv", "the columns step, metric, value")
    (folder / "run" / "metrics.csv").unlink()
    no("metrics.csv", "no such file")
    (folder / "run" / "metrics.csv").write_text(METRICS)
    (folder / "run" / "config.yaml").write_text("a: [")
    no("config.yaml", "as YAML")


def prediction(number: int, name: str, **change: object) -> dict[str, object]:
    row = {"sample": f"s{number % 60}", "file": "f", "record": f"r{number}", "length": 10}
    row |= {"prediction": name, "probability": 0.5, "windows": 1, "checkpoint": "0" * 16}
    return row | {f"prob_{other}": 0.5 for other in CLASSES} | change


@pytest.mark.parametrize("suffix", [".tsv", ".parquet", ".jsonl"])
def test_a_large_table_is_counted_whole_and_cut_in_words(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    with table_writer(path, record_schema(CLASSES)) as writer:
        for number in range(300):
            writer.write(prediction(number, CLASSES[number % 2], label="ape"))
        nothing = {"prediction": None, "probability": None, "reason": "too <few> bases"}
        writer.write(prediction(300, "", **nothing))
    html = predictions_section(read_predictions(path))
    reasons = '<table class="plain"><thead><tr><th scope="col">why there is no prediction</th>'
    assert reasons in html  # plain: long reasons wrap
    text = text_of(html)
    assert "Records: 301, of samples: 61; in all 3,010 bases. With a prediction: 300." in text
    assert "Of 300 whose class is known 150 right (50.0%)" in text
    assert "the first 50 of 61 samples and the first 20 of 301 records" in text
    assert "ape 150 1,500 0.500 bear 150 1,500 0.500 cat 0 0 – no prediction 1 10 –" in text
    assert "too <few> bases 1" in text
    assert "s49 ape" in text
    assert "s50 ape" not in text
    assert "r19" in text
    assert "r20" not in text


def track(path: Path, lengths: dict[str, int], classes: tuple[str, ...], step: int = 10) -> Path:
    rows = []
    for record, length in lengths.items():
        for start in range(0, length, step):
            place = {"sample": "s", "file": "f.fa", "record": record, "start": start}
            p = {f"log_prob_{name}": float(np.log(1 / len(classes))) for name in classes}
            skipped = dict.fromkeys(p) if length // 2 <= start < length // 2 + 2 * step else {}
            rows.append(place | {"end": min(start + step, length)} | p | skipped)
    pq.write_table(pa.Table.from_pylist(rows, schema=track_schema(classes)), path, row_group_size=7)
    return path


def boxes(chart: str) -> list[int]:
    """Spans that each class of a chart fills."""
    return [path.count("M") for path in re.findall(r'class="band" d="([^"]*)"', chart)]


def test_the_longest_records_are_drawn(tmp_path: Path) -> None:
    one = track(tmp_path / "1.parquet", {"a": 100, "b": 400, "c": 90}, CLASSES)
    two = track(tmp_path / "2.parquet", {"d": 8000, "e": 95}, CLASSES)
    section = tracks_section([one, two], CLASSES)
    figures = re.findall(r"<figure>.*?</figure>", section, re.S)
    names = [re.search(r"along (\w)", figure) for figure in figures]
    assert [name and name[1] for name in names] == ["d", "b", "a"]
    assert "The other 2 records" in section
    assert boxes(figures[1]) == [38] * 3  # 40 windows, two of which are left out
    assert "800 readings, averaged over 240 equal stretches" in text_of(figures[0])
    assert boxes(figures[0]) == [SPANS] * 3


@pytest.mark.parametrize("readings", [100, 10 * SPANS])
def test_heights_are_the_probabilities(tmp_path: Path, readings: int) -> None:
    first = np.linspace(0.1, 0.9, readings)
    rows = [
        {"sample": "s", "file": "f", "record": "a", "start": 10 * i, "end": 10 * i + 10}
        | {"log_prob_x": np.log(p), "log_prob_y": np.log(1 - p)}
        for i, p in enumerate(first)
    ]
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=track_schema(("x", "y"))), path)
    section = tracks_section([path], ("x", "y"))
    [x, y] = re.findall(r'class="band" d="([^"]*)"', section)
    tops, bottoms = (
        np.array([float(number) for number in re.findall(pattern, x)])
        for pattern in (r"M[\d.]+ ([\d.]+)", r"V([\d.]+)")
    )
    whole = bottoms[0] - float(re.findall(r"M[\d.]+ ([\d.]+)", y)[0])
    expected = first if readings <= SPANS else first.reshape(SPANS, -1).mean(axis=1)
    assert (bottoms - tops) / whole == pytest.approx(expected, abs=1e-3)


def test_more_classes_than_colours(tmp_path: Path) -> None:
    classes = tuple(f"c{k}" for k in range(9))
    section = tracks_section([track(tmp_path / "t.parquet", {"a": 100}, classes)], classes)
    assert "the other 3" in section
    assert section.count('class="band"') == 7


def test_curves_without_values_and_with_many() -> None:
    assert "no step was logged" in training_section({}, None)
    text = training_section({"run/tokens": Curve([0], [4.0])}, 7)
    assert "neither loss nor accuracy" in text
    assert "7 optimiser steps" in text
    steps = list(range(5 * POINTS))
    page = training_section({"train/loss": Curve(steps, [1.0] * len(steps))}, None)
    [points, _] = re.findall(r'class="(?:raw|model)"><title>.*?points="([^"]*)"', page, re.S)
    assert POINTS <= points.count(",") <= POINTS + 1
    assert "every k-th is drawn" in page
