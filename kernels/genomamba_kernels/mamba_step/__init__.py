"""One position of a Mamba layer's recurrence: convolution and scan, their states in place."""

from genomamba_kernels.mamba_step.interface import conv_step, scan_step

__all__ = ["conv_step", "scan_step"]
