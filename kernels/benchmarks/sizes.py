"""Sizes as the command line writes them, and tokens of such sizes."""

from __future__ import annotations

import torch
from torch import Tensor


def size(text: str) -> int:
    """An integer, or a power of two such as 2^20."""
    return 2 ** int(text[2:]) if text.startswith("2^") else int(text)


def random_bases(batch: int, length: int) -> Tensor:
    """(B, L) uint8 on the CPU, of A, C, G and T; always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(4, (batch, length), generator=generator, dtype=torch.uint8)
