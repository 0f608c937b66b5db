"""The memory probe changes no bit; length warmup through the command line, and its refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genomamba.training.run_files import read_metrics

WARMUP = ("--data.init_args.length_warmup", "[{length: 16, steps: 2}, {length: 32, steps: 2}]")


def weights(run: str) -> dict[str, torch.Tensor]:
    return torch.load(Path(run, "checkpoints/last.ckpt"), weights_only=True)["state_dict"]


def test_a_probe_changes_no_bit(
    genomamba: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert genomamba("fit", "--run", "plain", *WARMUP) == 0
    assert "memory probe" not in capsys.readouterr().err
    assert genomamba("fit", "--run", "probed", *WARMUP, "--config", "train/memory_probe") == 0
    stderr = capsys.readouterr().err
    assert "memory probe, 6 window(s) of 64 bases a rank and part: peak" in stderr
    plain, probed = weights("plain"), weights("probed")
    assert all(torch.equal(plain[name], probed[name]) for name in plain)
    assert read_metrics("plain/metrics.csv") == read_metrics("probed/metrics.csv")


def test_the_schedule_is_shown_and_examples_are_counted(
    genomamba: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert genomamba("fit", "--run", "r", *WARMUP) == 0
    assert "stage  length  batch  steps  examples  tokens a step" in caplog.text
    assert "    1      32     12      2        24            384" in caplog.text
    checkpoint: dict[str, Any] = torch.load("r/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["SpeciesDataModule"]["examples_seen"] == 2 * 24 + 2 * 12 + 2 * 6
    assert checkpoint["genomamba"]["length"] == 64
    resume = ("fit", "--run", "r", "--ckpt_path", "last", "--trainer.max_steps", "8")
    assert genomamba(*resume) == 2
    assert "length_warmup [[16, 24, 0, 0], [32, 12, 2, 48]], now None" in capsys.readouterr().err
    assert genomamba(*resume, *WARMUP) == 0


def test_a_window_longer_than_any_record(
    genomamba: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert genomamba("fit", "--data.init_args.length", "7000") == 2
    message = capsys.readouterr().err
    assert "the species human has no interval of at least 7000 bases" in message
    assert "6000" in message
