"""A residual block's arguments around the layer's inside."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class OuterInputs(NamedTuple):
    """The stream, its norm and the two large projections."""

    stream: Tensor  # (B, L, M)
    norm_weight: Tensor  # (M,)
    in_proj_weight: Tensor  # (2 D, M)
    in_proj_bias: Tensor | None  # (2 D,)
    out_proj_weight: Tensor  # (M, D)
    out_proj_bias: Tensor | None  # (M,)
    eps: float
    projection_dtype: torch.dtype
