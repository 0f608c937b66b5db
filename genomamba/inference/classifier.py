"""A trained classifier as a function from windows of any lengths to log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genomamba.models import MambaForClassification
from genomamba_data_prep.codes import BASE_BITS, Codes

LogProbabilities = npt.NDArray[np.float64]


class WindowClassifier:
    """Applies a ``MambaForClassification`` to windows, without padding.

    Windows of the commonest case, the full length, are stacked as rows of one batch. The others are
    packed one after another in a single row; ``seq_idx`` restarts the model where a window begins,
    exactly, so that a window's result does not depend on its neighbours.

    Args:
        model: the network.
        n_classes: its classes.
        device: where to run it.
        temperature: divides the logits, as calibration found it; 1 is as trained.
    """

    def __init__(
        self,
        model: MambaForClassification,
        n_classes: int,
        device: torch.device | str = "cpu",
        temperature: float = 1.0,
    ) -> None:
        self.n_classes = n_classes
        self.device = torch.device(device)
        self.temperature = temperature
        self.model = model.to(self.device).eval()

    def limit(self, bases: int) -> None:
        """Work on at most so many bases of a row at a time: the state goes from piece to piece."""
        backbone = self.model.backbone
        backbone.config = replace(backbone.config, segment_length=bases)

    @torch.inference_mode()
    def __call__(self, windows: Sequence[Codes]) -> LogProbabilities:
        """Log-probabilities, shape (len(windows), n_classes), of code arrays of shape (length,)."""
        lengths = np.array([len(codes) for codes in windows])
        full = lengths == lengths.max()
        out = np.full((len(windows), self.n_classes), np.nan)
        for chosen, forward in ((full, self._stacked), (~full, self._packed)):
            indices = np.flatnonzero(chosen).tolist()
            if indices:
                out[indices] = forward([windows[i] for i in indices])
        return out

    def _stacked(self, windows: list[Codes]) -> LogProbabilities:
        return self._forward(np.stack(windows), None)

    def _packed(self, windows: list[Codes]) -> LogProbabilities:
        lengths = [len(codes) for codes in windows]
        seq_idx = np.repeat(np.arange(len(windows), dtype=np.int32), lengths)
        return self._forward(np.concatenate(windows)[None], seq_idx[None])

    def _forward(self, codes: Codes, seq_idx: npt.NDArray[np.int32] | None) -> LogProbabilities:
        sequences = None if seq_idx is None else torch.from_numpy(seq_idx).to(self.device)
        return self.log_probabilities(self.model(self.tokens(codes), seq_idx=sequences))

    def tokens(self, codes: Codes) -> Tensor:
        """Codes as the model takes them, on its device."""
        return torch.from_numpy(codes & BASE_BITS).to(self.device, torch.long)

    def log_probabilities(self, logits: Tensor) -> LogProbabilities:
        """Calibrated log-probabilities of logits (n, n_classes)."""
        return torch.log_softmax(logits.double() / self.temperature, dim=-1).cpu().numpy()
