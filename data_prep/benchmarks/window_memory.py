"""What loader processes take: proportional set size of a process tree, without its stores."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ .*", re.MULTILINE)
_PSS = re.compile(r"^Pss: +(\d+) kB", re.MULTILINE)


def children(process: int) -> list[int]:
    """The living children of a process."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def pss(process: int, without: str = "codes.bin") -> int:
    """Proportional set size in bytes: private pages, and a share of those that others have too.

    Args:
        process: its number.
        without: mappings of files of this name are left out.
    """
    text = Path(f"/proc/{process}/smaps").read_text()
    starts = [found.start() for found in _MAPPING.finditer(text)] + [len(text)]
    total = 0
    for start, end in pairwise(starts):
        mapping = text[start:end]
        found = _PSS.search(mapping)
        if found and not mapping.split("\n", 1)[0].endswith(f"/{without}"):
            total += int(found[1]) * 1024
    return total


def tree_pss() -> tuple[int, list[int]]:
    """Of this process and of each of its children, in bytes."""
    return pss(os.getpid()), [pss(child) for child in children(os.getpid())]
