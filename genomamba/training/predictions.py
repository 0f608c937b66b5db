"""``genomamba predict``: probabilities of the test windows as a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from genomamba_data_prep.atomic import atomic_file


class PredictionWriter(BasePredictionWriter):
    """Writes ``RUN/predictions.tsv``: one row a window, one ``prob_CLASS`` column a class.

    Column ``window`` is the window's number: its row in the manifest, or in the drawn test set.
    """

    def __init__(self, run: Path) -> None:
        super().__init__(write_interval="epoch")
        self.run = run

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        index = torch.cat([part["index"] for part in predictions])
        probabilities = torch.cat([part["log_probabilities"] for part in predictions]).exp()
        classes = trainer.datamodule.classes  # type: ignore[attr-defined]
        table = pd.DataFrame({"window": index.tolist()})
        table["prediction"] = [classes[i] for i in probabilities.argmax(1).tolist()]
        for label, name in enumerate(classes):
            table[f"prob_{name}"] = probabilities[:, label].tolist()
        self.run.mkdir(parents=True, exist_ok=True)
        suffix = f".rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        target = self.run / f"predictions{suffix}.tsv"
        with atomic_file(target) as path:
            table.sort_values("window").to_csv(path, sep="\t", index=False, float_format="%.6f")
        print(f"{target}: {len(table):,} windows", file=sys.stderr)
