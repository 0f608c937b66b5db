"""Operators of a Mamba layer: one function each, several backends that agree.

Importing this package needs no GPU and queries no device.
"""

from genomamba_kernels.causal_conv1d import causal_conv1d
from genomamba_kernels.mamba_block import mamba_block
from genomamba_kernels.mamba_inner import mamba_inner
from genomamba_kernels.next_token_loss import next_token_loss
from genomamba_kernels.rms_norm import rms_norm
from genomamba_kernels.selective_scan import STATE_GRID, selective_scan
from genomamba_kernels.sharing import Share

__all__ = [
    "STATE_GRID",
    "Share",
    "causal_conv1d",
    "mamba_block",
    "mamba_inner",
    "next_token_loss",
    "rms_norm",
    "selective_scan",
]
