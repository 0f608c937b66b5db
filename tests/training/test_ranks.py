"""Two ranks train what one process trains: data parallel, and with shared sequences."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from genomamba.training.run_files import read_metrics
from genomamba.training.sequence_parallel import SequenceParallelStrategy
from genomamba_data_prep.errors import InputError

STRATEGY = "genomamba.training.sequence_parallel.SequenceParallelStrategy"
SEQUENCE_PARALLEL = (
    f"--trainer.strategy={STRATEGY}",
    "--trainer.strategy.init_args.sequence_parallel_size=2",
)
# Without N, every rank's loss has the same number of targets. 65 is odd: shares of 32 and 33.
SAME_LOSS = (
    "--data.init_args.max_n_fraction=0",
    "--data.init_args.length=65",
    "--trainer.precision=64-true",
)


def start(base: str, overlay: Path, run: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Lightning starts the second rank by itself, with the same command line."""
    command = [sys.executable, "-m", "genomamba", "fit", "--config", base, "--config", str(overlay)]
    command += ["--run", run, "--trainer.devices=2", *arguments]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})


def weights(run: str) -> dict[str, Any]:
    return torch.load(Path(run, "checkpoints/last.ckpt"), weights_only=True)["state_dict"]


@pytest.mark.slow
def test_the_weights_and_results_of_one_process(data: Any, genomamba: Callable[..., int]) -> None:
    """At once, for time: pretraining under DDP, classification with shared sequences."""
    ddp = start("pretraining/base", data.overlay, "ddp", *SAME_LOSS, "--trainer.strategy=ddp")
    shared = start("species/base", data.overlay, "shared", *SAME_LOSS, *SEQUENCE_PARALLEL)
    assert genomamba("fit", "--run", "one", *SAME_LOSS, base="pretraining/base") == 0
    assert genomamba("fit", "--run", "whole", *SAME_LOSS) == 0
    assert (ddp.wait(300), shared.wait(300)) == (0, 0)
    for found, expected in (("ddp", "one"), ("shared", "whole")):
        truth = weights(expected)
        result = weights(found)
        assert result.keys() == truth.keys()
        for name, tensor in truth.items():
            torch.testing.assert_close(result[name], tensor, rtol=1e-9, atol=1e-12, msg=name)
        of_truth = [row for row in read_metrics(f"{expected}/metrics.csv") if "valid" in row[1]]
        of_result = [row for row in read_metrics(f"{found}/metrics.csv") if "valid" in row[1]]
        assert [row[:2] for row in of_result] == [row[:2] for row in of_truth]
        assert [row[2] for row in of_result] == pytest.approx([row[2] for row in of_truth])
    results = [json.loads(Path(run, "valid.json").read_text()) for run in ("shared", "whole")]
    assert results[0]["confusion"] == results[1]["confusion"]  # every window counted once
    assert results[0]["examples"] == 12


@pytest.mark.slow
def test_the_discriminant_of_one_process(data: Any, genomamba: Callable[..., int]) -> None:
    """Sums over both ranks' windows; each rank's alone would be another discriminant."""
    assert genomamba("fit", "--run", "p", base="pretraining/base") == 0
    given = ("--model.init_args.pretrained", "p/checkpoints/last.ckpt", *SAME_LOSS)
    ddp = start("species/discriminant", data.overlay, "ddp", *given, "--trainer.strategy=ddp")
    assert genomamba("fit", "--run", "one", *given, base="species/discriminant") == 0
    assert ddp.wait(300) == 0
    truth, result = weights("one"), weights("ddp")
    assert truth["bases"] == 6 * 6 * 65
    for name, tensor in truth.items():
        torch.testing.assert_close(result[name], tensor, rtol=1e-6, atol=1e-9, msg=name)


@pytest.mark.parametrize("size", [0, 2])
def test_a_size_that_the_ranks_do_not_have(
    genomamba: Callable[..., int], capsys: pytest.CaptureFixture[str], size: int
) -> None:
    option = f"--trainer.strategy.init_args.sequence_parallel_size={size}"
    assert genomamba("fit", "--run", "r", SEQUENCE_PARALLEL[0], option) == 2
    error = capsys.readouterr().err
    assert f"sequence_parallel_size {size}: expected a divisor of the 1 rank(s). Ranks" in error
    assert "Traceback" not in error


def test_predict_is_refused() -> None:
    trainer: Any = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.PREDICTING))
    with pytest.raises(InputError, match=r"several ranks have the same windows\. Predict without"):
        SequenceParallelStrategy(2).setup(trainer)
