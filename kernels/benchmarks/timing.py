"""Interleaved timing and peak memory of several functions, the same way for each.

One repetition: the L2 cache is overwritten, then one call runs between two device events. The
functions take turns, in alternating order, so that a change of clocks meets all of them. While the
cache is overwritten the host runs ahead, about 0.1 ms: what a call's host side costs beyond that is
in its time, as it would be in a training step. With `graph`, replays of a CUDA graph are timed,
which leaves the host out altogether. On the CPU it is wall time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

FLUSH_BYTES = 256 * 2**20  # several times the L2 of any GPU so far
ROUNDS = 4
FEWEST, MOST = 3, 60  # repetitions a round

Function = Callable[[], Any]


class Times(NamedTuple):
    """Milliseconds a call."""

    median: float
    lower: float  # first quartile
    upper: float  # third quartile


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(function: Function, repeats: int, device: torch.device) -> list[float]:
    """The time of each call."""
    if device.type != "cuda":
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            function()
            times.append((time.perf_counter() - start) * 1e3)
        return times
    flush = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device=device)
    events = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        flush.zero_()
        start.record()
        function()
        end.record()
        events.append((start, end))
    synchronize(device)
    return [start.elapsed_time(end) for start, end in events]


def captured(function: Function) -> Function:
    """Replays of the function's launches, without its host side."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def measure(
    functions: Mapping[str, Function],
    device: torch.device,
    *,
    budget_ms: float = 400.0,
    graph: bool = False,
) -> dict[str, Times]:
    """Times of each function; about `budget_ms` are spent on each, warm-up not counted."""
    if graph:
        functions = {name: captured(function) for name, function in functions.items()}
    repeats = {}
    for name, function in functions.items():
        milliseconds(function, 2, device)
        estimate = statistics.median(milliseconds(function, FEWEST, device))
        wanted = budget_ms / ROUNDS / max(estimate, 1e-3)
        repeats[name] = int(min(max(wanted, FEWEST), MOST))
    times: dict[str, list[float]] = {name: [] for name in functions}
    order = list(functions)
    for _ in range(ROUNDS):
        for name in order:
            times[name] += milliseconds(functions[name], repeats[name], device)
        order.reverse()
    return {name: summary(values) for name, values in times.items()}


def summary(values: list[float]) -> Times:
    lower, median, upper = statistics.quantiles(values, n=4)
    return Times(median, lower, upper)


def peak_mib(function: Function, device: torch.device) -> float | None:
    """The most memory held during a call, above what was held before it; its results count.

    None on the CPU, where nobody counts.
    """
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    result = function()
    synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    del result
    return peak / 2**20
