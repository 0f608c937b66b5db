"""How the scan's Triton kernels cut their work. Results depend on it by rounding only.

Letters as in triton_forward.py.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from genomamba_kernels.ahead import real_device
from genomamba_kernels.selective_scan.grid import STATE_GRID

# Channel-positions of a row from which on segments of STATE_GRID keep a card as busy as others.
LONG = 2**26


class Blocks(NamedTuple):
    """Sizes of the kernels of one direction."""

    width: int  # W, channels a program: 32, or warps of 64
    registers: int | None  # a lane's at most; the compiler's choice if None
    resident: int  # warps that a multiprocessor holds
    first_pass: float  # time of the pass over all segments but one, over that of the main pass


class Plan(NamedTuple):
    tile: int  # T, steps whose values a program keeps in registers: 8 or 16
    interval: int  # K, steps between the states that forward keeps for backward: T, 2 T, ... 64
    forward: Blocks
    backward: Blocks
    grid: int = STATE_GRID  # positions, a multiple of K


WARP_CHANNELS = 64  # two a lane
# Measured on one H200: benchmarks/NOTES.md. For what has no plan of its own (plan_choice.py).
DEFAULT_PLAN = Plan(
    tile=8,
    interval=16,
    forward=Blocks(WARP_CHANNELS, 128, resident=16, first_pass=0.75),
    backward=Blocks(WARP_CHANNELS, None, resident=8, first_pass=0.2),
)
WAVES = 4  # at most; from here on the last one's idle programs do not show
BUSY = 6.5  # so many warps keep a multiprocessor 1 - 1/e busy
TAIL = 0.1  # of a wave's time: programs do not end at once


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


def cut_length(
    u: Tensor, groups: int, interval: int, blocks: Blocks, longest: int | None = None
) -> tuple[int, int]:
    """Number of segments, and the length of each but the last, a multiple of the interval.

    More segments keep the card busier, but all but one are walked twice. None is longer than
    `longest`, unless an interval is.
    """
    cut = _cut(u, u.shape[1], groups, interval, blocks)
    if longest is None or cut[1] <= longest:
        return cut
    segment = max(1, longest // interval) * interval
    return ceil_div(u.shape[1], segment), segment


def cut_forward(u: Tensor, groups: int, plan: Plan, continues: bool) -> tuple[int, int, bool]:
    """As `cut_length`, and whether the segments are those of the grid.

    For rows that may be read in parts, without gradients. The state that enters a segment is
    rounded otherwise for another cut, and a network of many layers multiplies that. So rows that
    continue earlier ones, and long rows, have segments whose length does not depend on theirs.
    Where rows alone fill the card all of each is one segment, and the state is the same for any
    cut. (With gradients segments are as many as keep the card busy: the shorter they are, the less
    rounding a state gathers.)
    """
    _, length, channels = u.shape
    interval, blocks = plan.interval, plan.forward
    if not continues and length * channels < LONG:
        return *cut_length(u, groups, interval, blocks), False
    if _cut(u, LONG, groups, interval, blocks)[0] == 1:
        return 1, ceil_div(length, interval) * interval, False
    return ceil_div(length, plan.grid), plan.grid, True


def _cut(u: Tensor, length: int, groups: int, interval: int, blocks: Blocks) -> tuple[int, int]:
    """For rows like those of u, of a length."""
    rows = len(u) * groups * channel_blocks(u.shape[2], groups, blocks.width)
    return _cut_length(rows, length, interval, blocks, _multiprocessors(real_device(u)))


@functools.lru_cache(maxsize=4096)  # shapes come again and again, and the host is waited for
def _cut_length(
    rows: int, length: int, interval: int, blocks: Blocks, multiprocessors: int
) -> tuple[int, int]:
    warps = rows * ceil_div(blocks.width, WARP_CHANNELS) / multiprocessors

    def cut(wanted: int) -> tuple[int, int]:
        segment = ceil_div(ceil_div(length, wanted), interval) * interval
        return ceil_div(length, segment), segment

    def time(segments: int) -> float:
        waves = warps * segments / blocks.resident
        busy = 1 - math.exp(-min(warps * segments, blocks.resident) / BUSY)
        idle = math.ceil(waves) / waves if 1 < waves < WAVES else 1.0
        work = 1 + blocks.first_pass * (1 - 1 / segments)
        return work * idle * (1 + TAIL / max(1, waves)) / busy

    most = max(1, min(int(WAVES * blocks.resident / warps), ceil_div(length, interval)))
    choices = {cut(most >> i) for i in range(most.bit_length())}
    choices |= {cut(max(1, int(i * blocks.resident / warps))) for i in range(1, WAVES)}
    return min(sorted(choices), key=lambda choice: time(choice[0]))
