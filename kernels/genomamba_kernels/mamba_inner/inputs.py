"""The arguments of a Mamba layer's inside as one value, the same for every backend."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genomamba_kernels.sharing import Share


class InnerInputs(NamedTuple):
    """The arguments as the interface takes them, and the dtype of the two projections.

    The tensors, up to seq_idx, come first.
    """

    xz: Tensor  # (B, L, 2 D)
    conv_weight: Tensor  # (D, d_conv)
    conv_bias: Tensor | None  # (D,)
    x_proj_weight: Tensor  # (R + 2 G N, D)
    dt_proj_weight: Tensor  # (D, R)
    A: Tensor  # (D, N)
    D: Tensor | None  # (D,)
    dt_bias: Tensor | None  # (D,)
    conv_state: Tensor | None  # (B, d_conv - 1, D)
    scan_state: Tensor | None  # (B, D, N)
    seq_idx: Tensor | None  # (B, L)
    projection_dtype: torch.dtype
    share: Share | None = None

    @property
    def rank(self) -> int:
        """R, of the step size."""
        return self.dt_proj_weight.shape[1]

    @property
    def groups(self) -> int:
        """G, of B and C."""
        return (self.x_proj_weight.shape[0] - self.rank) // (2 * self.A.shape[1])


def projection_dtype(xz: Tensor) -> torch.dtype:
    """The dtype in which torch would multiply matrices here: autocast's, or the data's."""
    device = xz.device.type
    if xz.dtype != torch.float64 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return xz.dtype
