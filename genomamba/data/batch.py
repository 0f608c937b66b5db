"""What a loader yields: windows of codes, drawn and gathered by the batch."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor

NO_LABEL = -1


@dataclass
class Batch:
    """Windows of one length. Letters: B windows, L length in bases.

    Lightning moves each tensor to the device; tokens are derived there (`genomamba.data.tokens`).

    Attributes:
        codes: uint8 (B, L), codes with the soft-mask bit, on the strand that was drawn.
        labels: int64 (B,), the class; ``NO_LABEL`` in pretraining.
        index: int64 (B,), each window's number in its stream or manifest row.
        refused: int64 (B,), how many draws were refused for their N before this one was taken.
    """

    codes: Tensor
    labels: Tensor
    index: Tensor
    refused: Tensor

    def __len__(self) -> int:
        return len(self.codes)

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory; the DataLoader calls it where ``pin_memory=True``."""
        return Batch(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})
