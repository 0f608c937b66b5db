"""Ending a long run early so that it can go on: at a signal, or when its time is up.

SIGTERM, SIGUSR1 and ``trainer.max_time`` end a run alike: the optimiser step in work is finished,
with the validation that follows it if one is due; ``last.ckpt`` is written; the process exits with
`EXIT_STOPPED`. A second signal ends the process at once, as the signal does by default.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from genomamba.data.position import ends_step
from genomamba.training.run_checkpoint import RunCheckpoint
from genomamba.training.run_files import EXIT_STOPPED

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
# `timeout` and job managers signal a process and its group: one request that arrives twice.
SECONDS_OF_ONE_REQUEST = 1.0


class Stopped(SystemExit):
    """Raised between two steps of a run whose last checkpoint is written."""


class StopSignals:
    """Remembers the first signal that asks to stop; a second one ends the process.

    Attributes:
        received: the first signal, None before.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Take the signals over, from whoever handles them now."""
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may; elsewhere signals stay what they were
        for number in SIGNALS:
            before = signal.signal(number, self._handle)
            self._before.setdefault(number, before)

    def _handle(self, number: int, _: Any) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._at = signal.Signals(number), now
            # A print could find the stream's buffer in the middle of another one.
            text = f"{self.received.name}: stopping after this step; again to stop at once\n"
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())
        elif now - self._at > SECONDS_OF_ONE_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class GracefulStop(Callback):
    """Stops training at the end of a step when a signal came or the time is up.

    All ranks stop after the same step. Rank zero exits with `EXIT_STOPPED` and the others with 0,
    because launchers take a rank's other code for a crash and kill the rest.

    Args:
        signals: what came.
        max_time: of this process's training, as Lightning's ``DD:HH:MM:SS``; none is no limit. A
            resumed run has all of it again.
    """

    def __init__(
        self, signals: StopSignals, max_time: str | timedelta | dict[str, int] | None = None
    ) -> None:
        self.signals = signals
        self._timer = Timer(max_time)  # as a clock: its hooks would stop between two borders
        self._stopping = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.install()  # Lightning has put a handler in front of ours
        self._timer.on_train_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if ends_step(trainer, batch_idx):
            self._save_if_asked_to_stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            # Again after a validation: the checkpoint before it would not know of its end.
            self._save_if_asked_to_stop(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Not earlier: the step's metrics are logged, and a validation runs, after its last batch.
        if self._stopping:
            if trainer.is_global_zero:
                print(
                    f"stopped at step {trainer.global_step}/{trainer.max_steps}, {self._reason()}; "
                    f"continue with --ckpt_path last",
                    file=sys.stderr,
                )
            raise Stopped(EXIT_STOPPED if trainer.is_global_zero else 0)

    def _reason(self) -> str:
        if self.signals.received is not None:
            return f"by {self.signals.received.name}"
        return "max_time is over" if self._time_is_up() else "by another rank"

    def _time_is_up(self) -> bool:
        remaining = self._timer.time_remaining()
        return remaining is not None and remaining <= 0

    def _save_if_asked_to_stop(self, trainer: Trainer) -> None:
        if trainer.global_step == trainer.max_steps:
            return  # it is ending anyway
        asked = self.signals.received is not None or self._time_is_up()
        if not trainer.strategy.reduce_boolean_decision(asked, all=False):
            return
        self._stopping = True
        if isinstance(trainer.checkpoint_callback, RunCheckpoint):
            trainer.checkpoint_callback.save_last_now(trainer)
