"""RMSNorm (Zhang & Sennrich 2019) at the head of a residual branch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genomamba_kernels import rms_norm


class RMSNorm(nn.Module):
    """Adds to the residual stream and normalises the sum: see ``genomamba_kernels.rms_norm``.

    The norm has the weight's type, or autocast's where that is on: a float32 residual stream enters
    a half-precision mixer in the mixer's type.
    """

    def __init__(self, d_model: int, eps: float, backend: str = "auto") -> None:
        super().__init__()
        self.eps, self.backend = eps, backend
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The norm of x + residual, and x + residual itself, which is the stream from here on.

        Args:
            x: (..., d_model) a branch's output; without a residual, the stream.
            residual: (..., d_model) the stream so far.
        """
        return rms_norm(
            x,
            self.weight,
            self.eps,
            residual=residual,
            out_dtype=autocast_dtype(self.weight),
            backend=self.backend,
        )


def autocast_dtype(parameter: Tensor) -> torch.dtype:
    """In which a layer with this parameter computes: autocast's dtype, or the parameter's."""
    device = parameter.device.type
    if torch.is_autocast_enabled(device) and parameter.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return parameter.dtype
