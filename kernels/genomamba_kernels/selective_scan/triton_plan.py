"""How the scan's Triton kernels cut their work. Results depend on it by rounding only.

Letters as in triton_forward.py.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor


class Blocks(NamedTuple):
    """Sizes of the kernels of one direction."""

    width: int  # W, channels a program: 32, or 64
    registers: int | None  # a lane's at most; the compiler's choice if None
    resident: int  # programs that keep a multiprocessor busy
    first_pass: float  # time of the pass over all segments but one, over that of the main pass


class Plan(NamedTuple):
    tile: int  # T, steps whose values a program keeps in registers: 8 or 16
    interval: int  # K, steps between the states that forward keeps for backward: T, 2 T, ... 64
    forward: Blocks
    backward: Blocks


# Measured on one H200: benchmarks/NOTES.md.
DEFAULT_PLAN = Plan(
    tile=8,
    interval=16,
    forward=Blocks(64, 128, resident=32, first_pass=0.75),
    backward=Blocks(64, None, resident=16, first_pass=0.2),
)
MANY_WAVES = 4  # from here on the last wave's idle programs do not show


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def channel_blocks(channels: int, groups: int, width: int) -> int:
    """P, the number of programs that share one group's B and C."""
    return ceil_div(channels // groups, width)


def cut_length(u: Tensor, groups: int, interval: int, blocks: Blocks) -> tuple[int, int]:
    """Number of segments, and the length of each but the last, a multiple of the interval.

    More segments fill the card, but all but one are walked twice. The time of S segments is about
    that of a wave of programs, times the waves.
    """
    batch, length, channels = u.shape
    rows = batch * groups * channel_blocks(channels, groups, blocks.width)
    resident = _multiprocessors(u.device) * blocks.resident

    def cut(wanted: int) -> tuple[int, int]:
        segment = ceil_div(ceil_div(length, wanted), interval) * interval
        return ceil_div(length, segment), segment

    def time(segments: int, segment: int) -> float:
        waves = rows * segments / resident
        if waves < MANY_WAVES:
            waves = math.ceil(waves) + 0.1
        return waves * segment * (1 + blocks.first_pass * (1 - 1 / segments))

    most = max(1, min(MANY_WAVES * resident // rows, ceil_div(length, interval)))
    choices = {cut(most >> i) for i in range(most.bit_length())}
    choices |= {cut(max(1, waves * resident // rows)) for waves in range(1, MANY_WAVES)}
    return min(choices, key=lambda choice: time(*choice))
