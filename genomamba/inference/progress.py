"""Says on stderr how far a long run is: a live line on a terminal, or a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.status import Status

LOG_EVERY = 30.0  # seconds between lines where stderr is not a terminal


class Progress:
    """Counts windows and bases; a context manager."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._windows = self._bases = 0
        self._begin = self._logged = time.monotonic()
        console = Console(stderr=True)
        self._status: Status | None = console.status(what) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def add(self, windows: int, bases: int) -> None:
        """Tell that so many more have been classified."""
        self._windows += windows
        self._bases += bases
        now = time.monotonic()
        rate = self._bases / 1e6 / max(now - self._begin, 1e-3)
        line = (
            f"{self._what}: {self._windows:,} windows, {self._bases / 1e6:,.1f} Mbp, "
            f"{rate:.2f} Mbp/s"
        )
        if self._status is not None:
            self._status.update(line)
        elif now - self._logged >= LOG_EVERY:
            self._logged = now
            print(line, file=sys.stderr)
