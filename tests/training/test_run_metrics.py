"""Metrics of the run and of the loss by position: right, and without effect on the training."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from genomamba.training.loss_by_position import LossByPosition
from genomamba.training.run_files import read_metrics

WARMUP = ("--data.init_args.length_warmup", "[{length: 16, steps: 2}, {length: 32, steps: 1}]")
CALLBACK = "--trainer.callbacks+=genomamba.training.run_metrics.RunMetrics"
PARTS = ("--trainer.accumulate_grad_batches=2", "--trainer.val_check_interval=6")


def test_the_bits_are_those_without_the_callback(genomamba: Callable[..., int]) -> None:
    every = "--trainer.log_every_n_steps=2"
    assert genomamba("fit", "--run", "plain", *WARMUP, *PARTS, every) == 0
    assert genomamba("fit", "--run", "seen", *WARMUP, *PARTS, every, CALLBACK) == 0
    states = [
        torch.load(Path(run, "checkpoints/last.ckpt"), weights_only=True)
        for run in ("plain", "seen")
    ]
    for name, weight in states[0]["state_dict"].items():
        assert torch.equal(weight, states[1]["state_dict"][name]), name
    rows = read_metrics("seen/metrics.csv")
    own = [row for row in rows if row[1].startswith("run/")]
    assert [row for row in rows if row not in own] == read_metrics("plain/metrics.csv")

    def values(metric: str) -> dict[int, float]:
        return {step: value for step, name, value in own if name == f"run/{metric}"}

    tokens = 6 * 64  # a step's, in every stage
    assert values("tokens") == {1: 2 * tokens, 3: 4 * tokens, 5: 6 * tokens}
    assert values("examples") == {1: 48, 3: 60 + 6, 5: 66 + 12}
    ratio = [values("tokens_per_second")[s] / values("examples_per_second")[s] for s in (1, 5)]
    assert ratio == pytest.approx([16, 64])
    assert all(0.05 < gib < 100 for gib in values("peak_memory_gib").values())
    assert list(values("gradient_norm")) == [1, 3, 5]
    events = list(Path("seen/tensorboard").glob("events*"))
    assert b"run/tokens_per_second" in b"".join(event.read_bytes() for event in events)


def test_the_norm_is_before_clipping(genomamba: Callable[..., int]) -> None:
    norms = []
    for clip in ("1e-3", "1e3"):
        arguments = ("--trainer.max_steps=1", f"--trainer.gradient_clip_val={clip}", CALLBACK)
        assert genomamba("fit", "--run", clip, *arguments) == 0
        rows = read_metrics(f"{clip}/metrics.csv")
        norms += [value for _, name, value in rows if name == "run/gradient_norm"]
    assert norms[0] == norms[1] > 1e-3


@pytest.mark.parametrize("segment", ["1000", "7"])
def test_a_validation_logs_the_loss_by_position(
    genomamba: Callable[..., int], segment: str
) -> None:
    arguments = ("--run", "r", f"--model.init_args.backbone.segment_length={segment}")
    assert genomamba("fit", *arguments, base="pretraining/base") == 0
    rows = [row for row in read_metrics("r/metrics.csv") if row[0] == 5]
    found = {name: value for _, name, value in rows}
    names = [name for name in found if name.startswith("valid/loss_from/")]
    assert names == [f"valid/loss_from/{1 << k:010d}" for k in range(6)]
    # Positions 1 to 63 of windows without N: the means, weighted by their positions, are the loss.
    total = sum(found[name] * (1 << k) for k, name in enumerate(names))
    assert total / 63 == pytest.approx(found["valid/loss"], rel=1e-5)


def test_buckets_do_not_depend_on_the_pieces() -> None:
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(3, 100, generator=generator)
    counts = torch.rand(3, 100, generator=generator) < 0.8
    counts[:, 32:64] = False
    whole, pieces = LossByPosition(), LossByPosition()
    whole.update(1, losses[:, 1:], counts[:, 1:])
    borders = [1, 2, 9, 10, 64, 99, 100]
    for start, stop in pairwise(borders):
        pieces.update(start, losses[:, start:stop], counts[:, start:stop])
    expected = {}
    for k in (0, 1, 2, 3, 4, 6):
        part = slice(1 << k, 2 << k)
        expected[f"{1 << k:010d}"] = losses[:, part][counts[:, part]].mean().double()
    for metric in (whole, pieces):
        torch.testing.assert_close(metric.compute(), expected, rtol=1e-6, atol=0)
