"""How many cores there are to share out."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores that this process may use, which a scheduler can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
