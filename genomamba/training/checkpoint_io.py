"""How Lightning writes and reads checkpoint files: whole or not at all, and weights only."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from genomamba.data.tokens import VOCABULARY
from genomamba.training.checkpoint import Path, read_checkpoint
from genomamba_data_prep.atomic import atomic_file


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name, flushes, renames: a kill at any moment leaves a whole file."""

    def __init__(self, vocabulary: tuple[str, ...] | None = VOCABULARY) -> None:
        super().__init__()
        self.vocabulary = vocabulary  # that a model must have; None is any

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Path, storage_options: Any = None
    ) -> None:
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with atomic_file(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads weights only, whatever is asked for."""
        return read_checkpoint(path, map_location, vocabulary=self.vocabulary)
