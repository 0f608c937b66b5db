"""Where a row may be read in two parts without another result, not by a bit: at multiples of this.

Holds of the backend "triton" without gradients, for rows that continue others and for long ones
(`genomamba_kernels.selective_scan.triton_plan.cut_forward`); elsewhere parts differ by rounding.
"""

STATE_GRID = 512  # positions
