"""Frozen evaluation sets: windows drawn once, written with their hash, and only read afterwards.

A manifest is a Parquet file with the columns species, record (common name), start, end, strand
("+" or "-") and label; 0-based, half-open. Its metadata (key ``genomamba``, JSON) say how it was
drawn, from which data, and the SHA-256 of that and the rows; beside it lies FILE.sha256, of the
whole file, in the format of sha256sum.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.audit.windows import choose_windows
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.frozen import other_content
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval
from genomamba_data_prep.window_reader import FORWARD, REVERSE, Int64
from genomamba_data_prep.windows import WindowSampler

FORMAT_VERSION = 1
METADATA_KEY = b"genomamba"
SCHEMA = pa.schema(
    [
        ("species", pa.string()),
        ("record", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("strand", pa.string()),
        ("label", pa.int64()),
    ]
)
SIGNS = {FORWARD: "+", REVERSE: "-"}


@dataclass(frozen=True)
class Origin:
    """How a manifest's windows were drawn, and from which data."""

    seed: int
    length: int
    classes: tuple[str, ...]
    set_digest: str
    split: str
    splits_digest: str
    weight_by_length: bool
    max_n_fraction: float
    reverse_complement: bool
    refused: dict[str, int]
    apart: bool = False  # laid end to end instead of drawn anywhere

    def as_dict(self) -> dict[str, Any]:
        """Its fields; without ``apart`` where it is false, as in files from before it was there."""
        fields = asdict(self)
        return fields if self.apart else {k: v for k, v in fields.items() if k != "apart"}


@dataclass(frozen=True)
class Manifest:
    """A verified manifest, ready to read windows from. Letters: B windows.

    Attributes:
        path: the Parquet file.
        origin: how it was drawn.
        digest: SHA-256 of rows and origin.
        table: the rows.
    """

    path: Path
    origin: Origin
    digest: str
    table: pa.Table

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def length(self) -> int:
        """Window length in bases."""
        return self.origin.length

    @property
    def labels(self) -> Int64:
        """Class of each window, shape (B,)."""
        return self.table["label"].to_numpy()


def draw_manifest(sampler: WindowSampler, windows: int) -> tuple[pa.Table, dict[str, int]]:
    """Draw examples 0 to ``windows`` - 1.

    Returns:
        The rows, and how many draws were refused, by reason.
    """
    drawn = sampler.draw(np.arange(windows))
    intervals = [sampler.intervals[number] for number in drawn.interval.tolist()]
    rows = {
        "species": [interval.species for interval in intervals],
        "record": [interval.record for interval in intervals],
        "start": drawn.start,
        "end": drawn.start + sampler.length,
        "strand": [SIGNS[sign] for sign in drawn.strand.tolist()],
        "label": drawn.species,
    }
    return pa.table(rows, schema=SCHEMA), {"too many N": int(drawn.attempts.sum())}


def lay_manifest(
    species_set: SpeciesSet,
    intervals: Sequence[Interval],
    length: int,
    windows: int,
    *,
    seed: int,
    max_n_fraction: float,
) -> tuple[pa.Table, dict[str, int]]:
    """Windows end to end from each interval's start, none of which shares a base with another.

    Equally many of every species, as many as the one with the fewest has, at most ``windows`` in
    all; of more, the seed chooses. Species in turn, each by place, on the FASTA's strand.

    Returns:
        The rows, and how many places were passed over, by reason.

    Raises:
        InputError: a species without a window, or fewer windows than species.
    """
    if windows < len(species_set.classes) or not intervals:
        raise InputError(
            "the split has no interval"
            if not intervals
            else f"expected at least a window a species, {len(species_set.classes)}, got {windows}",
            file=species_set.path,
            fix="Change --windows, or the splits file",
        )
    chosen = choose_windows(
        species_set,
        intervals,
        length,
        step=length,
        locus_size=max(interval.end - interval.start for interval in intervals),
        windows=windows,
        seed=seed,
        max_n_fraction=max_n_fraction,
    )
    # Row i is of species i modulo their number, as in manifests that are drawn.
    order = np.arange(len(chosen)).reshape(len(species_set.classes), -1).T.reshape(-1)
    own = [intervals[number] for number in chosen.interval[order].tolist()]
    starts = chosen.start[order]
    rows = {
        "species": [interval.species for interval in own],
        "record": [interval.record for interval in own],
        "start": starts,
        "end": starts + length,
        "strand": [SIGNS[FORWARD]] * len(own),
        "label": chosen.label[order],
    }
    return pa.table(rows, schema=SCHEMA), {"too many N": chosen.refused}


def write_manifest(
    path: str | Path, table: pa.Table, origin: Origin, *, force: bool = False
) -> bool:
    """Write a manifest and its hash.

    Returns:
        Whether it was written; not where the same manifest is there already.

    Raises:
        InputError: the file exists with other content and ``force`` is not set.
    """
    path = Path(path)
    header = {"format": FORMAT_VERSION, "sha256": _digest(table, origin)}
    content = json.dumps(header | origin.as_dict())
    if path.exists() and not force:
        try:
            existing = pq.read_metadata(path).metadata or {}
        except (OSError, pa.ArrowException, UnicodeDecodeError):
            existing = {}
        if existing.get(METADATA_KEY) == content.encode():
            read_manifest(path)  # the same draw; but are the rows still those?
            return False
        raise other_content(path)
    with atomic_file(_sidecar(path)) as sidecar, atomic_file(path) as temporary:
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: content}), temporary)
        sidecar.write_text(f"{_file_digest(temporary)}  {path.name}\n", encoding="utf-8")
    return True


def read_manifest(path: str | Path, species_set: SpeciesSet | None = None) -> Manifest:
    """Read a manifest and verify it: its hashes and, with a species set, that it is of this data.

    Raises:
        InputError: not a manifest, changed since it was written, or of another species set.
    """
    path = Path(path)
    if path.is_file() and not _matches_sidecar(path):  # before a damaged file is parsed
        raise _changed(path)
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)  # text that is not UTF-8, too
    except FileNotFoundError:
        fix = "Check the path; `genomamba prepare manifest` writes one"
        raise InputError("no such manifest", file=path, fix=fix) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, PermissionError):
            raise
        raise InputError(f"not a Parquet file: {' '.join(str(error).split())}", file=path) from None
    try:
        origin, digest = _metadata(table, path)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the manifest's metadata are damaged: {error}", file=path) from None
    if _digest(table, origin) != digest:
        raise _changed(path)
    if species_set is not None:
        _check_data(origin, species_set, path)
    return Manifest(path, origin, digest, table)


def _changed(path: Path) -> InputError:
    return InputError(
        "the manifest was changed after it was written; its hash does not match",
        file=path,
        fix="Restore it, or draw it again: genomamba prepare manifest --force",
    )


def _metadata(table: pa.Table, path: Path) -> tuple[Origin, str]:
    text = (table.schema.metadata or {}).get(METADATA_KEY)
    if text is None or not table.schema.equals(SCHEMA):
        raise InputError(
            "not a manifest",
            file=path,
            fix="A manifest is what `genomamba prepare manifest` writes",
        )
    content: dict[str, Any] = json.loads(text)
    version = content.pop("format")
    if version != FORMAT_VERSION:
        raise InputError(
            f"the manifest has format version {version}, this genomamba reads {FORMAT_VERSION}",
            file=path,
            fix="Draw it again: genomamba prepare manifest --force",
        )
    digest = content.pop("sha256")
    content["classes"] = tuple(content["classes"])
    return Origin(**content), digest


def _check_data(origin: Origin, species_set: SpeciesSet, path: Path) -> None:
    if origin.classes != species_set.classes:
        raise InputError(
            f"the manifest's classes are {', '.join(origin.classes)}; {species_set.path} has "
            f"{', '.join(species_set.classes)}; the order counts",
            file=path,
        )
    if origin.set_digest != species_set.digest:
        raise InputError(
            f"the manifest was drawn from other sequences or record names than {species_set.path} "
            "now holds",
            file=path,
            fix="Use the stores it was drawn from, or draw it again",
        )


def _digest(table: pa.Table, origin: Origin) -> str:
    """SHA-256 over the origin as JSON and the rows as tab-separated text, whatever the file."""
    digest = hashlib.sha256(json.dumps(origin.as_dict()).encode())
    columns = [table[name].to_pylist() for name in SCHEMA.names]
    for row in zip(*columns, strict=True):
        digest.update(("\t".join(map(str, row)) + "\n").encode())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _matches_sidecar(path: Path) -> bool:
    """Whether the file has its sidecar's hash; true for a manifest that was copied without it."""
    try:
        expected = _sidecar(path).read_bytes().split()[:1]
    except FileNotFoundError:
        return True
    return expected == [_file_digest(path).encode()]
