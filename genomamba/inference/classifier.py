"""A trained classifier as a function from windows of any lengths to log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genomamba.models import MambaForClassification
from genomamba.models.backbone import grid_segment
from genomamba_data_prep.codes import BASE_BITS, Codes

LogProbabilities = npt.NDArray[np.float64]

# Positions that a CPU works on at a time: what a layer passes on then stays in its caches. Packed
# rows of 131,072, uncut, once had half the rate of one by one; cut, 0.9 of it (docs/classify.md).
CPU_POSITIONS = 1 << 13


class WindowClassifier:
    """Applies a ``MambaForClassification`` to windows, without padding.

    Windows of one length are stacked as rows of one batch. Of several lengths they are packed one
    after another in a single row; ``seq_idx`` restarts the model where a window begins, exactly, so
    that a window's result does not depend on its neighbours.

    Args:
        model: the network; is moved to the device, and its config's ``segment_length`` replaced.
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
        self.limit(None)

    def limit(self, bases: int | None) -> int | None:
        """Work on at most so many bases of a row at a time: the state goes from piece to piece.

        Returns how many that are: multiples of the grid; on the CPU no more than its caches hold.
        """
        if self.device.type == "cpu":
            bases = min(bases or CPU_POSITIONS, CPU_POSITIONS)
        bases = None if bases is None else grid_segment(bases)
        backbone = self.model.backbone
        backbone.config = replace(backbone.config, segment_length=bases)
        return bases

    @torch.inference_mode()
    def __call__(self, windows: Sequence[Codes]) -> LogProbabilities:
        """Log-probabilities, shape (len(windows), n_classes), of code arrays of shape (length,)."""
        lengths = [len(codes) for codes in windows]
        if len(set(lengths)) == 1:
            return self._forward(np.stack(windows), None)
        seq_idx = np.repeat(np.arange(len(windows), dtype=np.int32), lengths)
        return self._forward(np.concatenate(windows)[None], torch.from_numpy(seq_idx)[None])

    def _forward(self, codes: Codes, seq_idx: Tensor | None) -> LogProbabilities:
        # seq_idx stays here, where the head asks it for lengths: of a GPU it would have to wait.
        return self.log_probabilities(self.model(self.tokens(codes), seq_idx=seq_idx))

    def tokens(self, codes: Codes) -> Tensor:
        """Codes as the model takes them, on its device: a byte a base."""
        # Of memory that is not pinned the copy to a GPU waits for the batch before it. NumPy fills
        # it, because torch's own copy wakes as many threads as there are cores for half a megabyte.
        pinned = self.device.type == "cuda"
        tokens = torch.empty(codes.shape, dtype=torch.uint8, pin_memory=pinned)
        np.bitwise_and(codes, BASE_BITS, out=tokens.numpy())
        return tokens.to(self.device, non_blocking=True)

    def log_probabilities(self, logits: Tensor) -> LogProbabilities:
        """Calibrated log-probabilities of logits (n, n_classes)."""
        return torch.log_softmax(logits.double() / self.temperature, dim=-1).cpu().numpy()
