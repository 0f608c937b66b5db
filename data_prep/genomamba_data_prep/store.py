"""The encoded store: a genome with one byte a base, memory-mapped, and a manifest beside it.

``STORE/codes.bin`` holds the codes (`genomamba_data_prep.codes`) of all records one after another,
in file order, without separators; ``STORE/n_runs.bin`` says where the N are
(`genomamba_data_prep.n_index`), ``STORE/manifest.json`` what it all is. A store is written once
(`genomamba_data_prep.encode`) and only read afterwards. Coordinates are 0-based, half-open.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from genomamba_data_prep.codes import Codes
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.n_index import ROW_BYTES, NIndex
from genomamba_data_prep.store_check import HASH_FIELD, check_dates, check_manifest, content_hash

FORMAT = "genomamba-store"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)  # version 1 has no n_runs.bin: windows' N are counted base by base
MANIFEST_NAME = "manifest.json"
CODES_NAME = "codes.bin"
N_RUNS_NAME = "n_runs.bin"


class Source(NamedTuple):
    """A FASTA file that a store was made from, as it was named and as it lay on disk."""

    path: str
    bytes: int
    sha256: str


class Record(NamedTuple):
    """A FASTA record in a store; every count is in bases.

    Attributes:
        name: first word of the header line.
        length: number of bases.
        offset: where the record begins in ``codes.bin``.
        gc: bases that are C or G.
        n: bases that are N, the ambiguous ones included.
        soft_masked: bases in lower case.
        ambiguous: IUPAC letters of two or three bases, which were read as N.
        uracil: letters U, which were read as T.
    """

    name: str
    length: int
    offset: int
    gc: int
    n: int
    soft_masked: int
    ambiguous: int
    uracil: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``manifest.json`` says beside its format and version.

    Attributes:
        species: whose genome it is.
        assembly: its name.
        sources: the FASTA files.
        codes_sha256: of ``codes.bin``.
        records: in file order.
        n_runs: rows of ``n_runs.bin``; None in version 1, which has no such file.
    """

    species: str
    assembly: str
    sources: tuple[Source, ...]
    codes_sha256: str
    records: tuple[Record, ...]
    n_runs: int | None

    def write(self, path: Path) -> None:
        head = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "species": self.species,
            "assembly": self.assembly,
            "sources": [source._asdict() for source in self.sources],
            "codes_sha256": self.codes_sha256,
            "n_runs": self.n_runs,
        }
        rows = [record._asdict() for record in self.records]
        head[HASH_FIELD] = content_hash(head | {"records": rows})
        fields = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
        # A line a record: readable, and ten times faster than json's indentation for many contigs.
        records = ",\n".join(json.dumps(row) for row in rows)
        fields.append(f'"records": [\n{records}\n]')
        path.write_text("{\n" + ",\n".join(fields) + "\n}\n", encoding="utf-8")

    @classmethod
    def read(cls, store: Path) -> Manifest:
        """Read a store's manifest.

        Raises:
            InputError: no manifest, a damaged one, or one of another version.
        """
        content = _read_json(store)
        if content["version"] not in READABLE_VERSIONS:
            raise InputError(
                f"the store has format version {content['version']}, this genomamba reads version "
                f"{' and '.join(map(str, READABLE_VERSIONS))}",
                file=store,
                fix=f"Rebuild it: {_rebuild_command(store, content)}",
            )
        has_hash = content["version"] > 1 or HASH_FIELD in content
        if has_hash and content.get(HASH_FIELD) != content_hash(content):
            raise InputError(
                "the store's manifest was edited after it was written",
                file=store / MANIFEST_NAME,
                fix=f"Rebuild it: {_rebuild_command(store, content)}",
            )
        try:
            manifest = cls(
                species=content["species"],
                assembly=content["assembly"],
                sources=tuple(Source(**source) for source in content["sources"]),
                codes_sha256=content["codes_sha256"],
                records=tuple(Record(**record) for record in content["records"]),
                n_runs=None if content["version"] == 1 else content["n_runs"],
            )
            check_manifest(manifest)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the store's manifest is damaged: {error}",
                file=store / MANIFEST_NAME,
                fix=f"Rebuild it: {_rebuild_command(store, content)}",
            ) from None
        return manifest


def _read_json(store: Path) -> dict[str, Any]:
    """The manifest's content, of any version, if it is a store's at all."""
    path = store / MANIFEST_NAME
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        found = f"it has no {MANIFEST_NAME}" if store.exists() else "no such folder"
        raise InputError(
            f"not a store: {found}",
            file=store,
            fix="A store is the folder that `genomamba prepare encode --output` writes",
        ) from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT or "version" not in content:
        raise InputError("not the manifest of a genomamba store, or damaged", file=path)
    return content


def _rebuild_command(store: Path, manifest: dict[str, Any]) -> str:
    """The command that makes the store again; FASTA... where the manifest does not name files."""
    try:
        sources = [str(source["path"]) for source in manifest["sources"]]
    except (KeyError, TypeError):
        sources = ["FASTA..."]
    command = ["genomamba", "prepare", "encode", *sources, "--output", str(store)]
    for option in ("species", "assembly"):
        if manifest.get(option):
            command += [f"--{option}", str(manifest[option])]
    return shlex.join([*command, "--force"])


class Store:
    """A genome's codes, read through a memory map. Cheap to open, to copy and to send to a worker.

    Attributes:
        path: the store's folder.
        records: the records by name, in file order.
        digest: SHA-256 over record names, lengths and codes: equal for the same sequence, however
            its FASTA was wrapped, compressed or split into files.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.records: Mapping[str, Record] = MappingProxyType(
            {record.name: record for record in manifest.records}
        )
        layout = [[record.name, record.length] for record in manifest.records]
        content = json.dumps([manifest.codes_sha256, layout])
        self.digest = hashlib.sha256(content.encode()).hexdigest()
        self._n_index: NIndex | None = None

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a store's folder.

        Raises:
            InputError: not a store, of another format version, damaged, incomplete or edited.
        """
        path = Path(path)
        manifest = Manifest.read(path)
        sizes = {CODES_NAME: sum(record.length for record in manifest.records)}
        if manifest.n_runs is not None:
            sizes[N_RUNS_NAME] = manifest.n_runs * ROW_BYTES
        for name, expected in sizes.items():
            found = (path / name).stat().st_size if (path / name).is_file() else None
            if found != expected:
                problem = "is missing" if found is None else f"has {found} bytes"
                raise InputError(
                    f"{name} {problem}, the manifest says {expected} bytes",
                    file=path,
                    fix=f"Rebuild it: {_rebuild_command(path, _read_json(path))}",
                )
        store = cls(path, manifest)
        check_dates(manifest, path / MANIFEST_NAME, store.files)
        return store

    @property
    def files(self) -> list[Path]:
        """``codes.bin`` and, from version 2, ``n_runs.bin``."""
        return [self.path / CODES_NAME] + (
            [self.runs_path] if self.manifest.n_runs is not None else []
        )

    @property
    def species(self) -> str:
        return self.manifest.species

    @property
    def assembly(self) -> str:
        return self.manifest.assembly

    def codes(self, record: str, start: int = 0, end: int | None = None) -> Codes:
        """Bases ``start`` to ``end`` of a record, soft-mask bit included.

        Args:
            record: the record's name.
            start: first base, from 0.
            end: one past the last base; None for the record's length.

        Returns:
            A read-only view of the memory map, shape (end - start,).

        Raises:
            InputError: no such record.
            ValueError: the interval is not within the record.
        """
        place = self._place(record, start, end)
        return self.view(record)[place]

    def view(self, record: str) -> Codes:
        """All codes of a record, to be sliced."""
        place = self.records[record]
        return np.frombuffer(self._map, np.uint8, place.length, place.offset)

    @cached_property
    def _map(self) -> mmap.mmap:
        with (self.path / CODES_NAME).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def will_need(self, offsets: Sequence[int], length: int) -> None:
        """Start reading windows of ``length`` bases at these places of ``codes.bin`` from the disk.

        Where the store is not in memory, and may be larger than it, this reads all windows at once
        and nothing else; a page fault at a time would wait for each and read what lies around it.
        """
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        for offset in offsets:
            begin = offset - offset % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, begin, offset + length - begin)

    def _place(self, record: str, start: int, end: int | None) -> slice:
        """The checked interval."""
        place = self.records.get(record)
        if place is None:
            raise self.unknown_record(record)
        if end is None:
            end = place.length
        if not 0 <= start <= end <= place.length:
            raise ValueError(
                f"expected 0 <= start <= end <= {place.length} in record {record}, "
                f"got start {start}, end {end}"
            )
        return slice(start, end)

    @property
    def runs_path(self) -> Path:
        """The file of the runs of N."""
        return self.path / N_RUNS_NAME

    @property
    def n_index(self) -> NIndex | None:
        """The runs of N, in coordinates of ``codes.bin``; None in a store of version 1.

        Raises:
            InputError: they are not those that the manifest counts.
        """
        if self._n_index is None and self.manifest.n_runs is not None:
            expected = sum(record.n for record in self.manifest.records)
            self._n_index = NIndex.read(self.runs_path, expected)
        return self._n_index

    def unknown_record(self, record: str) -> InputError:
        """The error that says that this store has no such record, with the nearest name."""
        near = get_close_matches(record, self.records, 1)
        return InputError(
            f"the store has no record {record!r}",
            file=self.path,
            fix=f"Did you mean {near[0]}?" if near else "`genomamba prepare inspect` lists them",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A map would be pickled as gigabytes of codes; each process makes its own when it reads.
        return Store, (self.path, self.manifest)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, species={self.species!r}, {len(self.records)} records)"
