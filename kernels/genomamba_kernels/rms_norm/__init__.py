"""RMSNorm with the residual sum before it."""

from genomamba_kernels.rms_norm.interface import rms_norm

__all__ = ["rms_norm"]
