"""What a loader yields: windows of codes, drawn and gathered by the batch."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
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

    @staticmethod
    def empty(size: int, length: int, *, pin_memory: bool = False) -> Batch:
        """Memory for a batch, its content undefined.

        Args:
            size: B.
            length: L.
            pin_memory: page-locked, from where a GPU copies without waiting; needs CUDA.
        """
        codes = torch.empty(size, length, dtype=torch.uint8, pin_memory=pin_memory)
        numbers = (torch.empty(size, dtype=torch.int64, pin_memory=pin_memory) for _ in range(3))
        return Batch(codes, *numbers)

    @staticmethod
    def bytes(size: int, length: int) -> int:
        """Bytes that `within` needs, a multiple of 8."""
        return 3 * 8 * size + -(-size * length // 8) * 8

    @staticmethod
    def within(memory: Tensor, size: int, length: int) -> Batch:
        """A batch whose tensors lie in ``memory``, uint8 (n,)."""
        end = 3 * 8 * size
        codes = memory[end : end + size * length].view(size, length)
        return Batch(codes, *memory[:end].view(torch.int64).view(3, size).unbind())

    def rows(self, begin: int, end: int) -> Batch:
        """A view of some of its windows."""
        return Batch(**{f.name: getattr(self, f.name)[begin:end] for f in fields(self)})

    def copy_from(self, other: Batch) -> None:
        """Copy another batch's content into this one's memory."""
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name))
