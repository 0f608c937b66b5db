"""A trained classifier as a function from windows of any lengths to log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from genomamba_data_prep.codes import BASE_BITS, Codes


class WindowClassifier:
    """Applies a ``MambaForClassification`` to windows, without padding.

    Windows of the commonest case, the full length, are stacked as rows of one batch. The others are
    packed one after another in a single row; ``seq_idx`` restarts the model where a window begins,
    exactly, so that a window's result does not depend on its neighbours.
    """

    def __init__(
        self, model: nn.Module, n_classes: int, device: torch.device | str = "cpu"
    ) -> None:
        self.n_classes = n_classes
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, windows: Sequence[Codes]) -> npt.NDArray[np.float64]:
        """Log-probabilities, shape (len(windows), n_classes), of code arrays of shape (length,)."""
        lengths = np.array([len(codes) for codes in windows])
        full = lengths == lengths.max()
        out = np.full((len(windows), self.n_classes), np.nan)
        for chosen, forward in ((full, self._stacked), (~full, self._packed)):
            indices = np.flatnonzero(chosen).tolist()
            if indices:
                out[indices] = forward([windows[i] for i in indices])
        return out

    def _stacked(self, windows: list[Codes]) -> npt.NDArray[np.float64]:
        return self._log_probabilities(np.stack(windows), None)

    def _packed(self, windows: list[Codes]) -> npt.NDArray[np.float64]:
        lengths = [len(codes) for codes in windows]
        seq_idx = np.repeat(np.arange(len(windows), dtype=np.int32), lengths)
        return self._log_probabilities(np.concatenate(windows)[None], seq_idx[None])

    def _log_probabilities(
        self, codes: Codes, seq_idx: npt.NDArray[np.int32] | None
    ) -> npt.NDArray[np.float64]:
        tokens = torch.from_numpy(codes & BASE_BITS).to(self.device, torch.long)
        sequences = None if seq_idx is None else torch.from_numpy(seq_idx).to(self.device)
        logits = self.model(tokens, seq_idx=sequences)
        return torch.log_softmax(logits.double(), dim=-1).cpu().numpy()
