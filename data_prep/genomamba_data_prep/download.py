"""Brings a set of published files into a folder: fetched or taken from another, checked, recorded.

``genomamba-lock.json`` in the folder holds each file's size and SHA-256 as they came. Where the
publisher gives a checksum it decides; where none is known, size and gzip are checked and the lock
file holds what came first: a file that differs from it later is an error, here or on the server.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.compression import decompressed, raw_blocks
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.http_fetch import NotThere, fetch, read_small
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.sources import RemoteFile

LOCK_NAME = "genomamba-lock.json"


class Locked(NamedTuple):
    """A file as it came.

    Attributes:
        origin: the URL or path that it came from.
        bytes: its size.
        sha256: of its bytes.
        checked: the publisher's checksum that it has, or "unknown".
    """

    origin: str
    bytes: int
    sha256: str
    checked: str


def bring(file: RemoteFile, folder: Path, take_from: Path | None = None) -> str:
    """Have one file in the folder, whole and checked.

    Args:
        file: which.
        folder: where; exists.
        take_from: a folder that has the file under its own or its URL's name; None to download.

    Returns:
        What was done: "up to date", "taken", "downloaded".

    Raises:
        InputError: not to be had, or not what it should be; nothing is then under its name that
            was not there before.
    """
    target = folder / file.name
    lock = read_lock(folder)
    known = lock.get(file.name)
    if target.exists():
        # One that is known was compared with the publisher's checksum when it came.
        published = file.checksum if known or take_from else _published(file)
        found = check(target, file, known, known.origin if known else str(target), published)
        _write_lock(folder, lock | {file.name: found})
        return "up to date"
    if take_from is not None:
        given = _given(file, take_from)
        found = check(given, file, known, str(given), file.checksum)
        _copy(given, target)
        _write_lock(folder, lock | {file.name: found})
        return "taken"
    part = _download(file, target)
    try:
        found = check(part, file, known, file.urls[0], _published(file))
    except InputError:
        part.unlink()  # or the next run would continue it
        raise
    _write_lock(folder, lock | {file.name: found})
    os.replace(part, target)
    return "downloaded"


def check(
    path: Path, file: RemoteFile, known: Locked | None, origin: str, published: str | None
) -> Locked:
    """Read a file once and compare it with all that is known about it.

    Raises:
        InputError: it has another size or checksum, or is a damaged or cut gzip file.
    """
    sha256, published_hash = hashlib.sha256(), None
    algorithm, _, expected = (published or "").partition(":")
    if published:
        published_hash = hashlib.new(algorithm, usedforsecurity=False)
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        raise _wrong(path, f"has {size:,} bytes, the published file {file.bytes:,}")
    with Progress(f"checking {file.name}", size) as progress:

        def hashed() -> Iterator[bytes]:
            for block in raw_blocks(path):
                sha256.update(block)
                if published_hash is not None:
                    published_hash.update(block)
                progress.advance(len(block))
                yield block

        # One that is known was decompressed when it came; its SHA-256 tells that it is the same.
        for _ in hashed() if known else decompressed(hashed(), path):
            pass
    if file.name.endswith(".gz") and not _is_gzip(path):
        raise _wrong(path, "is not gzip; a server's message, perhaps, instead of the file")
    if published_hash is not None and published_hash.hexdigest() != expected:
        found = published_hash.hexdigest()
        raise _wrong(path, f"has the {algorithm} {found}, the publisher says {expected}")
    if known is not None and known.sha256 != sha256.hexdigest():
        raise InputError(
            f"has the SHA-256 {sha256.hexdigest()}; {LOCK_NAME} says that it was {known.sha256} "
            "when it first came",
            file=path,
            fix="Restore the file that came first; to accept another one, delete its entry there",
        )
    checked = known.checked if known else "unknown"
    return Locked(origin, size, sha256.hexdigest(), published or checked)


def read_lock(folder: Path) -> dict[str, Locked]:
    """The lock file's entries by file name; none where there is no lock file.

    Raises:
        InputError: the lock file is damaged.
    """
    path = folder / LOCK_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: Locked(**entry) for name, entry in content.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"the lock file is damaged: {error}",
            file=path,
            fix="Restore it, or delete it to record the files anew",
        ) from None


def _write_lock(folder: Path, lock: dict[str, Locked]) -> None:
    if lock != read_lock(folder):
        content = {name: entry._asdict() for name, entry in sorted(lock.items())}
        with atomic_file(folder / LOCK_NAME) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _given(file: RemoteFile, folder: Path) -> Path:
    names = [file.name, *(url.rpartition("/")[2] for url in file.urls)]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"has none of the files {', '.join(dict.fromkeys(names))}",
        file=folder,
        fix=f"Download it there from {file.urls[0]}, or leave --from out",
    )


def _copy(given: Path, target: Path) -> None:
    """A hard link where the file system allows it: a genome is a gigabyte. Otherwise a copy."""
    with suppress(OSError):
        os.link(given.resolve(), target)
        return
    with atomic_file(target) as temporary:
        shutil.copyfile(given, temporary)


def _download(file: RemoteFile, target: Path) -> Path:
    try:
        return fetch(file.urls, target)
    except NotThere as error:
        raise InputError(
            f"cannot be downloaded: {error}",
            file=target,
            fix="The publisher may have moved it: find it by its accession "
            f"{file.accession or file.assembly}, and take it with --from DIR",
        ) from None


def _published(file: RemoteFile) -> str | None:
    """The checksum that the table or the publisher's list gives; None where there is none."""
    if file.checksum or not file.checksums:
        return file.checksum
    for url in file.urls:
        folder, _, name = url.rpartition("/")
        try:
            lines = read_small(f"{folder}/{file.checksums}").decode("ascii", "replace").splitlines()
        except NotThere:
            continue
        for line in lines:
            words = line.split()
            if len(words) == 2 and words[1].removeprefix("*").removeprefix("./") == name:
                return f"md5:{words[0].lower()}"
    print(
        f"{file.name}: the publisher's {file.checksums} does not give its checksum; size and gzip "
        f"are checked, its SHA-256 is recorded in {LOCK_NAME}",
        file=sys.stderr,
    )
    return None


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _wrong(path: Path, what: str) -> InputError:
    if path.name.endswith(".part"):
        fix = "What came was deleted: run the command again"
    else:
        fix = "Delete it and run the command again, or restore it"
    return InputError(what, file=path, fix=fix)
