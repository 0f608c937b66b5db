"""`genomamba prepare audit`: files, repetition, and the user's mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genomamba.cli import main


@pytest.fixture
def data(write_species_set: Callable[..., Path], tmp_path: Path) -> tuple[str, str]:
    """A species set of two and its splits."""
    rng = np.random.default_rng(0)
    genomes = {
        species: {name: "".join(rng.choice(list("ACGT"), 20_000)) for name in ("x", "y", "z")}
        for species in ("a<b", "c")
    }
    species_set = write_species_set(genomes)
    splits = tmp_path / "splits.tsv"
    arguments = ["--train", "x", "--test", "y,z", "--output", str(splits)]
    assert main(["prepare", "split", str(species_set), *arguments]) == 0
    return str(species_set), str(splits)


def command(data: tuple[str, str], output: Path, *options: str) -> list[str]:
    settings = ["--lengths", "512,1024", "--locus", "4000", "--train-windows", "100"]
    inputs = ["prepare", "audit", data[0], "--splits", data[1], "--output", str(output)]
    return [*inputs, *settings, *options]


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the longer words, whose fits take seconds."""
    for module in ("audit", "verdict"):
        monkeypatch.setattr(f"genomamba_data_prep.audit.{module}.KS", (1, 2, 3))
    names = {f"{k}-mers": f"{k}-mers" for k in (1, 2, 3)} | {"repeats": "repeats"}
    monkeypatch.setattr("genomamba_data_prep.audit.html.BASELINES", names)


def test_page_and_figures(
    data: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "audit.html"
    assert main(command(data, output)) == 0
    captured = capsys.readouterr()
    assert not captured.out
    assert "passes: N positions only" in captured.err
    page = output.read_text()
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert "http" not in page  # nothing is loaded from anywhere
    assert "<script" not in page
    content = json.loads(output.with_suffix(".json").read_text())
    assert [own["length"] for own in content["lengths"]] == [512, 1024]
    names = {"n", "length", "record_length", "soft_mask"} | {f"{k}-mers" for k in range(1, 4)}
    names |= {"repeats"}
    for own in content["lengths"]:
        assert set(own["classifiers"]) == names
        assert own["classifiers"]["3-mers"]["loci"] == 10
    assert content["request"]["command"] in page.replace("&#x27;", "'")
    assert content["request"]["set_digest"] in page
    assert sorted(p.name for p in tmp_path.glob("*audit*")) == ["audit.html", "audit.json"]

    before = page, output.stat().st_mtime_ns
    assert main(command(data, output)) == 0
    assert "already up to date" in capsys.readouterr().err
    assert (output.read_text(), output.stat().st_mtime_ns) == before
    assert main(command(data, output, "--seed", "1")) == 2
    assert "--force" in capsys.readouterr().err
    assert main(command(data, output, "--force")) == 0
    assert output.read_text() == page  # byte for byte


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lengths", "1024,x"], "expected --lengths like"),
        (["--lengths", "40000"], "no window of 40000 bases of the species a<b"),
        (["--lengths", "15000"], "train split has a single window of 15000 bases"),
        (["--lengths", "3"], "at least 6 bases"),
        (["--locus", "0"], "--locus of at least 1"),
        (["--max-n-fraction", "1"], r"in \[0, 1\)"),
        (["--test-windows", "3"], "--test-windows of at least 4"),
        (["--seed", "-1"], r"--seed in \[0"),
        (["--output", "missing/audit.html"], "folder does not exist"),
        (["--output", "audit.txt"], "ends in .html"),
    ],
    ids=str,
)
def test_mistakes(
    data: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(command(data, tmp_path / "audit.html", *options)) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("genomamba: error") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_single_locus(
    data: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = Path(data[1])
    splits.write_text("".join(t for t in splits.read_text().splitlines(True) if "\tz\t" not in t))
    assert main(command(data, tmp_path / "audit.html", "--locus", "20000")) == 2
    assert "lie in a single locus of 20000 bases" in capsys.readouterr().err
    assert not (tmp_path / "audit.html").exists()


def test_a_split_is_missing(
    data: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = Path(data[1])
    splits.write_text("".join(t for t in splits.read_text().splitlines(True) if "test" not in t))
    assert main(command(data, tmp_path / "audit.html")) == 2
    assert "no test interval of a<b and c" in capsys.readouterr().err


def test_one_species(
    data: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = Path(data[1])
    splits.write_text("".join(t for t in splits.read_text().splitlines(True) if "c\t" not in t))
    store = str(Path(data[0]).parent / "a<b")
    assert main(command((store, data[1]), tmp_path / "audit.html")) == 2
    assert "at least two species" in capsys.readouterr().err
