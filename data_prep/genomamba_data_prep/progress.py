"""Progress of a long task on stderr: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType

QUIET_SECONDS = 2.0  # a task that ends sooner says nothing
LOG_SECONDS = 15.0


class Progress:
    """Reports work done out of a total; use as a context manager.

    Args:
        task: what is being done, as the user would say it.
        total: the whole work, in any unit; 0 if it is not known, as of a pipe.
    """

    def __init__(self, task: str, total: int) -> None:
        self.task, self.total, self.done = task, total, 0
        self._next_report = time.monotonic() + QUIET_SECONDS
        self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: int) -> None:
        """Count work that is done."""
        self.done += amount
        if self.total:  # of a damaged file more may be read than was counted
            self.done = min(self.done, self.total)
        if time.monotonic() < self._next_report:
            return
        if not sys.stderr.isatty():
            self._next_report = time.monotonic() + LOG_SECONDS
            done = f"{self.done / self.total:.0%}" if self.total else f"{self.done:,} so far"
            print(f"{self.task}: {done}", file=sys.stderr, flush=True)
            return
        self._next_report = time.monotonic() + 0.1
        if self._bar is None:
            self._start_bar()
        assert self._bar is not None
        self._bar.update(self._task_id, completed=self.done)

    def _start_bar(self) -> None:
        import rich.progress  # a tenth of a second to import: only for those who wait anyway
        from rich.console import Console

        self._bar = rich.progress.Progress(console=Console(stderr=True), transient=True)
        self._task_id = self._bar.add_task(self.task, total=self.total or None)
        self._bar.start()
