"""The inside of a Mamba layer: convolution, projections of the scan's inputs, scan and gate."""

from genomamba_kernels.mamba_inner.interface import mamba_inner

__all__ = ["mamba_inner"]
