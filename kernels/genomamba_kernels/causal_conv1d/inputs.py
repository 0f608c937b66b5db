"""The causal convolution's arguments as one value, the same for every backend."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ConvInputs(NamedTuple):
    """The convolution's arguments as the interface takes them."""

    x: Tensor  # (B, L, D)
    weight: Tensor  # (D, d_conv)
    bias: Tensor | None  # (D,)
    activation: str | None
    initial_state: Tensor | None  # (B, d_conv - 1, D)
    seq_idx: Tensor | None  # (B, L) int32
