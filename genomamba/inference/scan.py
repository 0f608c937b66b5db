"""Reads all input once before any work: what there is, what is wrong with it, and its digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from genomamba.inference.fasta_records import Part, pieces, split_records
from genomamba.inference.inputs import Source
from genomamba.inference.prefetch import decompressed_ahead
from genomamba_data_prep.codes import BASE_BITS, N
from genomamba_data_prep.compression import raw_blocks
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.progress import Progress


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the input, or what stands in its place.

    Attributes:
        source: index of its file among the sources.
        number: its number in the file, from 0.
        name: "" if it cannot be read.
        length: bases.
        n_count: how many of them are N or another ambiguity letter.
        reason: why it is not classified; "" if it is.
    """

    source: int
    number: int
    name: str
    length: int
    n_count: int
    reason: str = ""


@dataclass(frozen=True)
class Scan:
    """All input: the records in order, each file's SHA-256 and signature, and what is wrong."""

    records: list[Record]
    digests: list[str]
    signatures: list[tuple[int, ...]]
    errors: list[InputError]


def scan(sources: Sequence[Source], wanted: Iterable[str], keep_going: bool) -> Scan:
    """Read every file to its end.

    Args:
        sources: the files.
        wanted: take only the records of these names; none is all.
        keep_going: collect what is wrong, in place of raising it.

    Raises:
        InputError: the first thing that is wrong, unless ``keep_going``; a wanted record that no
            file has; a file that changed while it was read.
    """
    found = Scan([], [], [], [])
    names: dict[tuple[str, str], str] = {}
    wanted = set(wanted)
    missing = set(wanted)
    with Progress("checking the input", sum(_size(source) for source in sources)) as progress:
        for index, source in enumerate(sources):
            file = _File(index, source, progress)
            for record, error in file.records():
                if error is None and (wanted and record.name not in wanted):
                    continue
                missing.discard(record.name)
                error = error or _repeated(record, source, names)
                if error is not None:
                    if not keep_going:
                        raise error
                    found.errors.append(error)
                    record = replace(record, reason=str(error))
                found.records.append(record)
            found.digests.append(file.digest.hexdigest())
            found.signatures.append(file.signature)
    if missing:
        raise InputError(
            f"--records: in none of the files: {', '.join(sorted(missing))}",
            fix="`genomamba prepare inspect FASTA` lists the names",
        )
    return found


def check_unchanged(source: Source, signature: tuple[int, ...]) -> None:
    """That a file is still the one that was scanned.

    Raises:
        InputError: it is not.
    """
    if source.signature() != signature:
        raise InputError(
            "the file has changed while it was read",
            file=source.name,
            fix="Wait until it is complete, then remove the .parts folder and start again",
        )


def _size(source: Source) -> int:
    return source.path.stat().st_size if source.path.is_file() else 0


def _repeated(
    record: Record, source: Source, names: dict[tuple[str, str], str]
) -> InputError | None:
    key = (source.sample, record.name)
    if key not in names:
        names[key] = source.name
        return None
    first = names[key]
    if first == source.name:
        what, fix = "the name occurs twice in this file", "Rename one of the records"
    else:
        what = f"sample {source.sample} has this name in two files, first in {first}"
        fix = "Give the files samples of their own: --samples SHEET.tsv"
    return InputError(what, file=source.name, record=record.name, fix=fix)


class _File:
    """One file on its way through; digest and signature are whole when ``records`` is used up."""

    def __init__(self, index: int, source: Source, progress: Progress) -> None:
        self.index, self.source, self._progress = index, source, progress
        self.digest = hashlib.sha256()
        self.signature: tuple[int, ...] = ()

    def _hashed(self) -> Iterator[bytes]:
        for block in raw_blocks(self.source.path):
            self.digest.update(block)
            self._progress.advance(len(block))
            yield block

    def records(self) -> Iterator[tuple[Record, InputError | None]]:
        try:
            self.signature = self.source.signature()
        except InputError as error:
            yield Record(self.index, 0, "", 0, 0), error
            return
        raw = self._hashed()
        number = -1
        try:
            with decompressed_ahead(raw, self.source.name) as blocks:
                for number, parts in split_records(blocks):
                    yield self._record(number, parts)
            if number < 0:
                list(pieces(iter(()), self.source.name))  # says that the file is empty
        except InputError as error:  # of the file, not of a record
            yield Record(self.index, number + 1, "", 0, 0), error
        for _ in raw:  # what follows the damage is part of the digest
            pass
        check_unchanged(self.source, self.signature)

    def _record(self, number: int, parts: Iterator[Part]) -> tuple[Record, InputError | None]:
        name, length, n_count = "", 0, 0
        try:
            for piece in pieces(parts, self.source.name):
                name = piece.name
                length += len(piece.codes)
                n_count += int(np.count_nonzero((piece.codes & BASE_BITS) == N))
        except InputError as error:
            return Record(self.index, number, error.record or name, length, n_count), error
        return Record(self.index, number, name, length, n_count), None
