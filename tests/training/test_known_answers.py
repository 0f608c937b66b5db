"""Tasks with known answers: what is drawn, that a tiny network learns it, resuming."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from genomamba.cli import main
from genomamba.data.known_answers import Draw, InductionHeads, SelectiveCopying
from genomamba.data.known_answers_datamodule import KnownAnswersLoader
from genomamba.training import provenance
from genomamba.training import task as training_task
from genomamba.training.run_files import read_metrics
from genomamba_data_prep.windows import Stream


def examples(task, numbers, length, seed=3):
    return task.examples(Draw(seed, np.array(numbers, dtype=np.int64), 0), length)


def test_threads_draw_the_same_batches_in_the_same_order() -> None:
    batches = [[0, 1], [2, 3], [4], [5, 6], [7]]
    here, ahead = (
        KnownAnswersLoader(
            InductionHeads(), batches, seed=3, stream=Stream.TEST, length=40, threads=threads
        )
        for threads in (0, 2)
    )
    pairs = list(zip(here, ahead, strict=True))
    assert [len(a) for a, _ in pairs] == [2, 2, 1, 2, 1]
    for a, b in pairs:
        assert torch.equal(a.tokens, b.tokens)
        assert torch.equal(a.answers, b.answers)


@pytest.mark.parametrize("task", [InductionHeads(), SelectiveCopying()])
def test_an_example_is_a_function_of_seed_and_number(task) -> None:
    tokens, answers = examples(task, range(20), 64)
    alone, its_answers = examples(task, [13], 64)
    assert (tokens[13] == alone[0]).all()
    assert (answers[13] == its_answers[0]).all()
    assert (examples(task, [13], 64, seed=4)[0] != alone).any()
    assert len(np.unique(tokens, axis=0)) == 20


def test_the_answers_are_what_the_sequences_say() -> None:
    tokens, answers = examples(InductionHeads(), range(200), 9)
    for row, answer in zip(tokens.tolist(), answers[:, 0], strict=True):
        assert row.count(16) == 2
        assert row[-1] == 16
        assert row[row.index(16) + 1] == answer < 16
    tokens, answers = examples(SelectiveCopying(6, 3), range(200), 12)
    for row, answer in zip(tokens.tolist(), answers.tolist(), strict=True):
        assert row[-3:] == [5, 5, 5]
        assert [token for token in row[:-3] if token] == answer


def test_all_sets_of_places_are_equally_likely() -> None:
    found = Draw(0, np.arange(20_000), 0).places(5, 2)
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 10
    assert abs(counts - 2000).max() < 5 * 2000**0.5


@pytest.mark.slow
def test_induction_is_learnt_and_holds_at_four_times_the_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    configs = ["--config", "tasks/induction", "--config", "tasks/induction_tiny", "--run", "r"]
    assert main(["fit", *configs]) == 0
    assert main(["test", *configs, "--ckpt_path", "last"]) == 0
    found = json.loads(Path("r/test.json").read_text())
    assert found["training"]["ended_by"] == "convergence"
    assert found["training"]["steps"] < 3000
    assert found["accuracy_by_length"]["64"]["accuracy"] >= 0.95
    assert main(["fit", *configs, "--ckpt_path", "last", "--data.init_args.seed", "1"]) == 2
    check_results_file(found, configs)


def test_what_is_written_is_of_its_own_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values are logged where they are read; the file is the same as if they always were."""
    monkeypatch.chdir(tmp_path)
    names = ("tasks/induction", "tasks/induction_tiny")
    configs = [part for name in names for part in ("--config", name)]
    short = ["--trainer.max_steps", "9", "--trainer.val_check_interval", "9"]
    short += ["--trainer.log_every_n_steps", "3", "--model.init_args.optimizer.warmup_fraction=1"]
    written = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(training_task, "SECONDS_BETWEEN_VALUES", seconds)
        assert main(["fit", *configs, *short, "--run", str(seconds)]) == 0
        written.append(read_metrics(f"{seconds}/metrics.csv"))
    assert written[0] == written[1]
    for metric in ("train/loss", "train/accuracy", "train/learning_rate"):
        assert [step for step, name, _ in written[1] if name == metric] == [2, 5, 8]


def check_results_file(tested: dict, configs: list[str]) -> None:
    """Made by a command from what the run's folder says; not before a test, nor of a killed one."""
    script = Path(__file__).parents[2] / "benchmarks" / "record_result.py"
    command = [sys.executable, str(script), "r", "--output", "result.json"]
    subprocess.run(command, check=True)
    result = json.loads(Path("result.json").read_text())
    given = shlex.join(configs)
    assert f"genomamba fit {given} && " in result["command"]
    assert result["command"].endswith(f"genomamba test {given} --ckpt_path last")
    assert result["tokens"] == tested["training"]["steps"] * 16 * 16
    assert result["seconds"] == round(tested["training"]["seconds"], 1)
    by_step = result["metrics"].pop("accuracy_by_step")
    assert list(by_step)[-1] == str(tested["training"]["steps"])
    assert by_step[str(tested["training"]["steps"])] == 1.0
    assert result["metrics"] == tested
    assert result["ended_by"] == "convergence"
    assert result["seed"] == 0
    assert result["commit"]
    assert "threads: 1" in result["hardware"]
    assert result["commit"] == provenance.commit()
    lines = Path("r/commands.jsonl").read_text().splitlines()
    assert json.loads(lines[1])["steps"] == tested["training"]["steps"]
    Path("r/commands.jsonl").write_text("\n".join(lines[:2]) + "\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "whose last command was `genomamba test`" in done.stderr


@pytest.mark.slow
def test_copying_is_learnt_and_tested_the_same_when_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty seconds on one core."""
    monkeypatch.chdir(tmp_path)
    names = ("tasks/selective_copying", "tasks/selective_copying_tiny")
    configs = [part for name in names for part in ("--config", name)] + ["--run", "r"]
    assert main(["fit", *configs]) == 0
    found = []
    for segment in ("3", "64"):  # 3: the four answers lie in two segments
        options = ["--ckpt_path", "last", "--model.init_args.backbone.segment_length", segment]
        assert main(["test", *configs, *options]) == 0
        found.append(json.loads(Path("r/test.json").read_text())["accuracy_by_length"]["24"])
    assert found[0]["accuracy"] == pytest.approx(found[1]["accuracy"], abs=0.005)
    assert found[0]["accuracy"] >= 0.9  # a guess is right in a quarter
    assert found[0]["examples"] == 512


def test_a_short_length_teaches_a_long_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    configs = ["--config", "tasks/selective_copying", "--config", "tasks/selective_copying_tiny"]
    few = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    few += ["--checkpoint.every_n_train_steps", "2"]
    assert main(["fit", *configs, *few, "--run", "short"]) == 0
    last = "short/checkpoints/last.ckpt"
    longer = ["--data.init_args.length", "48", "--model.init_args.optimizer.learning_rate", "1e-9"]
    longer += ["--model.init_args.optimizer.min_learning_rate", "1e-9"]
    given = ["--model.init_args.pretrained", last, "--run", "long"]
    assert main(["fit", *configs, *few, *longer, *given]) == 0
    short, long = (
        torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in ("short", "long")
    )
    for name in short:
        torch.testing.assert_close(long[name], short[name], atol=1e-7, rtol=1e-6)
