"""What the training tasks share: the network, the optimiser, the checkpoint's record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from genomamba.data.tokens import VOCABULARY
from genomamba.models import MambaConfig
from genomamba.models.config import RUN_FIELDS
from genomamba.training.checkpoint import FORMAT_VERSION, META_KEY, check_vocabulary, load_model
from genomamba.training.optim import parameter_groups, warmup_cosine
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError

SECONDS_BETWEEN_VALUES = 1.0  # of a step that are shown and not written


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warmup and cosine decay over the whole of `trainer.max_steps`.

    Args:
        learning_rate: the highest.
        min_learning_rate: at the end.
        warmup_fraction: part of the steps over which the learning rate rises.
        weight_decay: of matrices and filters; norms, biases, A_log and D have none.
        betas: of AdamW; 0.9 and 0.95 as in Gu & Dao 2023, appendix E.2.
    """

    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-5
    warmup_fraction: float = 0.1
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)

    def __post_init__(self) -> None:
        if not self.learning_rate > 0.0:
            raise ValueError(
                f"OptimizerConfig.learning_rate: expected above 0, got {self.learning_rate}"
            )
        if not 0.0 <= self.min_learning_rate <= self.learning_rate:
            raise ValueError(
                f"OptimizerConfig.min_learning_rate: expected 0 to learning_rate "
                f"({self.learning_rate}), got {self.min_learning_rate}"
            )
        if not 0.0 <= self.warmup_fraction <= 1.0:
            raise ValueError(
                f"OptimizerConfig.warmup_fraction: expected 0 to 1, got {self.warmup_fraction}"
            )
        if not self.weight_decay >= 0.0:
            raise ValueError(
                f"OptimizerConfig.weight_decay: expected at least 0, got {self.weight_decay}"
            )
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(
                f"OptimizerConfig.betas: expected two numbers in [0, 1), got {list(self.betas)}"
            )


class Task(LightningModule):
    """A network under training.

    The network is built when the data module is known (it decides the number of classes), as
    ``self.model``; its backbone may start from the weights of another checkpoint.

    Args:
        backbone: the network's shape.
        optimizer: how it learns.
        pretrained: a checkpoint whose backbone the training starts from.
    """

    kind: str
    model: nn.Module | None

    def __init__(
        self,
        backbone: MambaConfig,
        optimizer: OptimizerConfig,
        pretrained: str | Path | None,
    ) -> None:
        super().__init__()
        self.backbone, self.optimizer, self.pretrained = backbone, optimizer, pretrained
        self.model = None
        self._shown_at = 0.0

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens' names, in order."""
        return VOCABULARY

    def build(self) -> nn.Module:
        """The network with fresh weights."""
        raise NotImplementedError

    def record(self) -> dict[str, Any]:
        """What the checkpoint says beyond config and data."""
        return {}

    def configure_model(self) -> None:
        if self.model is not None:
            return
        self.model = self.build()
        if self.pretrained is not None:
            self._load_backbone(self.pretrained)

    def _load_backbone(self, path: str | Path) -> None:
        assert self.model is not None
        source, meta = load_model(path, vocabulary=self.vocabulary)
        differing = self._differences(meta)
        if differing:
            raise InputError(
                f"the pretrained backbone has another shape: {differing}",
                file=path,
                fix="Use the config overlay that it was pretrained with",
            )
        self.model.get_submodule("backbone").load_state_dict(
            source.get_submodule("backbone").state_dict()
        )

    def _differences(self, meta: dict[str, Any]) -> str:
        """How the network of a checkpoint differs from this one; empty where it does not."""
        there = MambaConfig.from_dict(meta["config"]).as_dict()  # with what is newer than the file
        return "; ".join(
            f"{name} {there[name]!r} there, {value!r} here"
            for name, value in self.backbone.as_dict().items()
            if name not in RUN_FIELDS and there[name] != value
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        assert self.model is not None
        options, total = self.optimizer, self.trainer.max_steps
        optimizer = torch.optim.AdamW(
            parameter_groups(self.model, options.weight_decay),
            lr=options.learning_rate,
            betas=options.betas,
        )
        schedule = warmup_cosine(
            optimizer,
            warmup=round(options.warmup_fraction * total),
            total=total,
            floor=options.min_learning_rate / options.learning_rate,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def log_step(self, size: int, **values: Callable[[], Tensor]) -> None:
        """Log what a training step found, as ``train/NAME``, where somebody reads it.

        Lightning spends 0.5 ms on each value, as long as a short sequence's forward pass: of the
        steps that are not written (``trainer.log_every_n_steps``) one a second is told, to the
        lines and bars of progress.

        Args:
            size: examples.
            values: asked for only where they are logged.
        """
        if self._is_read():
            for name, value in values.items():
                self.log(f"train/{name}", value(), prog_bar=True, batch_size=size)

    def _is_read(self) -> bool:
        if self._trainer is None:
            return False
        now, is_written = time.monotonic(), self._is_written()
        if not is_written and now - self._shown_at < SECONDS_BETWEEN_VALUES:
            return False
        self._shown_at = now
        return True

    def _is_written(self) -> bool:
        """Whether Lightning writes the values of the step at work."""
        trainer: Any = self.trainer
        return (trainer.global_step + 1) % max(1, trainer.log_every_n_steps) == 0

    def write_results(self, stage: str, found: Mapping[str, Any]) -> None:
        """Write what a pass found to ``STAGE.json`` in the run folder, on rank zero.

        Args:
            stage: "valid" or "test".
            found: plain numbers, strings, lists and dictionaries; step, checkpoint and data are
                added.
        """
        if not self.trainer.is_global_zero:
            return
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        content = {
            "step": self.trainer.global_step if fitting else None,
            "checkpoint": str(self.trainer.ckpt_path) if self.trainer.ckpt_path else None,
            **found,
            "data": self.trainer.datamodule.describe(),  # type: ignore[attr-defined]
        }
        folder = Path(self.trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / f"{stage}.json") as path:
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self._is_written():
            self.log("train/learning_rate", optimizer.param_groups[0]["lr"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        meta = checkpoint[META_KEY]
        if meta["task"] != self.kind:
            raise InputError(
                f"the checkpoint is of {meta['task']}, expected one of {self.kind}",
                fix="To start from its backbone, give it as model.init_args.pretrained",
            )
        check_vocabulary(meta, self.vocabulary)
        differing = self._differences(meta)
        if differing:
            raise InputError(
                f"the checkpoint's network has another shape: {differing}",
                fix="Use the config of the run it is from: --config RUN/config.yaml",
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        checkpoint[META_KEY] = {
            "format": FORMAT_VERSION,
            "task": self.kind,
            "config": self.backbone.as_dict(),
            "vocabulary": list(self.vocabulary),
            "length": data.length,
            "data": data.describe(),
            **self.record(),
        }
