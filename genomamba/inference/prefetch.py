"""Reads ahead in a thread: the model does not wait for files, nor parsing for decompression."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, closing
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

from genomamba_data_prep.bgzip import inflating_threads
from genomamba_data_prep.compression import decompressed

T = TypeVar("T")
AHEAD = 2  # lots
POLL = 0.1  # seconds between looks at whether the reader should stop, or has
LOT_BYTES = 1 << 20  # of decompressed text: handing it over costs little beside parsing it


def decompressed_ahead(
    blocks: Iterable[bytes], path: str
) -> AbstractContextManager[Iterable[bytes]]:
    """``decompressed`` in threads: zlib lets others run, so that the cores share the reading."""
    return closing(prefetched(decompressed(blocks, path, inflating_threads()), LOT_BYTES, len))


def prefetched(
    items: Iterable[T], enough: int, size: Callable[[T], int]
) -> Generator[T, None, None]:
    """The items, read ahead of the consumer, who closes this if not at its end.

    Args:
        items: runs in the thread; what it raises is raised here, in its place.
        enough: size of a lot; ``AHEAD`` lots wait, and one is being read.
        size: of an item.
    """
    lots: Queue[list[T] | BaseException | None] = Queue(AHEAD)
    stop = Event()
    thread = Thread(target=_read, args=(items, enough, size, lots, stop), daemon=True)
    thread.start()
    try:
        while True:
            try:
                lot = lots.get(timeout=POLL)
            except Empty:
                assert thread.is_alive() or not lots.empty()
                continue
            if lot is None:
                return
            if isinstance(lot, BaseException):
                raise lot
            yield from lot
    finally:
        stop.set()
        thread.join()


def _read(
    items: Iterable[T],
    enough: int,
    size: Callable[[T], int],
    lots: Queue[list[T] | BaseException | None],
    stop: Event,
) -> None:
    lot: list[T] = []
    waiting = 0
    try:
        for item in items:
            lot.append(item)
            waiting += size(item)
            if waiting >= enough:
                if not _put(lots, lot, stop):
                    return
                lot, waiting = [], 0
        _put(lots, lot, stop)
        _put(lots, None, stop)
    except BaseException as error:  # to be raised where the items are used
        _put(lots, lot, stop)
        _put(lots, error, stop)


def _put(lots: Queue[Any], lot: Any, stop: Event) -> bool:
    """Whether there was room for it before the consumer left."""
    while not stop.is_set():
        try:
            lots.put(lot, timeout=POLL)
            return True
        except Full:
            continue
    return False
