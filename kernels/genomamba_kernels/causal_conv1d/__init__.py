"""Causal depthwise convolution along the length."""

from genomamba_kernels.causal_conv1d.interface import causal_conv1d

__all__ = ["causal_conv1d"]
