"""Which implementation of an operator runs: the argument, the environment or the default."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings

import torch
from torch import Tensor

BACKENDS = ("triton", "torch", "reference")
ENVIRONMENT_VARIABLE = "GENOMAMBA_BACKEND"
OLDEST_CAPABILITY = (8, 0)


class BackendError(ValueError):
    """The backend that was asked for cannot run on these data or this machine."""


class EnvironmentVariableError(BackendError):
    """An environment variable of the kernels, or the file it names, cannot be used."""


def resolve_backend(backend: str, data: Tensor) -> str:
    """Turns "auto" into a backend's name; an explicit argument wins over the environment.

    "auto" is "triton" on a GPU that runs it, for data shorter than float64, and "torch" elsewhere.
    """
    source = "backend"
    if backend == "auto":
        source = ENVIRONMENT_VARIABLE
        backend = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
    if backend == "auto":
        if not data.is_cuda or data.dtype == torch.float64:
            return "torch"
        obstacle = _obstacle(data.device)
        if obstacle is None:
            return "triton"
        _warn_once(f'backend: "auto" uses "torch" on {data.device}, which is slower: {obstacle}')
        return "torch"
    if backend not in BACKENDS:
        kind = ValueError if source == "backend" else EnvironmentVariableError
        raise kind(f"{source}: expected one of {('auto', *BACKENDS)}, got {backend!r}")
    return backend


def check_triton(data: Tensor) -> None:
    """Refuses what the backend "triton" cannot run, and says what can."""
    instead = 'use the backend "torch"'
    if data.dtype == torch.float64:
        raise BackendError(f'backend: "triton" expects data shorter than float64; {instead}')
    if not data.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise BackendError(
            f'backend: "triton" expects data on a CUDA device (or TRITON_INTERPRET=1 for tests), '
            f"got {data.device}; {instead}"
        )
    obstacle = _obstacle(data.device)
    if obstacle is not None:
        raise BackendError(f'backend: "triton" {obstacle}; {instead}')


@functools.cache
def _obstacle(device: torch.device) -> str | None:
    """Why Triton's kernels cannot run on a device, if they cannot."""
    if importlib.util.find_spec("triton") is None:
        return "expects Triton installed, got none"
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < OLDEST_CAPABILITY:
            return f"expects compute capability {OLDEST_CAPABILITY} or newer, got {capability}"
    return None


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=3)
