"""Records what a function launches in a CUDA graph, so that the host costs one launch a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 2  # calls before the recording: kernels are compiled and workspaces made


def recorded(function: Callable[[], None], changed: Sequence[Tensor]) -> Callable[[], None]:
    """A function that does what ``function`` does, without its host side.

    Args:
        function: works on tensors that stay where they are, and asks nothing of the device.
        changed: the tensors that it changes; they are afterwards as they were.
    """
    before = [tensor.clone() for tensor in changed]
    with torch.cuda.device_of(changed[0]):
        replay = _cuda_graph(function)
    for tensor, value in zip(changed, before, strict=True):
        tensor.copy_(value)
    return replay


def _cuda_graph(function: Callable[[], None]) -> Callable[[], None]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay
