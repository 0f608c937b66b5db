"""Bits do not depend on kills, nor on the number of loader workers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genomamba.training.run_files import read_metrics

STEPS = 60
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


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


# Three stages, of which a segment is longer than, shorter than and no divisor of the windows.
WARMUP = "[{length: 16, steps: 15}, {length: 32, steps: 20}]"
SEGMENTED = ["--model.init_args.backbone.segment_length", "24"]
KILLS = int(os.environ.get("GENOMAMBA_KILLS", "1"))


@pytest.mark.slow
def test_killed_and_resumed_runs_end_with_the_bits_of_an_uninterrupted_one(
    data: Any, genomamba: Callable[..., int]
) -> None:
    """SIGKILL at seeded moments anywhere in a run; GENOMAMBA_KILLS=10 tries ten."""
    arguments = ["--data.init_args.length_warmup", WARMUP, "--data.init_args.num_workers", "2"]
    arguments += ["--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", "20"]
    arguments += ["--checkpoint.every_n_train_steps", "7", *SEGMENTED]
    assert genomamba("fit", "--run", "whole", *arguments) == 0
    whole, metrics = checkpoint("whole"), read_metrics("whole/metrics.csv")
    assert whole["global_step"] == STEPS
    configs = ["--config", "species/base", "--config", str(data.overlay), *arguments]
    fit = [sys.executable, "-m", "genomamba", "fit", *configs, "--ckpt_path", "last", "--run"]
    for kill in range(KILLS):
        moment = random.Random(kill)
        run, step = f"killed{kill}", moment.randrange(STEPS - 10)
        killed_at = train_until(step, moment.uniform(0, 0.1), [*fit, run], run)
        assert subprocess.run([*fit, run], env=ENVIRONMENT, timeout=240).returncode == 0
        resumed = checkpoint(run)
        for part in ("global_step", "state_dict", "optimizer_states", "lr_schedulers", "genomamba"):
            assert_same_bits(resumed[part], whole[part])
        assert read_metrics(f"{run}/metrics.csv") == metrics
        print(f"kill {kill}: after logged step {step}, checkpoint of {killed_at}; same bits")


def train_until(step: int, seconds: float, command: list[str], run: str) -> int:
    """Start a run and kill it so long after a step is logged; the step of its checkpoint, or 0."""
    process = subprocess.Popen(command, env=ENVIRONMENT)
    deadline = time.monotonic() + 240
    while max((s for s, *_ in read_metrics(f"{run}/metrics.csv")), default=-1) < step:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    saved = Path(run, "checkpoints/last.ckpt")
    return checkpoint(run)["global_step"] if saved.exists() else 0


def test_workers_do_not_change_a_bit_of_the_loss(genomamba: Callable[..., int]) -> None:
    losses = {}
    for workers in (0, 1, 3):
        arguments = ("--run", f"w{workers}", "--data.init_args.num_workers", str(workers))
        assert genomamba("fit", *arguments) == 0
        rows = read_metrics(f"w{workers}/metrics.csv")
        losses[workers] = [value for _, metric, value in rows if metric == "train/loss"]
    assert len(losses[0]) == 6
    assert losses[0] == losses[1] == losses[3]
