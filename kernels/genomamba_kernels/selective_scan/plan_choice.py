"""Which plan the scan's kernels take. The choice never depends on a clock, nor on the length.

A file that GENOMAMBA_BLOCKS names comes before the table of what was measured (plan_table.py), and
that before DEFAULT_PLAN. The file is read once: the same file gives the same results, bit for bit.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import torch
from torch import Tensor

from genomamba_kernels.ahead import real_device
from genomamba_kernels.selective_scan.plan_file import VARIABLE, read_plans
from genomamba_kernels.selective_scan.plan_table import PLANS, find_plan
from genomamba_kernels.selective_scan.triton_plan import DEFAULT_PLAN, Plan


def choose_plan(data: Tensor, states: int, dtype: torch.dtype | None = None) -> Plan:
    """The plan for N states on the device of the data, and for their dtype unless one is given.

    Raises:
        PlanFileError: the file that GENOMAMBA_BLOCKS names cannot be used.
    """
    dtype = dtype or data.dtype
    return _choose(real_device(data), dtype, states, os.environ.get(VARIABLE) or None)


def recomputed(plan: Plan) -> Plan:
    """For saved states that live no longer than a piece of a layer's backward: more are kept."""
    return plan._replace(interval=plan.tile)


def device_name(device: torch.device) -> str:
    """As the plans' keys have it: such as "NVIDIA H200", or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@functools.lru_cache(maxsize=256)
def _choose(device: torch.device, dtype: torch.dtype, states: int, file: str | None) -> Plan:
    of_file = {} if file is None else _read_once(file)
    for plans in (of_file, PLANS):
        name = str(dtype).removeprefix("torch.")
        plan = find_plan(plans, device_name(device), name, states)
        if plan is not None:
            return plan
    return DEFAULT_PLAN


_read_once = functools.cache(lambda file: read_plans(Path(file)))
