"""Bases that the model works on at a time, halved where the GPU's memory does not hold them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from genomamba_data_prep.errors import InputError

T = TypeVar("T")
SMALLEST = 1024


class Budget:
    """The current number of bases.

    Args:
        bases: to begin with.
        halved: told the new number each time.
    """

    def __init__(self, bases: int, halved: Callable[[int], None]) -> None:
        self.bases = bases
        self._halved = halved

    def attempt(self, work: Callable[[], T]) -> T | None:
        """What the work returns, or None where memory did not suffice and the budget was halved.

        Raises:
            InputError: the budget is too small to be halved.
        """
        try:
            return work()
        except torch.OutOfMemoryError:
            pass  # what the failed attempt holds is free only when the handler is left
        if self.bases < 2 * SMALLEST:
            raise InputError(
                f"the GPU's memory does not hold {self.bases:,} bases at a time",
                fix="Use a larger GPU, or --device cpu; what is done is kept",
            )
        self.bases //= 2
        print(
            f"genomamba: out of GPU memory: going on with {self.bases:,} bases at a time",
            file=sys.stderr,
            flush=True,
        )
        self._halved(self.bases)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
