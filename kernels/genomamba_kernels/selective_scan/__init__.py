"""Selective scan: the state-space recurrence of Mamba."""

from genomamba_kernels.selective_scan.grid import STATE_GRID
from genomamba_kernels.selective_scan.interface import selective_scan

__all__ = ["STATE_GRID", "selective_scan"]
