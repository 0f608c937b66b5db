"""The two commands: files, presets, determinism and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genomamba_data_prep.cli import main
from genomamba_data_prep.codes import encode
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.simulate.tree import SPECIES
from genomamba_data_prep.simulate.truth import read_markov

SMALL = ["--chromosomes", "2", "--length", "20011"]


def simulate(output: Path, *options: str) -> Path:
    assert main(["simulate", "--output", str(output), *SMALL, *options]) == 0
    return output


def read(path: Path) -> dict[str, np.ndarray]:
    records = path.read_bytes().split(b">")[1:]
    parts = (record.partition(b"\n") for record in records)
    return {name.decode(): encode(lines.replace(b"\n", b"")) for name, _, lines in parts}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("simulate") / "demo", "--preset", "demo")


def test_markov_files(demo: Path) -> None:
    names = {path.name for path in demo.iterdir()}
    assert names == {f"{species}.fa" for species in SPECIES} | {"truth.json"}
    for species in SPECIES:
        genome = read(demo / f"{species}.fa")
        assert list(genome) == ["chr1", "chr2"]
        for codes in genome.values():
            assert len(codes) == 20011
            assert set(codes.tolist()) <= {0, 1, 2, 3, 4, 8, 9, 10, 11}
    lines = (demo / "human.fa").read_bytes().splitlines()
    assert max(map(len, lines)) == 60


def test_truth_is_complete(demo: Path) -> None:
    truth = read_markov(demo)
    assert truth.species == SPECIES
    assert (truth.order, truth.kl, truth.seed) == (2, 2e-3, 0)
    assert truth.word_probabilities.shape == (5, 64)
    content = json.loads((demo / "truth.json").read_text())
    assert content["kl_rates"]["min"] == pytest.approx(2e-3, rel=0.01)
    assert content["kl_rates"]["max"] == pytest.approx(2e-3, rel=0.01)


def test_masks_have_the_fractions_asked_for(tmp_path: Path) -> None:
    output = simulate(
        tmp_path / "out", "--signal=markov", "--n-fraction=0.1", "--soft-mask-fraction=0.3"
    )
    codes = np.concatenate([c for s in SPECIES for c in read(output / f"{s}.fa").values()])
    assert (codes == 4).mean() == pytest.approx(0.1, abs=0.04)
    assert ((codes & 8) > 0).mean() == pytest.approx(0.27, abs=0.06)


def test_clade_files(tmp_path: Path) -> None:
    output = simulate(tmp_path / "out", "--signal-strength=5")
    content = json.loads((output / "truth.json").read_text())
    assert content["signal"] == "clade"
    assert content["parameters"]["signal_strength"] == 5
    for species in SPECIES:
        lengths = {name: len(codes) for name, codes in read(output / f"{species}.fa").items()}
        assert lengths == content["chromosomes"][species]
        assert list(lengths) == ["chr1", "chr2"]
        assert all(19_000 < length < 40_000 for length in lengths.values())
    with pytest.raises(InputError, match="signal clade"):
        main(["bayes", str(output)])


@pytest.mark.parametrize("signal", ["markov", "clade"])
def test_the_seed_alone_decides(tmp_path: Path, signal: str) -> None:
    option = f"--signal={signal}"
    first, second = simulate(tmp_path / "a", option), simulate(tmp_path / "b", option)
    other = simulate(tmp_path / "c", option, "--seed=1")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        assert path.read_bytes() != (other / path.name).read_bytes()


def test_existing_output_is_kept_without_force(tmp_path: Path) -> None:
    output = simulate(tmp_path / "out", "--signal=markov")
    before = (output / "human.fa").read_bytes()
    with pytest.raises(InputError, match="--force"):
        simulate(output, "--signal=markov", "--seed=1")
    assert (output / "human.fa").read_bytes() == before
    simulate(output, "--signal=markov", "--seed=1", "--force")
    assert (output / "human.fa").read_bytes() != before
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="replaces nothing else"):
        simulate(tmp_path / "other", "--force")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset=demo", "--signal=clade"], "--preset demo is for"),
        (["--signal=markov", "--signal-strength=2"], "--signal-strength does not apply"),
        (["--kl=1e-3"], "--kl does not apply"),
        (["--signal=markov", "--kl=0.9"], "Lower --kl"),
        (["--signal=markov", "--length=0"], "--length 0"),
        (["--signal=markov", "--n-fraction=1"], "--n-fraction"),
        (["--signal=markov", "--seed=-1"], "--seed"),
        (["--ts-tv=0"], "--ts-tv"),
    ],
)
def test_refusals_leave_nothing(tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(tmp_path / "out", *options)
    assert not list(tmp_path.iterdir())


def test_bayes_prints_table_and_json(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--lengths=128,1024", "--windows=200", "--seed=3"]
    assert main(["bayes", str(demo), *options]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split("\t") == ["length", "windows", "accuracy", "standard_error", "hits"]
    assert main(["bayes", str(demo / "truth.json"), *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["length"] for row in found] == [128, 1024]
    for row, line in zip(found, rows, strict=True):
        assert float(line.split("\t")[2]) == pytest.approx(row["accuracy"], abs=1e-4)


def test_bayes_refuses(demo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        main(["bayes", str(tmp_path)])
    with pytest.raises(InputError, match="belong together"):
        main(["bayes", str(demo), "--manifest", "x.parquet"])
    for text, message in [
        ("not JSON", "not a simulation"),
        ('{"format": 9, "signal": "markov"}', "format 9"),
        ('{"format": 1, "signal": "clade"}', "signal clade"),
        ('{"format": 1, "signal": "markov"}', "incomplete"),
    ]:
        (tmp_path / "truth.json").write_text(text)
        with pytest.raises(InputError, match=message):
            main(["bayes", str(tmp_path)])


def test_bayes_on_a_manifest(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Encode, split, draw a manifest, and classify its windows by their exact likelihoods."""
    rows = ["species\tstore"]
    for species in SPECIES:
        fasta, store = demo / f"{species}.fa", tmp_path / f"{species}.store"
        assert main(["encode", str(fasta), "--output", str(store), "--species", species]) == 0
        rows.append(f"{species}\t{store.name}")
    species_set, splits = tmp_path / "set.tsv", tmp_path / "splits.tsv"
    species_set.write_text("\n".join(rows) + "\n")
    names = ["--train=chr1", "--test=chr2"]
    assert main(["split", str(species_set), *names, "--output", str(splits)]) == 0
    manifest = tmp_path / "test.parquet"
    options = ["--split=test", "--length=2048", "--windows=250", "--output", str(manifest)]
    assert main(["manifest", str(species_set), "--splits", str(splits), *options]) == 0
    capsys.readouterr()
    options = ["--manifest", str(manifest), "--set", str(species_set), "--json"]
    assert main(["bayes", str(demo), *options]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["length"], found["windows"]) == (2048, 250)
    assert 0.6 < found["hits"] < 1
    assert found["accuracy"] == pytest.approx(found["hits"], abs=0.15)
