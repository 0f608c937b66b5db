"""FASTA to store in one streaming pass that checks, hashes, counts and writes.

Memory stays at a few blocks whatever the genome's size, because the codes are written with ordinary
writes: pages of a written memory map would count as the process's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genomamba_data_prep.atomic import DISK_FULL, atomic_directory
from genomamba_data_prep.codes import BASE_BITS, SOFT_MASK, Codes, N
from genomamba_data_prep.compression import BLOCK_BYTES, decompressed, raw_blocks
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.faidx import check_index
from genomamba_data_prep.fasta import Piece, read_pieces
from genomamba_data_prep.n_index import NIndexWriter
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.store import (
    CODES_NAME,
    MANIFEST_NAME,
    N_RUNS_NAME,
    Manifest,
    Record,
    Source,
    Store,
)

FastaPath = str | os.PathLike[str]


def encode_fasta(
    fastas: FastaPath | Sequence[FastaPath],
    output: FastaPath,
    species: str | None = None,
    assembly: str | None = None,
    force: bool = False,
) -> Store:
    """Encode the FASTA files of one genome into a store, or return the store if it is there.

    Args:
        fastas: one or more files, plain, gzip or bgzip; their records follow one another.
        output: the folder to write; appears whole or not at all.
        species: None for the folder's name.
        assembly: None for the first file's name without its suffixes.
        force: rebuild a store that is there.

    Raises:
        InputError: bad input, or ``output`` is there and is not the store of these files.
    """
    paths = [fastas] if isinstance(fastas, str | os.PathLike) else list(fastas)
    output = Path(output)
    store = None if force else current_store(paths, output, species, assembly)
    return store or write_store(paths, output, species, assembly)


def current_store(
    fastas: Sequence[FastaPath], output: Path, species: str | None, assembly: str | None
) -> Store | None:
    """The store at ``output`` if it was made from exactly these files; None if nothing is there.

    The files are hashed again, about a second a gigabyte: sizes and dates would be faster, but a
    file that was edited in place, or copied with its date, must not pass for the old one.

    Raises:
        InputError: something else is there, or no species can have that name.
    """
    _check_species(species)
    if not output.exists():
        return None
    if not _is_store(output):
        raise InputError("exists and is not a store", file=output, fix="Choose another --output")
    store = Store.open(output)
    sources = store.manifest.sources
    if [source.bytes for source in sources] == [_size(path) for path in fastas]:
        with Progress("comparing with the store", sum(source.bytes for source in sources)) as bar:
            files = [HashedFile(path, bar) for path in fastas]
            same = all(
                file.read_all().sha256 == source.sha256
                for file, source in zip(files, sources, strict=True)
            )
    else:
        same = False
    if not same:
        problem = "is the store of other FASTA files, or they were edited since"
    elif species not in (None, store.species) or assembly not in (None, store.assembly):
        problem = f"is the store of species {store.species!r}, assembly {store.assembly!r}"
    else:
        return store
    raise InputError(
        problem, file=output, fix="Rebuild it with --force, or choose another --output"
    )


def write_store(
    fastas: Sequence[FastaPath], output: Path, species: str | None, assembly: str | None
) -> Store:
    """Write a store at ``output``, in the place of a store that is there.

    Raises:
        InputError: bad input, a full disk, or something that is not a store is there.
    """
    _check_species(species)
    if output.exists() and not _is_store(output):
        raise InputError("exists and is not a store", file=output, fix="Choose another --output")
    if species is None:
        species = output.resolve().name
    if assembly is None:
        assembly = Path(fastas[0]).name.split(".")[0]
    try:
        with _parents_of(output), atomic_directory(output, replace=True) as folder:
            records, sources, codes_sha256, n_runs = _write_codes(fastas, folder)
            manifest = Manifest(
                species, assembly, tuple(sources), codes_sha256, tuple(records), n_runs
            )
            manifest.write(folder / MANIFEST_NAME)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise InputError(
            f"cannot write the store: {error.strerror}",
            file=output,
            fix="Nothing was left there. A store takes one byte a base: free space or choose "
            "another --output",
        ) from error
    return Store.open(output)


def _write_codes(
    fastas: Sequence[FastaPath], folder: Path
) -> tuple[list[Record], list[Source], str, int]:
    """Write all records' codes and runs of N.

    Returns:
        The records, the sources, the codes' SHA-256 and the number of runs.
    """
    records: list[Record] = []
    sources: list[Source] = []
    names: dict[str, FastaPath] = {}
    codes_hash = hashlib.sha256()
    total = sum(_size(fasta) for fasta in fastas)
    with (
        open(folder / CODES_NAME, "wb", buffering=BLOCK_BYTES) as file,
        open(folder / N_RUNS_NAME, "wb") as n_file,
        Progress("encoding", total) as bar,
    ):
        n_runs = NIndexWriter(n_file)

        def write(codes: Codes, n: int) -> None:
            codes_hash.update(codes.data)
            file.write(codes.data)
            n_runs.add(codes, n)

        for fasta in fastas:
            hashed = HashedFile(fasta, bar)
            pieces = read_pieces(decompressed(hashed, fasta), fasta, names)
            offset = records[-1].offset + records[-1].length if records else 0
            new = count_records(pieces, offset, write)
            check_index(fasta, [(record.name, record.length) for record in new])
            records += new
            sources.append(hashed.source())
        n_runs.close()
    return records, sources, codes_hash.hexdigest(), n_runs.runs


def count_records(
    pieces: Iterable[Piece], offset: int = 0, write: Callable[[Codes, int], None] | None = None
) -> list[Record]:
    """Count the bases of a FASTA file's records.

    Args:
        pieces: as `read_pieces` gives them.
        offset: of the first record in the store.
        write: called with each piece's codes and how many of them are N, in order.
    """
    counts: list[_Counts] = []
    for piece in pieces:
        if piece.is_first:
            counts.append(_Counts(piece.name, offset))
        n_before = counts[-1].n
        counts[-1].add(piece)
        offset += len(piece.codes)
        if write is not None:
            write(piece.codes, counts[-1].n - n_before)
    return [Record(**vars(count)) for count in counts]


@dataclass
class _Counts:
    """A `Record` while its pieces pass."""

    name: str
    offset: int
    length: int = 0
    gc: int = 0
    n: int = 0
    soft_masked: int = 0
    ambiguous: int = 0
    uracil: int = 0

    def add(self, piece: Piece) -> None:
        codes = piece.codes
        self.length += len(codes)
        # Of the codes 0 to 4, C and G are those with bit 1 set after adding one, masked or not.
        self.gc += int(np.count_nonzero((codes + 1) & 2))
        self.n += int(np.count_nonzero((codes & BASE_BITS) == N))
        self.soft_masked += int(np.count_nonzero(codes >= SOFT_MASK))
        self.ambiguous += piece.ambiguous
        self.uracil += piece.uracil


class HashedFile:
    """A file's raw blocks, hashed as they pass."""

    def __init__(self, path: FastaPath, progress: Progress) -> None:
        self.path, self.progress = path, progress
        self.sha256, self.bytes = hashlib.sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        for block in raw_blocks(self.path):
            self.sha256.update(block)
            self.bytes += len(block)
            self.progress.advance(len(block))
            yield block

    def source(self) -> Source:
        """What was read; the whole file once the iterator has ended."""
        return Source(os.fspath(self.path), self.bytes, self.sha256.hexdigest())

    def read_all(self) -> Source:
        for _ in self:
            pass
        return self.source()


def _size(path: FastaPath) -> int:
    """The file's size; 0 for what is no regular file, such as a pipe, or what is not there."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _is_store(path: Path) -> bool:
    """Whether a folder holds a store of any version, and nothing that replacing it would lose."""
    names = set(os.listdir(path)) if path.is_dir() else set()
    return MANIFEST_NAME in names and names <= {MANIFEST_NAME, CODES_NAME, N_RUNS_NAME}


def _check_species(species: str | None) -> None:
    """Splits and tables name the species in a column: a tab or a line end would break it."""
    if species is not None and not (species.strip() and species.isprintable()):
        raise InputError(
            f"expected a species name of printable characters, got {species!r}",
            fix="Choose another --species",
        )


@contextmanager
def _parents_of(path: Path) -> Iterator[None]:
    """Make the folders that lead to ``path``; on an exception remove those that were made.

    Raises:
        InputError: one of them is a file.
    """
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise InputError(
                f"cannot be written: {parent} is a file",
                file=path,
                fix="Choose another --output",
            )
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        raise
