"""A real run, killed and resumed with other processes, parts and ranks: what it learnt from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import os, sys, time
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from genomamba.data.datamodule import SpeciesDataModule
from genomamba.data.schedule import WarmupStage

species_set, splits, workers, parts, ranks, steps = *sys.argv[1:3], *map(int, sys.argv[3:])
log = open(f"steps.{os.environ.get('LOCAL_RANK', 0)}.txt", "a", buffering=1)

class Task(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, _):
        assert batch.codes.dtype == torch.uint8  # what goes to the device
        numbers = " ".join(map(str, batch.index.tolist()))
        log.write(f"{self.trainer.global_step} {batch.codes.shape[1]} {numbers}\\n")
        time.sleep(0.01)
        return self.weight * 1.0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

if __name__ == "__main__":
    warmup = [WarmupStage(8, 20), WarmupStage(16, 20)]
    data = SpeciesDataModule(
        species_set, splits, 32, 4, length_warmup=warmup, num_workers=workers, valid_examples=2
    )
    checkpoint = ModelCheckpoint(".", every_n_train_steps=7, save_last=True, save_top_k=0)
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, accumulate_grad_batches=parts, limit_val_batches=0,
        use_distributed_sampler=False, logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[checkpoint],
        devices=ranks, strategy="ddp" if ranks > 1 else "auto",
    )
    last = "last.ckpt" if os.path.exists("last.ckpt") else None
    trainer.fit(Task(), datamodule=data, ckpt_path=last, weights_only=True)
"""
STAGES = [(20, 8, 16), (20, 16, 8), (20, 32, 4)]  # steps, length, batch


Examples = list[tuple[int, int]]


def read(folder: Path) -> dict[int, Examples]:
    """Examples of each step with their lengths: part after part, rank after rank.

    The last line of a run that was killed may be cut short.
    """
    parts: dict[int, list[list[Examples]]] = defaultdict(list)  # of each rank
    for rank, path in enumerate(sorted(folder.glob("steps.*.txt"))):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                step, length, *numbers = map(int, line.split())
                ranks = parts[step]
                ranks += [[] for _ in range(rank + 1 - len(ranks))]
                ranks[rank].append([(number, length) for number in numbers])
    return {
        step: [example for part in zip(*ranks, strict=False) for share in part for example in share]
        for step, ranks in parts.items()
    }


def expected() -> dict[int, Examples]:
    steps, step, example = {}, 0, 0
    for count, length, size in STAGES:
        for _ in range(count):
            steps[step] = [(i, length) for i in range(example, example + size)]
            step, example = step + 1, example + size
    return steps


@pytest.mark.slow
def test_steps_hold_their_examples_through_kills(data: Any, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    whole = expected()
    seen: dict[int, Examples] = {}
    # Killed in the first stage, killed in the second, run to the end on two ranks.
    for workers, parts, ranks, kill_at in ((2, 1, 1, 12), (3, 4, 1, 30), (1, 2, 2, None)):
        arguments = [data.species_set, data.splits, workers, parts, ranks, len(whole)]
        run = subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )
        if kill_at is None:
            assert run.wait(timeout=120) == 0
        else:
            deadline = time.monotonic() + 120
            while max(read(tmp_path), default=0) < kill_at:
                assert run.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            run.send_signal(signal.SIGKILL)
            assert run.wait() == -signal.SIGKILL
            assert (tmp_path / "last.ckpt").exists()
        steps = read(tmp_path)
        done = max(steps) if kill_at else len(whole)
        for step in range(min(steps), done):  # the step that was killed is not whole
            assert steps[step] == whole[step]
        seen |= {step: steps[step] for step in range(min(steps), done)}
        for log in tmp_path.glob("steps.*.txt"):
            log.unlink()
    assert seen == whole
