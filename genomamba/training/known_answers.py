"""Tasks with known answers: does the network learn them, and at which lengths does it still know?

Letters: B examples, L tokens, K answers, due at the last K positions.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from genomamba.data.known_answers_datamodule import KnownAnswersBatch, KnownAnswersDataModule
from genomamba.models import MambaConfig, MambaForPretraining
from genomamba.training.answer_counts import AnswerCounts
from genomamba.training.run_checkpoint import RunCheckpoint
from genomamba.training.task import OptimizerConfig, Task
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError


class KnownAnswersTask(Task):
    """Cross-entropy of the answers alone; `KnownAnswersDataModule` says which task.

    Training ends after ``perfect_evaluations`` successive validations without a wrong answer, or
    at ``trainer.max_steps``. A test pass writes ``test.json`` in the run folder: accuracy at each
    length, what the training took and what ended it. With ``backbone.segment_length`` sequences
    are read in stretches with the state carried over, in memory that does not grow with L.

    Args:
        backbone: the network's shape; its vocab_size must be the task's.
        optimizer: how it learns.
        perfect_evaluations: so many end the training; 0 is never.
        pretrained: a checkpoint whose backbone the training starts from.

    Raises:
        ValueError: perfect_evaluations is negative.
    """

    kind = "known answers"

    def __init__(
        self,
        backbone: MambaConfig,
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008, frozen
        perfect_evaluations: int = 10,
        pretrained: str | Path | None = None,
    ) -> None:
        super().__init__(backbone, optimizer, pretrained)
        if perfect_evaluations < 0:
            raise ValueError(f"perfect_evaluations: expected 0 or more, got {perfect_evaluations}")
        self.perfect_evaluations = perfect_evaluations
        self.counts = AnswerCounts()
        self.by_length: dict[int, AnswerCounts] = {}
        self.progress: dict[str, Any] = {"steps": 0, "tokens": 0, "seconds": 0.0, "perfect": 0}
        self._since = 0.0

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.backbone.vocab_size)))

    @property
    def data(self) -> KnownAnswersDataModule:
        """What the trainer was given."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def build(self) -> MambaForPretraining:
        wanted = self.data.task.vocab_size
        if self.backbone.vocab_size != wanted:
            raise InputError(
                f"the network has {self.backbone.vocab_size} tokens and the task {wanted}",
                fix=f"Set model.init_args.backbone.vocab_size to {wanted}",
            )
        return MambaForPretraining(self.backbone)

    def forward(self, batch: KnownAnswersBatch) -> Tensor:
        """Logits of the answers (B, K, vocab_size)."""
        assert isinstance(self.model, MambaForPretraining)
        first = batch.tokens.shape[1] - batch.answers.shape[1]

        def due(hidden: Tensor, at: slice) -> Tensor:
            return hidden[:, max(0, first - at.start) :]

        parts = [part for part, _ in self.model.backbone.map_segments(batch.tokens, due)]
        return self.model.head(torch.cat(parts, dim=1))

    def _loss(self, batch: KnownAnswersBatch) -> tuple[Tensor, Tensor]:
        """The mean loss, and which answers are right (B, K)."""
        logits = self(batch).float()
        loss = functional.cross_entropy(logits.flatten(0, 1), batch.answers.flatten())
        return loss, logits.argmax(-1) == batch.answers

    def on_train_start(self) -> None:
        self._since = time.monotonic()
        self._stop_if_learnt()  # a resumed run may have ended before

    def training_step(self, batch: KnownAnswersBatch, _: int) -> Tensor:
        loss, right = self._loss(batch)
        self.log_step(len(batch), loss=lambda: loss, accuracy=lambda: right.float().mean())
        return loss

    def validation_step(self, batch: KnownAnswersBatch, *_: Any) -> None:
        loss, right = self._loss(batch)
        self.counts.update(right)
        self.log("valid/loss", loss, prog_bar=True, batch_size=len(batch), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        found = self.counts.compute()
        self.counts.reset()
        self.log("valid/accuracy", found["accuracy"], prog_bar=True, rank_zero_only=True)
        if self.trainer.state.fn == "fit":
            self.progress["perfect"] = self.progress["perfect"] + 1 if found["accuracy"] == 1 else 0
            self._stop_if_learnt()

    def on_validation_end(self) -> None:
        """A checkpoint of this step was written before its evaluation and does not count it."""
        if self.trainer.should_stop and self.trainer.state.fn == "fit":
            writer = self.trainer.checkpoint_callback
            if isinstance(writer, RunCheckpoint):
                writer.save_last_now(self.trainer)

    def _stop_if_learnt(self) -> None:
        if 0 < self.perfect_evaluations <= self.progress["perfect"]:
            self.trainer.should_stop = True

    def on_test_epoch_start(self) -> None:
        lengths = self.data.test_lengths
        self.by_length = {length: AnswerCounts().to(self.device) for length in lengths}

    def test_step(self, batch: KnownAnswersBatch, *_: Any) -> None:
        right = self._loss(batch)[1]
        self.by_length[batch.tokens.shape[1]].update(right)

    def on_test_epoch_end(self) -> None:
        found = {length: counts.compute() for length, counts in self.by_length.items()}
        for length, result in found.items():
            accuracy = result["accuracy"]
            self.log(f"test/accuracy/{length:010d}", accuracy, rank_zero_only=True)
        if not self.trainer.is_global_zero:
            return
        learnt = 0 < self.perfect_evaluations <= self.progress["perfect"]
        content = {
            "data": self.data.describe(),
            "training": {**self.progress, "ended_by": "convergence" if learnt else "budget"},
            "accuracy_by_length": {str(length): result for length, result in found.items()},
        }
        folder = Path(self.trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / "test.json") as path:
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        now, steps = time.monotonic(), self.trainer.global_step
        self.progress["seconds"] += now - self._since
        self._since = now
        schedule = self.data.schedule
        self.progress |= {"steps": steps, "tokens": schedule.first_token(steps)}
        super().on_save_checkpoint(checkpoint)

    def record(self) -> dict[str, Any]:
        return {"progress": dict(self.progress)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.progress = dict(checkpoint["genomamba"]["progress"])
