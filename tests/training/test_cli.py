"""The training commands: one run folder, metrics and tables, and a message for every mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from genomamba.cli import main
from genomamba.training.checkpoint import load_model
from genomamba.training.run_files import read_metrics

Run = Callable[..., int]


def checkpoint_of(run: str) -> dict[str, Any]:
    return torch.load(Path(run, "checkpoints/last.ckpt"), weights_only=True)


def test_a_run_from_fit_to_predict(genomamba: Run, capfd: pytest.CaptureFixture) -> None:
    assert genomamba("fit", "--run", "r", "--data.init_args.balanced", "true") == 0
    found = {path.name for path in Path("r").iterdir()}
    run = {"checkpoints", "commands.jsonl", "config.yaml", "metrics.csv", "tensorboard"}
    assert found == {*run, "valid.json"}
    assert [path.name for path in Path("r/checkpoints").iterdir()] == ["last.ckpt"]
    rows = read_metrics("r/metrics.csv")
    for name in ("train/loss", "train/accuracy", "train/learning_rate"):
        assert [step for step, metric, _ in rows if metric == name] == list(range(6))
    assert [step for step, metric, _ in rows if metric == "valid/loss"] == [2, 5]

    model, meta = load_model("r/checkpoints/last.ckpt")
    assert not model.training
    assert meta["task"] == "classification"
    assert meta["classes"] == ["human", "chimp", "gorilla"]
    assert (meta["length"], meta["pooling"], meta["format"]) == (64, "mean", 1)
    assert meta["config"]["d_model"] == 16
    assert meta["data"]["seed"] == 0

    for command in ("test", "predict"):
        assert genomamba(command, "--run", "r", "--ckpt_path", "r/checkpoints/last.ckpt") == 0
    assert "r/predictions.tsv: 30 windows" in capfd.readouterr().err
    results = json.loads(Path("r/test.json").read_text())
    confusion = np.array(results["confusion"])
    assert confusion.sum() == results["examples"] == 30
    assert confusion.sum(1).tolist() == [10, 10, 10]  # rows are true classes, drawn in turn
    assert results["accuracy"] == pytest.approx(confusion.trace() / 30)
    assert results["accuracy_by_class"]["chimp"] == pytest.approx(confusion[1, 1] / 10)

    table = pd.read_csv("r/predictions.tsv", sep="\t")
    assert table["window"].tolist() == list(range(30))
    probabilities = table[["prob_human", "prob_chimp", "prob_gorilla"]].to_numpy()
    assert probabilities.sum(1) == pytest.approx(np.ones(30), abs=1e-5)
    predicted = table["prediction"].value_counts()
    assert [predicted.get(name, 0) for name in meta["classes"]] == confusion.sum(0).tolist()


def test_pretraining_then_classification_from_its_backbone(genomamba: Run) -> None:
    assert genomamba("fit", "--run", "p", base="pretraining/base") == 0
    _, meta = load_model("p/checkpoints/last.ckpt")
    assert meta["task"] == "pretraining"
    metrics = {metric: value for _, metric, value in read_metrics("p/metrics.csv")}
    assert metrics["valid/perplexity"] == pytest.approx(np.exp(metrics["valid/loss"]), rel=0.05)
    fitted = json.loads(Path("p/valid.json").read_text())
    assert (fitted["step"], fitted["checkpoint"]) == (6, None)
    assert fitted["perplexity"] == pytest.approx(metrics["valid/perplexity"], rel=1e-6)
    assert 2 ** fitted["bits_per_base"] == pytest.approx(fitted["perplexity"])
    assert list(fitted["loss_by_position"]) == ["1", "2", "4", "8", "16", "32"]
    last = ("--run", "p", "--ckpt_path", "last")
    assert genomamba("validate", *last, base="pretraining/base") == 0
    again = json.loads(Path("p/valid.json").read_text())
    assert again["perplexity"] == pytest.approx(fitted["perplexity"], rel=1e-6)
    assert (again["step"], Path(again["checkpoint"]).name) == (None, "last.ckpt")

    checkpoint = "p/checkpoints/last.ckpt"
    still = '{"learning_rate": 1e-30, "min_learning_rate": 0}'
    arguments = ("--model.init_args.pretrained", checkpoint, "--model.init_args.optimizer", still)
    assert genomamba("fit", "--run", "c", *arguments) == 0
    before, after = checkpoint_of("p")["state_dict"], checkpoint_of("c")["state_dict"]
    names = [name for name in before if name.startswith("model.backbone.")]
    assert len(names) > 10
    assert all(torch.equal(before[name], after[name]) for name in names)

    assert genomamba("predict", "--run", "p", "--ckpt_path", "last", base="pretraining/base") == 2
    assert not Path("p/predictions.tsv").exists()
    assert genomamba("test", "--run", "x", "--ckpt_path", checkpoint) == 2
    assert not Path("x").exists()


def test_a_used_folder_is_not_overwritten(genomamba: Run, capfd: pytest.CaptureFixture) -> None:
    assert genomamba("fit", "--run", "r") == 0
    before = Path("r/checkpoints/last.ckpt").read_bytes(), Path("r/metrics.csv").read_bytes()
    assert genomamba("fit", "--run", "r") == 2
    assert "Continue it with --ckpt_path last" in capfd.readouterr().err
    assert genomamba("fit", "--run", "s", "--ckpt_path", "r") == 2
    assert "it is a folder. The run's is r/checkpoints/last.ckpt" in capfd.readouterr().err
    assert before == (
        Path("r/checkpoints/last.ckpt").read_bytes(),
        Path("r/metrics.csv").read_bytes(),
    )
    assert genomamba("fit", "--run", "r", "--ckpt_path", "last") == 0  # finished: nothing to do
    message = "nothing to train: the checkpoint is at step 6 and trainer.max_steps is 6"
    assert message in capfd.readouterr().err
    assert Path("r/metrics.csv").read_bytes() == before[1]


def test_the_last_checkpoint_is_the_end_and_a_finished_run_can_go_on(genomamba: Run) -> None:
    assert genomamba("fit", "--run", "r", "--trainer.max_steps", "4") == 0
    assert checkpoint_of("r")["global_step"] == 4  # saved every 3 steps
    assert genomamba("fit", "--run", "r", "--ckpt_path", "last") == 0
    assert checkpoint_of("r")["global_step"] == 6
    steps = [step for step, metric, _ in read_metrics("r/metrics.csv") if metric == "train/loss"]
    assert steps == list(range(6))


MISTAKES = {
    "config": (["--config", "species/bass"], "neither a file nor a shipped config. Shipped are"),
    "set": (["--data.init_args.species_set", "no.tsv"], "no.tsv"),
    "batch": (["--data.init_args.batch_size", "0"], "expected batch_size of at least 1, got 0"),
    "width": (["--model.init_args.backbone.d_model", "0"], "MambaConfig.d_model: expected a pos"),
    "length": (["--data.init_args.length", "100000"], "100000"),
    "no checkpoint": (["--ckpt_path", "none.ckpt"], "none.ckpt: no such checkpoint"),
    "foreign": (["--ckpt_path", "tiny.yaml"], "tiny.yaml: not a checkpoint"),
    "pretrained": (["--model.init_args.pretrained", "tiny.yaml"], "tiny.yaml: not a checkpoint"),
    "rates": (
        ["--model.init_args.optimizer.learning_rate", "1e-9"],
        "min_learning_rate: expected 0 to learning_rate (1e-09), got 1e-05",
    ),
    "warmup": (
        ["--data.init_args.length_warmup", "[{length: 16, steps: 6}]"],
        "length_warmup takes 6 steps, and trainer.max_steps is 6",
    ),
    "interval": (["--checkpoint.train_time_interval", "0:10:00"], "mutually exclusive"),
    "learning rate": (
        ["--model.init_args.optimizer", "{learning_rate: 0, min_learning_rate: 0}"],
        "OptimizerConfig.learning_rate: expected above 0, got 0",
    ),
    "betas": (
        ["--model.init_args.optimizer.betas", "[0.9, 95]"],
        "OptimizerConfig.betas: expected two numbers in [0, 1), got [0.9, 95.0]",
    ),
    "decay": (
        ["--model.init_args.optimizer.weight_decay", "-1"],
        "OptimizerConfig.weight_decay: expected at least 0, got -1",
    ),
    "validation": (
        ["--trainer.val_check_interval", "0"],
        "expected trainer.val_check_interval above 0, got 0",
    ),
    "near config": (["--config", "species/bass"], "Did you mean species/base"),
    "genome": (["--config", "genome.fa"], "genome.fa: not a config"),
    "table": (["--config", "splits.tsv"], "splits.tsv, line 1: not YAML"),
    "binary": (["--config", "genome.fa.gz"], "genome.fa.gz: not a config: it is no text"),
    "parts": (
        ["--trainer.accumulate_grad_batches", "0"],
        "expected trainer.accumulate_grad_batches of at least 1, got 0",
    ),
    "no steps": (["--trainer.max_steps", "0"], "trainer.max_steps is 0: nothing is trained"),
    "seed": (["--seed_everything", "-1"], "expected seed_everything in [0, 2^32), got -1"),
    "endless": (["--trainer.max_steps", "-1"], "Set trainer.max_steps"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message(
    genomamba: Run, capfd: pytest.CaptureFixture, mistake: str
) -> None:
    arguments, message = MISTAKES[mistake]
    Path("genome.fa").write_text("ACGT\n" * 1000)
    Path("genome.fa.gz").write_bytes(b"\x1f\x8b\x08\x00\xff")
    assert genomamba("fit", "--run", "r", *arguments) == 2
    error = capfd.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert "ACGT" not in error
    assert not Path("r").exists()


@pytest.mark.parametrize("run", ["tiny.yaml", "tiny.yaml/run"])
def test_a_file_is_no_run_folder(genomamba: Run, capfd: pytest.CaptureFixture, run: str) -> None:
    assert genomamba("fit", "--run", run) == 2
    assert f"{run}: not a folder: a file is in its place" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_an_untrained_network_is_not_evaluated(
    genomamba: Run, capfd: pytest.CaptureFixture, command: str
) -> None:
    for arguments in ((), ("--ckpt_path", "last")):
        assert genomamba(command, "--run", "r", *arguments) == 2
        assert f"{command} needs a checkpoint" in capfd.readouterr().err
    assert not Path("r").exists()


def test_an_unknown_option_names_itself(genomamba: Run, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        genomamba("fit", "--model.init_args.backbone.d_modell", "8")
    assert caught.value.code == 2
    error = capfd.readouterr().err
    assert "d_modell" in error
    assert "fit --model.help genomamba.training.classification.ClassificationTask" in error
    assert len(error.splitlines()) < 8  # not below the list of all options


@pytest.mark.parametrize("configs", [(), ("--config", "model/tiny")])
def test_an_overlay_alone_asks_for_a_base(
    data: Any, capfd: pytest.CaptureFixture, configs: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fit", "--run", "r", *configs])
    assert caught.value.code == 2
    assert "Begin with a whole config, such as --config species/base" in capfd.readouterr().err


def test_a_checkpoint_of_another_shape_is_refused(
    genomamba: Run, capfd: pytest.CaptureFixture
) -> None:
    assert genomamba("fit", "--run", "r") == 0
    wider = ("--model.init_args.backbone.d_model", "32", "--ckpt_path", "r/checkpoints/last.ckpt")
    for command in ("fit", "test"):
        assert genomamba(command, "--run", "t", *wider) == 2
        assert "another shape: d_model 16 there, 32 here" in capfd.readouterr().err
    assert not Path("t").exists()


def test_another_class_order_is_refused(
    genomamba: Run, capfd: pytest.CaptureFixture, data: Any
) -> None:
    assert genomamba("fit", "--run", "r") == 0
    header, *rows = data.species_set.read_text().splitlines()
    data.species_set.write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert genomamba("test", "--run", "t", "--ckpt_path", "r/checkpoints/last.ckpt") == 2
    assert "the order counts" in capfd.readouterr().err
    assert not Path("t").exists()
