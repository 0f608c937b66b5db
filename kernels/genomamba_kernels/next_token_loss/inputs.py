"""The loss's arguments as one value, the same for every backend."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class LossInputs(NamedTuple):
    """The loss's arguments as the interface takes them."""

    hidden: Tensor  # (B, L, D)
    weight: Tensor  # (V, D)
    targets: Tensor  # (B, T)
    importance: Tensor | None  # (B, T)
