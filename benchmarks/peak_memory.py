"""The most memory that the process and its GPU held during a piece of work."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

import torch

MIB = 2**20
PERIOD = 0.02  # seconds between two looks at the process's memory


class PeakMemory:
    """With it around the work: ``rss_mib``, sampled, and ``gpu_mib``, exact (None on the CPU).

    The system's own peak (VmHWM) would be that of the whole process, its start included.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._pages = 0
        self.gpu_mib: float | None = None
        self.seconds = 0.0

    @property
    def rss_mib(self) -> float:
        return self._pages * os.sysconf("SC_PAGE_SIZE") / MIB

    def _watch(self) -> None:
        while True:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self._pages = max(self._pages, pages)
            if self._stop.wait(PERIOD):
                return

    def __enter__(self) -> PeakMemory:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
        self._begin = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            self.gpu_mib = torch.cuda.max_memory_allocated(self._device) / MIB
        self.seconds = time.perf_counter() - self._begin
        self._stop.set()
        self._thread.join()
