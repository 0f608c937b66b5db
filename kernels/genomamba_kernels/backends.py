"""Which implementation of an operator runs: the argument, the environment or the default."""

from __future__ import annotations

import importlib.util
import os

import torch
from torch import Tensor

BACKENDS = ("triton", "torch", "reference")
ENVIRONMENT_VARIABLE = "GENOMAMBA_BACKEND"
OLDEST_CAPABILITY = (8, 0)


def resolve_backend(backend: str) -> str:
    """Turns "auto" into a backend's name; an explicit argument wins over the environment."""
    source = "backend"
    if backend == "auto":
        source = ENVIRONMENT_VARIABLE
        backend = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
    if backend == "auto":
        # Not yet "triton" on a GPU: not all of its suite has run on one (benchmarks/NOTES.md).
        return "torch"
    if backend not in BACKENDS:
        raise ValueError(f"{source}: expected one of {('auto', *BACKENDS)}, got {backend!r}")
    return backend


def check_triton(data: Tensor) -> None:
    """Refuses what the backend "triton" cannot run, and says what can."""
    instead = 'use the backend "torch"'
    if importlib.util.find_spec("triton") is None:
        raise ValueError(f'backend: expected Triton installed for "triton", got none; {instead}')
    if data.dtype == torch.float64:
        raise ValueError(f'backend: "triton" expects data shorter than float64; {instead}')
    if data.is_cuda:
        capability = torch.cuda.get_device_capability(data.device)
        if capability < OLDEST_CAPABILITY:
            raise ValueError(
                f'backend: "triton" expects compute capability {OLDEST_CAPABILITY} or newer, '
                f"got {capability}; {instead}"
            )
    elif os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f'backend: "triton" expects data on a CUDA device (or TRITON_INTERPRET=1 for tests), '
            f"got {data.device}; {instead}"
        )
