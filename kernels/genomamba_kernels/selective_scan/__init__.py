"""Selective scan: the state-space recurrence of Mamba."""

from genomamba_kernels.selective_scan.interface import selective_scan

__all__ = ["selective_scan"]
