"""A residual Mamba block that keeps its input only."""

from genomamba_kernels.mamba_block.interface import mamba_block

__all__ = ["mamba_block"]
