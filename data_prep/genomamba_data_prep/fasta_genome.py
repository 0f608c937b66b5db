"""A FASTA file read in place through pyfaidx, for those who do not want to encode: a slow store.

Same interface, same digest and same windows, bit for bit, as the store that `prepare encode` makes
of the file. The first opening reads the file once, as strictly as encoding does, and writes what it
learns into ``FASTA.genomamba/``: a store's manifest and runs of N, and pyfaidx's indices. If the
FASTA's folder cannot be written to, that goes to the user's cache folder. Every opening hashes the
file (about a second a gigabyte), so that an edited file never passes for the one that was indexed.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genomamba_data_prep.atomic import atomic_directory
from genomamba_data_prep.bgzip import BGZIP_EOF, is_bgzip
from genomamba_data_prep.codes import Codes, encode
from genomamba_data_prep.compression import GZIP_MAGIC, decompressed
from genomamba_data_prep.encode import HashedFile, count_records
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.fasta import read_pieces
from genomamba_data_prep.n_index import NIndexWriter
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.store import MANIFEST_NAME, N_RUNS_NAME, Manifest, Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyfaidx import Faidx

INDEX_SUFFIX = ".genomamba"
FAI_NAME, GZI_NAME = "index.fai", "index.gzi"
COMPRESSED_SUFFIXES = (".gz", ".bgz")  # pyfaidx goes by the name
CHECKED_TOGETHER = 1 << 22  # bases
ENCODE = "Encode it: genomamba prepare encode"


class FastaGenome(Store):
    """A genome's codes, fetched from its FASTA file. Each process opens the file for itself.

    Attributes:
        index: the folder of the indices.
    """

    def __init__(self, path: Path, manifest: Manifest, index: Path) -> None:
        super().__init__(path, manifest)
        self.index = index
        self._faidx: tuple[int, Faidx] | None = None  # with the process it belongs to

    @classmethod
    def open(cls, path: str | Path) -> FastaGenome:
        """Open a FASTA file, plain or bgzip; index it if that has not been done.

        Raises:
            InputError: not such a file, or its lines have no common width.
        """
        path = Path(path)
        _check_format(path)
        with Progress(f"hashing {path}", path.stat().st_size) as bar:
            source = HashedFile(path, bar).read_all()
        folders = [path.with_name(path.name + INDEX_SUFFIX), _cache_folder(path)]
        for folder in folders:
            manifest = _read_index(folder)
            if manifest is not None and manifest.sources[0][1:] == source[1:]:
                return cls(path, manifest, folder)
        folder = folders[0 if os.access(path.parent, os.W_OK) else 1]
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_directory(folder, replace=True) as temporary:
                manifest = _index(path, temporary)
        except OSError:
            # Another process, such as another rank, was faster and did the same.
            manifest = _read_index(folder)
            if manifest is None or manifest.sources[0][1:] != source[1:]:
                raise
        return cls(path, manifest, folder)

    def view(self, record: str) -> FastaRecordView:  # type: ignore[override]
        """A record's codes, fetched when they are sliced."""
        return FastaRecordView(self, record)

    def codes(self, record: str, start: int = 0, end: int | None = None) -> Codes:
        """As a store's; a copy."""
        place = self._place(record, start, end)
        if place.start == place.stop:
            return np.empty(0, dtype=np.uint8)
        if self._faidx is None or self._faidx[0] != os.getpid():
            # Processes that inherit one open file would share its position.
            self._faidx = os.getpid(), _open_faidx(self.path, self.index)
        letters = str(self._faidx[1].fetch(record, place.start + 1, place.stop))
        return encode(letters.encode())

    def will_need(self, offsets: Sequence[int], length: int) -> None:
        """Nothing: pyfaidx reads one window at a time."""

    @property
    def runs_path(self) -> Path:
        return self.index / N_RUNS_NAME

    def __reduce__(self) -> tuple[Any, ...]:
        return FastaGenome, (self.path, self.manifest, self.index)


class FastaRecordView:
    """A record's codes as an array that is read when it is sliced."""

    def __init__(self, genome: FastaGenome, record: str) -> None:
        self._genome, self._record = genome, record

    def __len__(self) -> int:
        return self._genome.records[self._record].length

    def __getitem__(self, place: slice) -> Codes:
        start, end, step = place.indices(len(self))
        assert step == 1
        return self._genome.codes(self._record, start, max(start, end))


def is_fasta(path: Path) -> bool:
    """Whether a file begins as FASTA does, or is compressed."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(2).startswith((b">", GZIP_MAGIC))


def _check_format(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(BGZIP_EOF))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    is_gzip = start.startswith(GZIP_MAGIC)
    if is_gzip and not is_bgzip(start):
        raise InputError(
            "the file is gzip, which cannot be read from the middle",
            file=path,
            fix=f"Compress it with bgzip: gunzip {path}; bgzip {path.with_suffix('')}. Or encode "
            "it: genomamba prepare encode",
        )
    if is_gzip != (path.suffix.lower() in COMPRESSED_SUFFIXES):
        raise InputError(
            f"the file is {'bgzip' if is_gzip else 'not compressed'}, and its name says otherwise",
            file=path,
            fix=f"Rename it: {' or '.join(COMPRESSED_SUFFIXES)} is for bgzip. Or encode it: "
            "genomamba prepare encode",
        )


def _cache_folder(path: Path) -> Path:
    """Where the index goes that cannot lie beside the file."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    return cache / "genomamba" / f"{path.name}.{name}{INDEX_SUFFIX}"


def _read_index(folder: Path) -> Manifest | None:
    """The manifest of an index that is there and whole, of this version; else None."""
    if not (folder / FAI_NAME).is_file() or not (folder / N_RUNS_NAME).is_file():
        return None
    try:
        manifest = Manifest.read(folder)
    except InputError:
        return None
    return manifest if manifest.n_runs is not None else None


def _index(path: Path, folder: Path) -> Manifest:
    """Read the file once, as encoding does, and write the index."""
    codes_hash = hashlib.sha256()
    size = path.stat().st_size
    with Progress(f"indexing {path}", size) as bar, (folder / N_RUNS_NAME).open("wb") as file:
        hashed, runs = HashedFile(path, bar), NIndexWriter(file)

        def pass_on(codes: Codes, n: int) -> None:
            codes_hash.update(codes.data)
            runs.add(codes, n)

        records = count_records(read_pieces(decompressed(hashed, path), path), 0, pass_on)
        runs.close()
    name = path.name.split(".")[0]
    sources, sha256 = (hashed.source(),), codes_hash.hexdigest()
    manifest = Manifest(name, name, sources, sha256, tuple(records), runs.runs)
    _build_faidx(path, folder, manifest)
    manifest.write(folder / MANIFEST_NAME)
    return manifest


def _build_faidx(path: Path, folder: Path, manifest: Manifest) -> None:
    """Let pyfaidx index the file, and read it all through the index once.

    pyfaidx takes some files whose lines are not all of one width and then returns other bases.
    """
    from pyfaidx import FastaIndexingError

    total = sum(record.length for record in manifest.records)
    codes_hash = hashlib.sha256()
    try:
        with _open_faidx(path, folder) as faidx, Progress(f"checking {path}", total) as bar:
            found = {name: entry.rlen for name, entry in faidx.index.items()}
            if found == {record.name: record.length for record in manifest.records}:
                for name, length in found.items():
                    for at in range(0, length, CHECKED_TOGETHER):
                        end = min(at + CHECKED_TOGETHER, length)
                        letters = str(faidx.fetch(name, at + 1, end))
                        codes_hash.update(encode(letters.encode()).data)
                        bar.advance(end - at)
    # A RuntimeError is what it makes of lines that it does not expect.
    except (FastaIndexingError, UnicodeDecodeError, RuntimeError) as error:
        raise InputError(
            f"pyfaidx cannot index it: {' '.join(str(error).split())}",
            file=path,
            fix=f"All lines of a record but the last need one width. {ENCODE}, which takes any",
        ) from None
    if codes_hash.hexdigest() != manifest.codes_sha256:
        raise InputError(
            "pyfaidx finds other records in it than we do",
            file=path,
            fix=f"All lines of a record but the last need one width. {ENCODE}, which takes any",
        )


def _open_faidx(path: Path, folder: Path) -> Faidx:
    from pyfaidx import BgzfBlock, Faidx  # slow to import: only for those who need it

    class Block(BgzfBlock):
        def __lt__(self, other: int) -> bool:
            # pyfaidx looks for the last block that is less than a position. One that begins there
            # must count as less: the one before it, if it is full, has no such offset.
            return self.ustart <= other

    with warnings.catch_warnings():
        # Of a file that is newer than its index; its hash has shown that it is the same.
        warnings.simplefilter("ignore", RuntimeWarning)
        faidx = Faidx(
            str(path),
            indexname=str(folder / FAI_NAME),
            gzi_indexname=str(folder / GZI_NAME),
            as_raw=True,
            rebuild=False,
        )
    if path.suffix.lower() in COMPRESSED_SUFFIXES:
        blocks: list[BgzfBlock] = [
            Block(block.cstart, block.clen, block.ustart, block.ulen) for block in faidx.gzi_index
        ]
        faidx.gzi_index = blocks
    return faidx
