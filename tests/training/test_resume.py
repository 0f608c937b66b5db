"""Bits do not depend on kills, nor on the number of loader workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genomamba.training.metrics_csv import read_metrics

STEPS = 200


def checkpoint(run: str) -> dict[str, Any]:
    return torch.load(Path(run, "checkpoints/last.ckpt"), weights_only=True)


def assert_same_bits(a: Any, b: Any) -> None:
    """Of nested dictionaries and sequences of tensors and plain values."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same_bits(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same_bits(x, y)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


WARMUP = "[{length: 16, steps: 40}, {length: 32, steps: 60}]"  # killed and resumed in the second


@pytest.mark.slow
def test_a_killed_and_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(
    data: Any, genomamba: Callable[..., int]
) -> None:
    arguments = ["--data.init_args.length_warmup", WARMUP, "--data.init_args.num_workers", "2"]
    arguments += ["--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", "40"]
    arguments += ["--checkpoint.every_n_train_steps", "15"]
    configs = ["--config", "species/base", "--config", str(data.overlay), "--run", "killed"]
    command = [sys.executable, "-m", "genomamba", "fit", *configs, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    killed = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 120
    while max((step for step, *_ in read_metrics("killed/metrics.csv")), default=0) < 50:
        assert killed.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert 0 < checkpoint("killed")["global_step"] < STEPS

    resumed_with = [*command, "--ckpt_path", "last"]
    assert subprocess.run(resumed_with, env=environment, timeout=120).returncode == 0
    assert genomamba("fit", "--run", "whole", *arguments) == 0
    whole, resumed = checkpoint("whole"), checkpoint("killed")
    assert whole["global_step"] == resumed["global_step"] == STEPS
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "genomamba"):
        assert_same_bits(resumed[part], whole[part])
    assert read_metrics("killed/metrics.csv") == read_metrics("whole/metrics.csv")


def test_workers_do_not_change_a_bit_of_the_loss(genomamba: Callable[..., int]) -> None:
    losses = {}
    for workers in (0, 1, 3):
        arguments = ("--run", f"w{workers}", "--data.init_args.num_workers", str(workers))
        assert genomamba("fit", *arguments) == 0
        rows = read_metrics(f"w{workers}/metrics.csv")
        losses[workers] = [value for _, metric, value in rows if metric == "train/loss"]
    assert len(losses[0]) == 6
    assert losses[0] == losses[1] == losses[3]
