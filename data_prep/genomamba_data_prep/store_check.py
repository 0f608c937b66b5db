"""Whether a store still is what was encoded.

Its manifest carries a hash of itself and one of ``codes.bin``. The first is compared at every
opening; the second, which takes a second a gigabyte, only where a file is newer than the manifest,
which is written last: an edited file is, unless someone sets its date back. `prepare inspect
--verify` compares it in any case.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genomamba_data_prep.codes import N
from genomamba_data_prep.compression import raw_blocks
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.n_index import NIndexWriter
from genomamba_data_prep.progress import Progress

if TYPE_CHECKING:
    from genomamba_data_prep.store import Manifest

HASH_FIELD = "sha256"


def content_hash(content: dict[str, Any]) -> str:
    """SHA-256 of a manifest's content, however it is laid out, without the field of the hash."""
    fields = {name: value for name, value in content.items() if name != HASH_FIELD}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_manifest(manifest: Manifest) -> None:
    """That a manifest describes a store: types, counts, records one after another.

    Raises:
        ValueError: it does not; says what.
    """
    texts = (manifest.species, manifest.assembly, manifest.codes_sha256)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("species, assembly and codes_sha256 are not all text")
    if not all(isinstance(source.path, str) for source in manifest.sources):
        raise ValueError("a source's path is not text")
    offset, names = 0, set()
    for record in manifest.records:
        name, *counts = record
        if not isinstance(name, str) or not name or name in names:
            raise ValueError(f"the record name {name!r} is none, or occurs twice")
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError(f"record {name}: a count is not a whole number from 0")
        most = max(record.gc + record.n, record.soft_masked, record.ambiguous, record.uracil)
        if record.offset != offset or record.length < 1 or most > record.length:
            raise ValueError(f"record {name}: length, offset and counts do not fit each other")
        offset += record.length
        names.add(name)
    if not names:
        raise ValueError("it has no records")
    if manifest.n_runs is not None and (type(manifest.n_runs) is not int or manifest.n_runs < 0):
        raise ValueError("n_runs is not a whole number from 0")


def check_dates(manifest: Manifest, manifest_path: Path, files: list[Path]) -> None:
    """Hash the store's files if one of them is newer than the manifest.

    Raises:
        InputError: they are not those that were encoded.
    """
    newest = max(file.stat().st_mtime_ns for file in files)
    if newest <= manifest_path.stat().st_mtime_ns:
        return
    verify(manifest, files)
    with suppress(OSError):  # so that a copy whose dates are in disorder is hashed only once
        os.utime(manifest_path, ns=(newest, newest))


def verify(manifest: Manifest, files: list[Path]) -> None:
    """Compare the store's files with what was encoded.

    Args:
        manifest: the store's.
        files: ``codes.bin`` and, if the store has it, ``n_runs.bin``.

    Raises:
        InputError: they differ.
    """
    codes_path, *runs_path = files
    sha256, runs = hashlib.sha256(), io.BytesIO()
    writer = NIndexWriter(runs)
    with Progress(f"checking {codes_path}", codes_path.stat().st_size) as progress:
        for block in raw_blocks(codes_path):
            sha256.update(block)
            codes = np.frombuffer(block, dtype=np.uint8)
            writer.add(codes, int(np.count_nonzero(codes & N)))
            progress.advance(len(block))
    writer.close()
    if sha256.hexdigest() != manifest.codes_sha256:
        raise InputError(
            f"was edited after it was encoded: its SHA-256 is {sha256.hexdigest()}, the manifest "
            f"says {manifest.codes_sha256}",
            file=codes_path,
            fix="Encode the genome again with --force",
        )
    if runs_path and runs_path[0].read_bytes() != runs.getvalue():
        raise InputError(
            "was edited after it was encoded: its runs are not those of the N in the codes",
            file=runs_path[0],
            fix="Encode the genome again with --force",
        )
