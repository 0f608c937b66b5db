"""The selective scan's arguments as one value, the same for every backend."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ScanInputs(NamedTuple):
    """The scan's arguments as the interface takes them, but B and C always with their groups."""

    u: Tensor  # (B, L, D)
    delta: Tensor  # (B, L, D)
    A: Tensor  # (D, N)
    B: Tensor  # (B, L, G, N)
    C: Tensor  # (B, L, G, N)
    D: Tensor | None  # (D,)
    z: Tensor | None  # (B, L, D)
    delta_bias: Tensor | None  # (D,)
    delta_softplus: bool
    starts: Tensor | None  # (B, L) bool, packing.sequence_starts
