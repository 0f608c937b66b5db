"""One process a job: the kernel's lock on a file, gone with the process however that ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genomamba_data_prep.errors import InputError


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file, which says who holds it.

    Args:
        path: the lock file; made if needed. A file left by a dead process holds nothing.
        shared: others may share it; nobody may hold it alone.

    Raises:
        InputError: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(path) from None
        if not _is_at(path, descriptor):  # the holder before us finished and removed it
            raise _held(path)
        os.ftruncate(descriptor, 0)
        if not shared:
            holder = {"pid": os.getpid(), "host": socket.gethostname()}
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _held(path: Path) -> InputError:
    try:
        holder = json.loads(path.read_text())
        who = f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process, or a task of an array,"
    return InputError(
        f"{who} is working on this output",
        file=path.parent,
        fix="Wait for it or end it; a process that was killed holds nothing",
    )
