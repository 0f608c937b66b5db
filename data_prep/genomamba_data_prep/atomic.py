"""Outputs that appear whole or not at all: a temporary name beside the target, fsync, rename."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genomamba_data_prep.errors import InputError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def sync_directory(path: Path) -> None:
    """Flush a directory's entries, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_folder(target: Path) -> None:
    """That the target's folder is there and writable.

    The system's own words would name the temporary file, which a user has never heard of.

    Raises:
        InputError: it is not.
    """
    if target.parent.exists() and not target.parent.is_dir():
        raise InputError(
            f"cannot be written: {target.parent} is a file",
            file=target,
            fix="Choose another place for the output",
        )
    if not target.parent.is_dir():
        raise InputError(
            "cannot be written: its folder does not exist",
            file=target,
            fix=f"Make it: mkdir -p {shlex.quote(str(target.parent))}",
        )
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(
            "cannot be written: its folder is not writable",
            file=target,
            fix="Choose another place for the output",
        )


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Have a full disk's error name the target: the system's names no file, or a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(target)) from error


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def atomic_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; on success rename it onto ``target``.

    On any exception, a keyboard interrupt included, the temporary file goes and ``target`` is as it
    was. The name keeps the target's suffixes, so that writers which choose a format by suffix work.

    Raises:
        InputError: the target's folder does not exist or cannot be written to, or the target is
            a folder itself.
    """
    target = Path(target)
    _check_folder(target)
    if target.is_dir():
        raise InputError("is a folder, not a file", file=target, fix="Choose another name")
    descriptor, name = tempfile.mkstemp(
        prefix=f".{target.name}.", suffix="".join(target.suffixes), dir=target.parent
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        with _naming(target):
            yield temporary
            temporary.chmod(0o666 & ~_current_umask())  # mkstemp's 0600 is not what users expect
            _sync_file(temporary)
            temporary.replace(target)
            sync_directory(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(target: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``; on success rename it to ``target``.

    Args:
        target: the folder to create.
        replace: move an existing ``target`` away first and delete it after the rename. Without it
            an existing ``target`` raises ``FileExistsError`` before anything is written.

    Raises:
        InputError: the target's folder does not exist or cannot be written to.
    """
    target = Path(target)
    if target.exists() and not replace:
        raise FileExistsError(17, "already exists", str(target))
    _check_folder(target)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with _naming(target):
            yield temporary
            temporary.chmod(0o777 & ~_current_umask())
            for path in temporary.rglob("*"):
                _sync_file(path)
            sync_directory(temporary)
            if target.exists():
                retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
                target.rename(retired / target.name)
                temporary.rename(target)
                shutil.rmtree(retired)
            else:
                temporary.rename(target)
            sync_directory(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
