"""``genomamba evaluate`` from the command line to its files."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from genomamba.cli import main
from genomamba.inference.evaluate_predictions import prediction_schema, read_predictions
from genomamba.inference.evaluate_tables import METRICS, SCHEMA
from genomamba.models import MambaForClassification
from genomamba.training.checkpoint import load_model
from genomamba_data_prep.cli import main as prepare
from genomamba_data_prep.codes import BASE_BITS, decode, reverse_complement
from genomamba_data_prep.manifest_windows import ManifestReader
from genomamba_data_prep.manifests import Manifest, read_manifest, write_manifest
from genomamba_data_prep.species_set import SpeciesSet

RECORDS = [f"chr{k}" for k in range(7)]


@pytest.fixture
def species_set(write_species_set: Callable[..., Path]) -> Path:
    """Seven records a species, of different composition, so that the classes are not alike."""
    odds = {"ape": [2.8, 2.2, 2.2, 2.8], "bear": [2.2, 2.8, 2.8, 2.2], "cat": [2.5] * 4}
    genomes = {
        species: {
            record: "".join(
                np.random.default_rng([i, k]).choice(list("ACGT"), 4000, p=np.array(weights) / 10)
            )
            for k, record in enumerate(RECORDS)
        }
        for i, (species, weights) in enumerate(odds.items())
    }
    path = write_species_set(genomes)
    split = ["--valid", ",".join(RECORDS[1:]), "--train", RECORDS[0]]
    assert prepare(["split", str(path), *split, "--output", str(path.parent / "s.tsv")]) == 0
    return path


@pytest.fixture
def draw(species_set: Path) -> Callable[[int], Path]:
    def draw(length: int, split: str = "valid", windows: int = 30) -> Path:
        path = species_set.parent / f"{split}-{length}.parquet"
        given = ["--splits", str(species_set.parent / "s.tsv"), "--split", split]
        given += ["--length", str(length), "--windows", str(windows), "--uniform-records"]
        given += ["--reverse-complement", "--output", str(path)]
        assert prepare(["manifest", str(species_set), *given]) == 0
        return path

    return draw


@pytest.fixture
def evaluate(species_set: Path, checkpoint: Path) -> Callable[..., int]:
    def evaluate(*manifests: Path, output: str = "out.html", options: tuple = (), **given) -> int:
        arguments = ["--checkpoint", given.get("checkpoint", checkpoint)]
        arguments += ["--species-set", given.get("species_set", species_set)]
        arguments += ["--output", species_set.parent / output, "--device", "cpu"]
        return main(["evaluate", *map(str, [*arguments, *options, "--manifest", *manifests])])

    return evaluate


def expected_logits(path: Path, species_set: Path, model: MambaForClassification, length: int):
    """Of each window's first bases, one window at a time."""
    opened = SpeciesSet.read(species_set)
    manifest = read_manifest(path, opened)
    codes = ManifestReader(manifest, opened).codes(np.arange(len(manifest))) & BASE_BITS
    with torch.inference_mode():
        logits = [model(torch.from_numpy(row[None, :length]).long()) for row in codes]
    return torch.cat(logits).double(), torch.tensor(manifest.labels)


def test_figures_are_the_models(draw, evaluate, species_set, model) -> None:
    short, long = draw(200), draw(2500)
    assert evaluate(long, short, options=("--prefixes", "--max-bases", "1500")) == 0
    folder = species_set.parent
    table = pq.read_table(folder / "out.parquet")
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert {row["metric"] for row in rows} == set(METRICS)
    lengths = {(row["manifest"], row["quantity"], row["length"]) for row in rows}
    assert lengths == {
        (short.name, "manifest", 200),
        (short.name, "prefix", 200),
        (long.name, "manifest", 2500),
        *((long.name, "prefix", n) for n in (1024, 2048, 2500)),
    }
    for name, quantity, length in lengths:
        logits, labels = expected_logits(folder / name, species_set, model, length)
        place = {"manifest": name, "quantity": quantity, "length": length}
        own = [row for row in rows if row.items() >= place.items()]
        value = {r["metric"]: r for r in own}
        loss = torch.nn.functional.cross_entropy(logits, labels)
        assert value["log_loss"]["value"] == pytest.approx(loss.item(), rel=1e-4)
        right = logits.argmax(1) == labels
        assert value["accuracy"]["value"] == pytest.approx(right.double().mean().item())
        assert (value["accuracy"]["windows"], value["accuracy"]["loci"]) == (30, 6)
        assert value["accuracy"]["low"] <= value["accuracy"]["value"] <= value["accuracy"]["high"]
        for label, species in enumerate(("ape", "bear", "cat")):
            [one] = [r for r in own if r["metric"] == "class_accuracy" and r["true"] == species]
            assert one["value"] == pytest.approx(right[labels == label].double().mean().item())
        assert sum(r["value"] for r in own if r["metric"] == "confusion") == 30
        assert sum(r["windows"] for r in own if r["metric"] == "reliability") == 30
    document = json.loads((folder / "out.json").read_text())
    assert len(document["results"]) == len(lengths)
    page = (folder / "out.html").read_text()
    assert page.count("<svg") >= 5
    for network in ("http://", "https://", "<script", "<link", "<img"):
        assert network not in page


def test_the_same_files_twice_whatever_is_there(draw, evaluate, species_set, capsys) -> None:
    manifest = draw(300)
    assert evaluate(manifest, options=("--prefixes",)) == 0
    names = [species_set.parent / f"out.{suffix}" for suffix in ("html", "parquet", "json")]
    before = [path.read_bytes() for path in names]
    capsys.readouterr()
    assert evaluate(manifest, options=("--prefixes",)) == 2
    assert "exists already" in capsys.readouterr().err
    assert evaluate(manifest, options=("--prefixes", "--force")) == 0
    assert [path.read_bytes() for path in names] == before


def test_a_store_is_a_set_of_one_species(draw, evaluate, species_set, capsys) -> None:
    store = species_set.parent / SpeciesSet.read(species_set).classes[0]
    assert evaluate(draw(200), species_set=store) == 2
    assert "the order counts" in capsys.readouterr().err


def test_a_page_without_intervals_says_so_and_where_it_ran(
    draw, evaluate, species_set, capsys
) -> None:
    folder = species_set.parent
    assert evaluate(draw(200)) == 0
    assert "30 windows, 6 loci" in capsys.readouterr().err
    page = (folder / "out.html").read_text()
    assert "of 6 loci. Rows" in page
    assert "Bars: 95 % intervals over loci; bins" in page
    assert "stands where" not in page
    of_one_record = draw(200, "train")
    assert evaluate(of_one_record, options=("--device", "auto", "--force")) == 0
    assert "30 windows, 1 locus" in capsys.readouterr().err
    page = (folder / "out.html").read_text()
    assert "of 1 locus. Rows" in page
    assert "Bars" not in page  # of the drawing of reliability, the only one
    assert "Without intervals" in page
    assert "stands where" in page
    ran_on = json.loads((folder / "out.json").read_text())["request"]["device"]
    assert ran_on == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def trained(species_set, checkpoint, model) -> tuple[Path, MambaForClassification]:
    """A checkpoint whose head has learned something, from the training record."""
    opened = SpeciesSet.read(species_set)
    codes = np.stack([store.codes(RECORDS[0], 0, 3900) for store in opened.stores.values()])
    windows = torch.from_numpy((codes & BASE_BITS).reshape(39, 300)).long()
    labels = torch.arange(3).repeat_interleave(13)
    model = copy.deepcopy(model)
    torch.nn.init.zeros_(model.head.out_proj.weight)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("head.out_proj"))
    optimizer = torch.optim.Adam(model.head.out_proj.parameters(), 0.05)
    for _ in range(20):
        torch.nn.functional.cross_entropy(model(windows), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        model.head.out_proj.weight *= 5  # sure of itself
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {f"model.{name}": value for name, value in model.state_dict().items()}
    path = species_set.parent / "trained.ckpt"
    torch.save(content, path)
    return path, model


def test_predictions_are_a_row_a_window(draw, evaluate, species_set, model) -> None:
    folder, manifests = species_set.parent, [draw(200), draw(2500)]
    file = folder / "p.parquet"
    options = ("--prefixes", "--predictions", file, "--locus", "1000")
    assert evaluate(*manifests, options=options) == 0
    found = read_predictions(file)
    assert found.classes == ("ape", "bear", "cat")
    assert found.classifier == "classifier.ckpt"
    assert found.table.schema.equals(prediction_schema(found.classes))
    rows = found.table.to_pylist()
    assert [row["length"] for row in rows] == [200] * 30 + [2500] * 30
    document = json.loads((folder / "out.json").read_text())
    drawn = [r for r in document["results"] if r["quantity"] == "manifest"]
    for path, result, first in zip(manifests, drawn, (0, 30), strict=True):
        logits, _ = expected_logits(path, species_set, model, result["length"])
        log_p = logits.log_softmax(1)
        rounding = 1e-6 * float(logits.abs().max())  # float32's, of differences of logits
        right = 0
        given = read_manifest(path).table.to_pylist()
        for row, window, expected in zip(rows[first : first + 30], given, log_p, strict=True):
            for name in ("species", "record", "start", "strand", "label"):
                assert row[name] == window[name]
            values = [row[f"log_prob_{name}"] for name in found.classes]
            assert values == pytest.approx(expected.tolist(), rel=1e-5, abs=rounding)
            assert row["prediction"] == found.classes[int(np.argmax(values))]
            assert row["strand_disagreement"] is None
            middle = (window["start"] + window["end"]) // 2
            assert row["locus"] == f"{window['record']}:{middle // 1000 * 1000}"
            right += row["prediction"] == row["species"]
        assert right / 30 == pytest.approx(result["accuracy"]["value"])
        loci = {row["locus"] for row in rows[first : first + 30]}
        assert len(loci) == result["loci"]


def test_both_strands_are_averaged_as_classify_does(
    draw, evaluate, species_set, trained, tmp_path
) -> None:
    """One window a record, so that classify has the same sequences: the same probabilities."""
    checkpoint, model = trained
    content = torch.load(checkpoint, weights_only=True)
    content["genomamba"]["temperature"] = 30.0  # of less certainty
    torch.save(content, checkpoint)
    manifest, file = draw(1500), tmp_path / "p.parquet"
    options = ("--both-strands", "--prefixes", "--predictions", file)
    assert evaluate(manifest, checkpoint=checkpoint, options=options) == 0
    rows = pq.read_table(file).to_pylist()
    opened = SpeciesSet.read(species_set)
    codes = ManifestReader(read_manifest(manifest), opened).codes(np.arange(30)) & BASE_BITS
    letters = [decode(row).decode() for row in codes]
    fasta = "".join(f">w{i}\n{row}\n" for i, row in enumerate(letters))
    (tmp_path / "w.fa").write_text(fasta)
    given = ["--checkpoint", str(checkpoint), "--both-strands", "--window", "1500"]
    given += ["--device", "cpu", "--output", str(tmp_path / "c.parquet")]
    assert main(["classify", str(tmp_path / "w.fa"), *given]) == 0
    expected = {row["record"]: row for row in pq.read_table(tmp_path / "c.parquet").to_pylist()}
    assert len({row["strand_disagreement"] for row in rows}) > 20
    for i, row in enumerate(rows):
        other = expected[f"w{i}"]
        assert row["prediction"] == other["prediction"]
        for name in ("ape", "bear", "cat"):
            assert np.exp(row[f"log_prob_{name}"]) == pytest.approx(other[f"prob_{name}"], abs=1e-4)
        apart = pytest.approx(other["strand_disagreement"], abs=1e-4)
        assert row["strand_disagreement"] == apart
    results = json.loads((species_set.parent / "out.json").read_text())["results"]
    by_length = {r["length"]: r for r in results if r["quantity"] == "prefix"}
    mean = np.mean([row["strand_disagreement"] for row in rows])
    assert by_length[1500]["strand_disagreement"] == pytest.approx(mean, abs=1e-6)
    assert "strands apart" in (species_set.parent / "out.html").read_text()
    # A prefix's other strand begins at the prefix's end, not at the window's.
    reverse = np.ascontiguousarray(reverse_complement(codes[:, :1024]))
    with torch.inference_mode():
        both = [model(torch.from_numpy(strand).long()) for strand in (codes[:, :1024], reverse)]
    mean = sum((logits / 30).log_softmax(1) for logits in both) / 2
    labels = torch.tensor([("ape", "bear", "cat").index(row["species"]) for row in rows])
    loss = torch.nn.functional.cross_entropy(mean, labels).item()
    assert by_length[1024]["log_loss"]["value"] == pytest.approx(loss, rel=1e-4)


def test_a_temperature_goes_into_the_checkpoint(draw, evaluate, species_set, trained) -> None:
    checkpoint, model = trained
    manifest, new = draw(300), species_set.parent / "new.ckpt"
    assert evaluate(manifest, checkpoint=checkpoint, options=("--fit-temperature", new)) == 0
    loaded, meta = load_model(new)
    assert load_model(checkpoint)[1].get("temperature", 1.0) == 1.0  # an old one is as trained
    assert meta["temperature"] > 0
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    logits, labels = expected_logits(manifest, species_set, model, 300)

    def loss(temperature: float) -> float:
        return torch.nn.functional.cross_entropy(logits / temperature, labels).item()

    best = meta["temperature"]
    assert loss(best) <= min(loss(best * 1.02), loss(best / 1.02), loss(1.0))
    calibration = json.loads((species_set.parent / "out.json").read_text())["calibration"]
    assert calibration["log_loss_before"] == pytest.approx(loss(1.0), rel=1e-4)
    assert calibration["log_loss_after"] == pytest.approx(loss(best), rel=1e-4)
    # The new checkpoint's figures are the calibrated ones, and nothing is left to fit.
    assert evaluate(manifest, checkpoint=new, output="again.html") == 0
    again = json.loads((species_set.parent / "again.json").read_text())
    assert again["results"][0]["log_loss"]["value"] == pytest.approx(loss(best), rel=1e-4)
    third = species_set.parent / "third.ckpt"
    options = ("--fit-temperature", third)
    assert evaluate(manifest, checkpoint=new, output="third.html", options=options) == 0
    assert load_model(third)[1]["temperature"] == best


def test_classes_without_windows(draw, evaluate, species_set) -> None:
    assert evaluate(draw(300, windows=1), draw(200, windows=2)) == 0
    page = (species_set.parent / "out.html").read_text()
    assert "nan" not in page
    document = json.loads((species_set.parent / "out.json").read_text())
    shorter, longer = (result["accuracy_by_class"] for result in document["results"])
    assert shorter["bear"]["value"] is not None
    assert longer["bear"] == {"value": None, "low": None, "high": None}


def refused(run: Callable[[], int], capsys, folder: Path, *words: str) -> None:
    before = sorted(folder.iterdir())
    capsys.readouterr()
    assert run() == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    for word in words:
        assert word in message
    assert sorted(folder.iterdir()) == before


def test_what_is_refused(
    draw, evaluate, species_set, checkpoint, pretraining_checkpoint, capsys
) -> None:
    folder, manifest, train = species_set.parent, draw(300), draw(300, "train")

    def no(run: Callable[[], int], *words: str) -> None:
        refused(run, capsys, folder, *words)

    no(lambda: evaluate(manifest, checkpoint=pretraining_checkpoint), "no classes to predict")
    no(lambda: evaluate(manifest, checkpoint=folder / "no.ckpt"), "no such checkpoint")
    no(lambda: evaluate(manifest, checkpoint=manifest), "not a checkpoint")
    no(lambda: evaluate(manifest, output="out.pdf"), ".html")
    no(lambda: evaluate(manifest, output="no/out.html"), "mkdir -p")
    no(lambda: evaluate(checkpoint), "not a Parquet file")
    no(lambda: evaluate(folder / "no.parquet"), "no.parquet: no such manifest", "prepare manifest")
    no(lambda: evaluate(manifest, manifest), "the same manifest")
    (folder / "other").mkdir()
    namesake = folder / "other" / manifest.name
    namesake.write_bytes(draw(200).read_bytes())
    no(lambda: evaluate(manifest, namesake), "the same file name")
    new = ("--fit-temperature", folder / "new.ckpt")
    no(lambda: evaluate(train, options=new), "validation data", "--split valid")
    same = ("--predictions", folder / "out.parquet")
    no(lambda: evaluate(manifest, options=same), "the table of figures")
    no(lambda: evaluate(manifest, options=("--predictions", folder / "p.tsv")), ".parquet")
    no(lambda: evaluate(manifest, options=("--predictions", manifest, "--force")), "is an input")
    over = ("--fit-temperature", checkpoint, "--force")
    no(lambda: evaluate(manifest, options=over), "is an input too")
    damaged = folder / "damaged.parquet"
    damaged.write_bytes(manifest.read_bytes().replace(b"chr3", b"chr4"))
    no(lambda: evaluate(damaged), "changed after it was written")
    lines = species_set.read_text().splitlines()
    other = folder / "other.tsv"
    other.write_text("\n".join([lines[0], lines[2], lines[1], lines[3]]) + "\n")
    no(lambda: evaluate(manifest, species_set=other), "the order counts")
    content = torch.load(checkpoint, weights_only=True)
    for bad in (0.0, -1.0, float("nan"), "hot"):
        content["genomamba"]["temperature"] = bad
        torch.save(content, folder / "bad.ckpt")
        no(lambda: evaluate(manifest, checkpoint=folder / "bad.ckpt"), "temperature")


def test_nothing_appears_where_the_last_file_fails(
    draw, evaluate, species_set, trained, monkeypatch, capsys
) -> None:
    manifest, folder = draw(300), species_set.parent

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("genomamba.inference.evaluate.write_calibrated", full)
    options = ("--fit-temperature", folder / "new.ckpt")
    before = sorted(folder.iterdir())
    assert evaluate(manifest, checkpoint=trained[0], options=options) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_windows_that_are_not_in_their_records(draw, evaluate, species_set, capsys) -> None:
    manifest = read_manifest(draw(300))

    def rewritten(**change: object) -> Path:
        rows = manifest.table.to_pylist()
        rows[4] |= change
        path = species_set.parent / "changed.parquet"
        table = type(manifest.table).from_pylist(rows, schema=manifest.table.schema)
        write_manifest(path, table, manifest.origin, force=True)
        return path

    for change, words in (
        ({"start": 3900, "end": 4200}, "is not 300 bases of the record's 4,000"),
        ({"start": -1, "end": 299}, "is not 300 bases"),
        ({"start": 0, "end": 301}, "is not 300 bases"),
        ({"record": "chr9"}, "is of no record"),
        ({"label": 0}, "has the label 0"),
    ):
        path = rewritten(**change)
        refused(lambda path=path: evaluate(path), capsys, species_set.parent, "row 4", words)


def test_loci_are_records_or_stretches_of_them(draw, species_set) -> None:
    from genomamba.inference.evaluate_metrics import window_loci

    manifest: Manifest = read_manifest(draw(300))
    rows = manifest.table.to_pylist()
    by_record = window_loci(manifest, None)
    by_bin = window_loci(manifest, 1000)
    for a, one, first in zip(rows, by_record, by_bin, strict=True):
        for b, other, second in zip(rows, by_record, by_bin, strict=True):
            assert (one == other) == (a["record"] == b["record"])
            bins = [(row["start"] + 150) // 1000 for row in (a, b)]
            assert (first == second) == (one == other and bins[0] == bins[1])
