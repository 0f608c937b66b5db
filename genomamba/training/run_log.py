"""What was run, with which code and where: the file ``RUN/commands.jsonl``, which only grows.

Each command adds a line when it begins (command, subcommand, began, commit, hardware, seed) and
``fit`` a second one when it ends (steps and tokens since the run's first step, seconds of this
command), unless it is killed.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from genomamba.training.provenance import commit, hardware
from genomamba.training.run_files import COMMANDS

# Environment variables that change a result or its time, and so belong to the command.
TELLING = ("OMP_NUM_THREADS", "GENOMAMBA_BACKEND", "CUDA_VISIBLE_DEVICES")


class RunLog(Callback):
    """Writes ``commands.jsonl``.

    Args:
        argv: the command line after ``genomamba``.
        seed: of the weights.
    """

    def __init__(self, argv: list[str], seed: Any) -> None:
        self.argv, self.seed = argv, seed
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._begin(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self._since:
            self._end(trainer)

    def _begin(self, trainer: Trainer) -> None:
        self._since = time.monotonic()
        environment = [f"{n}={shlex.quote(os.environ[n])}" for n in TELLING if n in os.environ]
        line = {
            "command": " ".join([*environment, "genomamba", shlex.join(self.argv)]),
            "subcommand": self.argv[0],
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "hardware": hardware(trainer.strategy.root_device, trainer.world_size),
            "seed": self.seed,
        }
        _append(trainer, line)

    def _end(self, trainer: Trainer) -> None:
        if trainer.state.fn != "fit":
            return
        steps = trainer.global_step
        schedule = trainer.datamodule.schedule  # type: ignore[attr-defined]
        seconds = round(time.monotonic() - self._since, 3)
        _append(
            trainer, {"steps": steps, "tokens": schedule.first_token(steps), "seconds": seconds}
        )


def _append(trainer: Trainer, line: dict[str, Any]) -> None:
    if not trainer.is_global_zero:
        return
    folder = Path(trainer.default_root_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / COMMANDS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
