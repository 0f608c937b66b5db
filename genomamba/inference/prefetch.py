"""Reads ahead in a thread, so that the model does not wait for files to be decompressed."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from queue import Empty, Full, Queue
from threading import Event, Thread

from genomamba.inference.reading import Piece

AHEAD = 2  # lots
POLL = 0.1  # seconds between looks at whether the reader should stop, or has


def prefetched(pieces: Iterable[Piece], bases: int) -> Generator[Piece, None, None]:
    """The pieces, read ahead of the consumer.

    Args:
        pieces: runs in the thread; what it raises is raised here, in its place.
        bases: a lot; ``AHEAD`` of them wait, and one is being read.
    """
    lots: Queue[list[Piece] | BaseException | None] = Queue(AHEAD)
    stop = Event()
    thread = Thread(target=_read, args=(pieces, bases, lots, stop), daemon=True)
    thread.start()
    try:
        while True:
            try:
                lot = lots.get(timeout=POLL)
            except Empty:
                assert thread.is_alive()
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
    pieces: Iterable[Piece],
    bases: int,
    lots: Queue[list[Piece] | BaseException | None],
    stop: Event,
) -> None:
    lot: list[Piece] = []
    waiting = 0
    try:
        for piece in pieces:
            lot.append(piece)
            waiting += len(piece.codes)
            if waiting >= bases:
                if not _put(lots, lot, stop):
                    return
                lot, waiting = [], 0
        _put(lots, lot, stop)
        _put(lots, None, stop)
    except BaseException as error:  # to be raised where the pieces are used
        _put(lots, lot, stop)
        _put(lots, error, stop)


def _put(
    lots: Queue[list[Piece] | BaseException | None],
    lot: list[Piece] | BaseException | None,
    stop: Event,
) -> bool:
    """Whether there was room for it before the consumer left."""
    while not stop.is_set():
        try:
            lots.put(lot, timeout=POLL)
            return True
        except Full:
            continue
    return False
