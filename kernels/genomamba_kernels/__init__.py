"""Operators of a Mamba layer: one function each, several backends that agree.

Importing this package needs no GPU and queries no device.
"""

from genomamba_kernels.causal_conv1d import causal_conv1d
from genomamba_kernels.rms_norm import rms_norm
from genomamba_kernels.selective_scan import selective_scan

__all__ = ["causal_conv1d", "rms_norm", "selective_scan"]
