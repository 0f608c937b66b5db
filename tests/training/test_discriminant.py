"""The discriminant: scikit-learn's, whatever the batches, and a classifier in the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.covariance import oas as reference_oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from genomamba.training.checkpoint import load_model
from genomamba.training.discriminant import Discriminant, discriminant, oas

PRETRAINING = ("--trainer.max_steps", "20", "--trainer.val_check_interval", "20")
NARROW = ("--model.init_args.backbone", '{"d_model": 8, "n_layer": 1, "d_state": 2}')


def examples(classes: int = 4, features: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(classes), 60)
    mixed = rng.normal(size=(len(y), features)) @ rng.normal(size=(features, features))
    return rng.normal(size=(classes, features))[y] + mixed + 7, y


def fit(x: np.ndarray, y: np.ndarray, shrinkage: float | None) -> Discriminant:
    data = torch.from_numpy(x)
    member = torch.nn.functional.one_hot(torch.from_numpy(y)).double()
    return discriminant(data.mT @ data, member.mT @ data, member.sum(0), shrinkage)


@pytest.mark.parametrize("shrinkage", [None, 0.0, 0.3])
def test_it_is_scikit_learns(shrinkage: float | None) -> None:
    x, y = examples()
    means = np.stack([x[y == c].mean(0) for c in range(4)])
    scale = (x - means[y]).std(0)
    estimated = reference_oas((x - means[y]) / scale)[1]
    found = fit(x, y, shrinkage)
    assert found.shrinkage == pytest.approx(estimated if shrinkage is None else shrinkage)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=found.shrinkage)
    theirs.fit(x / scale, y)
    z = (torch.from_numpy(x) - found.centre) / found.scale
    probabilities = (z @ found.weight.mT).softmax(-1).numpy()
    np.testing.assert_allclose(probabilities, theirs.predict_proba(x / scale), atol=1e-8)


@pytest.mark.parametrize("n", [12, 1000])
def test_shrinkage_is_scikit_learns(n: int) -> None:
    x = np.random.default_rng(1).normal(size=(n, 8)) * np.arange(1, 9)
    x -= x.mean(0)
    assert oas(torch.from_numpy(x.T @ x / n), n) == pytest.approx(reference_oas(x)[1])


def pretrain(genomamba: Callable[..., int]) -> tuple[str, str]:
    assert genomamba("fit", *PRETRAINING, *NARROW, "--run", "p", base="pretraining/base") == 0
    return "--model.init_args.pretrained", "p/checkpoints/last.ckpt"


def test_a_classifier_comes_out(genomamba: Callable[..., int]) -> None:
    """Of windows of 64 bases, and twice as sure of what is twice as long."""
    given = pretrain(genomamba)
    arguments = (*NARROW, *given, "--trainer.max_steps", "40", "--trainer.val_check_interval", "40")
    assert genomamba("fit", *arguments, "--run", "r", base="species/discriminant") == 0
    model, meta = load_model("r/checkpoints/last.ckpt")
    assert (meta["task"], meta["pooling"]) == ("classification", "errors")
    source = load_model("p/checkpoints/last.ckpt")[0].get_submodule("backbone").state_dict()
    found = model.get_submodule("backbone").state_dict()
    assert all(found[name].equal(value) for name, value in source.items())
    head = model.get_submodule("head")
    assert head.running_length == 64
    tested = ("test", *NARROW, "--run", "r", "--ckpt_path", "last")
    for length in (64, 512):
        longer = ("--data.init_args.eval_length", str(length))
        assert genomamba(*tested, *longer, base="species/discriminant") == 0
        accuracy = json.loads(Path("r/test.json").read_text())["accuracy"]
        assert accuracy > {64: 0.5, 512: 0.9}[length]  # chance is a third


def test_batches_of_any_size_and_a_resumed_run_give_the_same(
    genomamba: Callable[..., int],
) -> None:
    given = (*NARROW, *pretrain(genomamba))

    def weights(run: str, steps: int, size: int, *more: str) -> torch.Tensor:
        options = ("--trainer.max_steps", str(steps), "--data.init_args.batch_size", str(size))
        options += ("--trainer.val_check_interval", str(steps), "--checkpoint.every_n_train_steps")
        arguments = (*given, *options, str(steps), "--run", run, *more)
        assert genomamba("fit", *arguments, base="species/discriminant") == 0
        return load_model(f"{run}/checkpoints/last.ckpt")[0].state_dict()["head.out_proj.weight"]

    whole = weights("a", 8, 6)
    torch.testing.assert_close(weights("b", 4, 12), whole, rtol=1e-3, atol=1e-4)
    weights("c", 4, 6)
    assert weights("c", 8, 6, "--ckpt_path", "last").equal(whole)


def test_on_both_strands_it_does_not_matter_which_is_drawn(genomamba: Callable[..., int]) -> None:
    given = (*NARROW, *pretrain(genomamba), "--model.init_args.both_strands", "true")
    given += ("--trainer.max_steps", "8", "--trainer.val_check_interval", "8")
    found = []
    for either in ("true", "false"):
        arguments = (*given, "--data.init_args.reverse_complement", either, "--run", either)
        assert genomamba("fit", *arguments, base="species/discriminant") == 0
        checkpoint = torch.load(f"{either}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        assert checkpoint["counts"].sum() == 2 * 8 * 6
        found.append(checkpoint)
    for name in ("scatter", "sums", "bases"):
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-4, atol=1e-4)


def test_an_epoch_gives_the_same_in_any_order(genomamba: Callable[..., int]) -> None:
    """77 windows of each species: 33 steps of 7. With more features than by default."""
    given = (*NARROW, *pretrain(genomamba), "--data.init_args.sampling", "epoch")
    given += ("--data.init_args.balanced", "false", "--model.init_args.both_strands", "true")
    given += ("--data.init_args.batch_size", "7", "--trainer.max_steps", "33")
    given += ("--model.init_args.expansion", "3")
    given += ("--trainer.val_check_interval", "33", "--checkpoint.every_n_train_steps", "33")
    found = []
    for seed in ("1", "2"):
        arguments = (*given, "--data.init_args.seed", seed, "--run", seed)
        assert genomamba("fit", *arguments, base="species/discriminant") == 0
        checkpoint = torch.load(f"{seed}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        assert checkpoint["counts"].tolist() == [2 * 77] * 3
        found.append(checkpoint["sums"])
        weights = load_model(f"{seed}/checkpoints/last.ckpt")[0].state_dict()
        assert weights["head.out_proj.weight"].shape == found[-1].shape == (3, 3 * 8 * 4)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_it_asks_for_a_pretrained_model(
    genomamba: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert genomamba("fit", *NARROW, "--run", "r", base="species/discriminant") == 2
    assert "--model.init_args.pretrained" in capsys.readouterr().err
    assert genomamba("fit", *NARROW, "--model.init_args.pooling", "errors", "--run", "r") == 2
    assert "use DiscriminantTask" in capsys.readouterr().err
    shrunk = ("--model.init_args.shrinkage", "1.5")
    assert genomamba("fit", *NARROW, *shrunk, "--run", "r", base="species/discriminant") == 2
    assert "shrinkage: expected 0 to 1, got 1.5" in capsys.readouterr().err
    narrow = ("--model.init_args.expansion", "0")
    assert genomamba("fit", *NARROW, *narrow, "--run", "r", base="species/discriminant") == 2
    assert "expansion: expected at least 1, got 0" in capsys.readouterr().err
