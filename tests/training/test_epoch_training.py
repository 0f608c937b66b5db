"""Pretraining by epochs from the command line: resumed it goes on with the same windows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

EPOCH = "--data.init_args.sampling=epoch"


def test_resumed_by_epochs(
    genomamba: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    base = "pretraining/base"
    assert genomamba("fit", "--run", "whole", EPOCH, base=base) == 0
    assert "an epoch" in caplog.text
    first = ("--run", "halves", "--trainer.max_steps=3")
    assert genomamba("fit", *first, EPOCH, base=base) == 0
    again = ("--run", "halves", "--ckpt_path", "last")
    assert genomamba("fit", *again, base=base) == 2
    assert "sampling 'epoch', now None" in capfd.readouterr().err
    assert genomamba("fit", *again, EPOCH, base=base) == 0
    states = [
        torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("whole", "halves")
    ]
    assert states[0]["PretrainingDataModule"] == states[1]["PretrainingDataModule"]
