"""Batches, read in this process or by loader processes, always in the sampler's order.

Loader processes write into slots of one block of shared memory, and only a word for each task comes
back through a pipe: tensors that travel by themselves need a file and a mapping each, which costs
more than reading a window of a million bases. Each batch is cut into as many tasks as there are
processes, so that the slots, and with them the memory, do not grow with their number.
"""

from __future__ import annotations

import gc
import multiprocessing
import re
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from genomamba.data.batch import Batch
from genomamba.data.datasets import WindowDataset
from genomamba_data_prep.errors import InputError

STOPPING = (signal.SIGTERM, signal.SIGUSR1)  # a job manager sends them to every process of a run
PREFETCH = 2  # tasks that wait for each loader process, the one at work included


class WindowLoader:
    """Batches of a dataset. Each iteration starts its own loader processes.

    Args:
        dataset: the windows.
        batches: the example numbers of each batch, in order.
        shapes: windows and bases of the batches that may come; a batch may have fewer windows.
        num_workers: loader processes; 0 reads in this one.
        pin_memory: yield batches in page-locked memory; needs CUDA.
    """

    def __init__(
        self,
        dataset: WindowDataset,
        batches: Iterable[Sequence[int]],
        shapes: Sequence[tuple[int, int]],
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.dataset, self.batches, self.shapes = dataset, batches, shapes
        self.num_workers, self.pin_memory = num_workers, pin_memory

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]  # a TypeError where there is no end

    def __iter__(self) -> Iterator[Batch]:
        return self._from_processes() if self.num_workers else self._from_here()

    def _empty(self, examples: Sequence[int]) -> Batch:
        length = self.dataset.length_of(examples[0])
        return Batch.empty(len(examples), length, pin_memory=self.pin_memory)

    def _from_here(self) -> Iterator[Batch]:
        for examples in self.batches:
            batch = self._empty(examples)
            self.dataset.fill(batch, examples)
            yield batch

    def _from_processes(self) -> Iterator[Batch]:
        parts = min(self.num_workers, *(size for size, _ in self.shapes))
        # While a batch is copied from its slot, this many tasks that follow it may be at work.
        slots = 2 + (PREFETCH * self.num_workers - 1) // parts
        memory = _shared_memory(slots, max(Batch.bytes(*shape) for shape in self.shapes))
        sent: deque[Sequence[int]] = deque()

        def tasks() -> Iterator[_Task]:
            for number, examples in enumerate(self.batches):
                sent.append(examples)
                cuts = [len(examples) * part // parts for part in range(parts + 1)]
                for begin, end in pairwise(cuts):
                    yield _Task(number % slots, begin, end, examples)

        loader = DataLoader(
            _SlotWriter(self.dataset, memory),
            sampler=tasks(),  # type: ignore[arg-type]  # any iterable will do
            batch_size=None,
            num_workers=self.num_workers,
            prefetch_factor=PREFETCH,
            collate_fn=_as_it_is,
            worker_init_fn=_start_worker,
        )
        with _held_back(STOPPING):  # in the processes that start here, for good
            done = iter(loader)
        number = 0
        for part, error in enumerate(done, 1):
            if error is not None:
                raise error
            if part % parts:
                continue
            examples = sent.popleft()
            batch = self._empty(examples)
            batch.copy_from(Batch.within(memory[number % slots], *batch.codes.shape))
            number += 1
            yield batch


class _Task(NamedTuple):
    """Windows ``begin`` to ``end`` of a batch, to be written into a slot."""

    slot: int
    begin: int
    end: int
    examples: Sequence[int]


class _SlotWriter(Dataset[InputError | None]):
    """What a loader process runs."""

    def __init__(self, dataset: WindowDataset, memory: Tensor) -> None:
        self.dataset, self.memory = dataset, memory

    def __getitem__(self, task: _Task) -> InputError | None:
        slot, begin, end, examples = task
        if begin == end:
            return None
        length = self.dataset.length_of(examples[0])
        batch = Batch.within(self.memory[slot], len(examples), length)
        try:
            self.dataset.fill(batch.rows(begin, end), examples[begin:end])
        except InputError as error:  # sent back whole: the DataLoader would add a traceback to it
            return error
        return None


def _as_it_is(result: Any) -> Any:
    return result


def _start_worker(_: int) -> None:
    """Leave what was inherited out of garbage collection, which would copy its pages.

    A job manager's signals to stop go to all processes of a run. The training still needs its
    batches then; a loader process ends when its parent has.
    """
    gc.freeze()
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _held_back(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Signals to this thread wait until the end of the block; a process forked in it keeps them so.

    For one that comes before ``_start_worker`` has run, when it would still kill.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shared_memory(slots: int, size: int) -> Tensor:
    try:
        return torch.empty(slots, size, dtype=torch.uint8).share_memory_()
    except RuntimeError as error:
        raise InputError(
            f"no shared memory of {slots * size:,} bytes for the loader processes: {error}",
            fix="Make /dev/shm larger (docker run --shm-size), or set data.init_args.num_workers "
            "to 0",
        ) from None


_DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)", re.DOTALL)


def end_processes() -> None:
    """Kills this process's children, which Python would wait for at its exit.

    Of an iteration that ended while its loader processes started, some wait for tasks for good.
    """
    for process in multiprocessing.active_children():
        process.kill()


def process_death(error: BaseException) -> str | None:
    """What to tell a user if ``error`` is that of a loader process that died; else None.

    PyTorch raises it in the main thread, wherever that is when the process dies.
    """
    found = _DEATH.match(str(error)) if isinstance(error, RuntimeError) else None
    if found is None:
        return None
    how = found[2].split(".")[0]
    return (
        f"the loader process {found[1].strip()} {how}. If no person did that, the machine probably "
        "ran out of memory (see dmesg), or a store was changed while it was read. Continue from "
        "the last checkpoint with --ckpt_path last; fewer data.init_args.num_workers or a smaller "
        "batch need less memory"
    )
