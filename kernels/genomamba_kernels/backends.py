"""Which implementation of an operator runs: the argument, the environment or the default."""

from __future__ import annotations

import os

BACKENDS = ("torch", "reference")
ENVIRONMENT_VARIABLE = "GENOMAMBA_BACKEND"


def resolve_backend(backend: str) -> str:
    """Turns "auto" into a backend's name; an explicit argument wins over the environment."""
    source = "backend"
    if backend == "auto":
        source = ENVIRONMENT_VARIABLE
        backend = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
    if backend == "auto":
        return "torch"
    if backend not in BACKENDS:
        raise ValueError(f"{source}: expected one of {('auto', *BACKENDS)}, got {backend!r}")
    return backend
