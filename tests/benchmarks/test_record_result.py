"""A results file counts the runs that gave a run its weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
from record_result import write_result  # noqa: E402
from results_page import section  # noqa: E402

from genomamba_data_prep.errors import InputError  # noqa: E402


def make_run(folder: Path, commit: str, tokens: int) -> Path:
    folder.mkdir()
    where = {"commit": commit, "hardware": "cpu", "seed": 3}
    lines = [
        {"command": f"genomamba fit --run {folder.name}", "subcommand": "fit", **where},
        {"steps": tokens // 10, "tokens": tokens, "seconds": tokens / 100},
        {"command": f"genomamba test --run {folder.name}", "subcommand": "test", **where},
    ]
    (folder / "commands.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "metrics.csv").write_text("step,metric,value\n9,valid/accuracy,0.5\n")
    (folder / "test.json").write_text(json.dumps({"accuracy_by_length": {"8": {"accuracy": 1}}}))
    return folder


def test_what_came_before_is_counted(tmp_path: Path) -> None:
    short, long = make_run(tmp_path / "short", "a", 100), make_run(tmp_path / "long", "b", 1000)
    alone = write_result(long, tmp_path / "alone.json")
    assert (alone["tokens"], alone["seconds"]) == (1000, 10)
    found = write_result(long, tmp_path / "both.json", after=[short])
    assert found == json.loads((tmp_path / "both.json").read_text()) | {
        "metrics": found["metrics"]  # whose steps are no strings yet
    }
    assert (found["tokens"], found["seconds"], found["commit"]) == (1100, 11, "a, b")
    assert found["command"].split(" && ") == [
        "genomamba fit --run short",
        "genomamba test --run short",
        "genomamba fit --run long",
        "genomamba test --run long",
    ]
    assert [(s["run"], s["steps"]) for s in found["metrics"]["stages"]] == [
        ("short", 10),
        ("long", 100),
    ]


def compared(path: Path, other: str, accuracy: float = 0.75) -> Path:
    row = {"windows": 40, "loci": 5, "first": accuracy, "second": 0.5}
    row |= {"difference": accuracy - 0.5, "low": 0.125, "high": 0.375}
    sides = {"first": {"classifier": "ours"}, "second": {"classifier": other}}
    path.write_text(json.dumps({**sides, "by_length": {"8": row}}))
    return path


def test_folds_stand_beside_the_run(tmp_path: Path) -> None:
    run, output = make_run(tmp_path / "run", "a", 100), tmp_path / "out.json"
    (run / "test.json").write_text(
        json.dumps({"accuracy_by_length": {"8": {"accuracy": 1, "examples": 3}}})
    )
    folds = [compared(tmp_path / f"{name}.json", name) for name in ("words", "repeats")]
    fold = make_run(tmp_path / "fold", "b", 10)
    found = write_result(run, output, folds=folds, fold_runs=[fold])
    assert found["commit"] == "a"
    page = section(output, tmp_path)
    assert "| 8 | 0.7500 | 0.5000 | 0.5000 | 40 |" in page
    assert "| 8 | +0.2500 (+0.125 to +0.375) | +0.2500 (+0.125 to +0.375) |" in page
    assert "5 independent loci" in page
    assert "- command: genomamba fit --run fold" in page
    assert "- commit: b" in page
    longer = json.loads(folds[0].read_text())
    longer["by_length"]["16"] = longer["by_length"]["8"]
    (tmp_path / "longer.json").write_text(json.dumps(longer | {"second": {"classifier": "x"}}))
    with pytest.raises(InputError, match="it is not of the first classifier and windows"):
        write_result(run, output, folds=[*folds, tmp_path / "longer.json"])
    for wrong in (folds[0], compared(tmp_path / "other.json", "other", 0.7)):
        with pytest.raises(InputError, match="at 8 bases it is not of the first classifier"):
            write_result(run, output, folds=[*folds, wrong])


def test_what_is_no_trained_and_tested_run_is_a_message(tmp_path: Path) -> None:
    run, output = make_run(tmp_path / "run", "a", 100), tmp_path / "out.json"
    log = run / "commands.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    for part in ([], lines[:2], lines[2:]):  # empty, not tested, not trained
        log.write_text("".join(part))
        with pytest.raises(InputError, match="expected a run that was trained"):
            write_result(run, output)
    log.write_text("".join(lines))
    other = tmp_path / "other.json"
    for text, message in (("{}", "document of an evaluation"), ("{", "expected JSON")):
        other.write_text(text)
        with pytest.raises(InputError, match=message):
            write_result(run, output, evaluation=other)
    assert not output.exists()
