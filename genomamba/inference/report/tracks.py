"""Tracks along the longest records: class probabilities, stacked, by position."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from genomamba.inference.schema import LOG_PROBABILITY_PREFIX, track_schema
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.report.charts import Axis, Band, band_chart, linear_axis
from genomamba_data_prep.report.page import figure, section

LONGEST = 3  # records that are drawn
SPANS = 240  # of a record, at most: a pixel or more each
STYLES = 6  # colours of the page's style, s1 to s6
PLACE = ("sample", "file", "record")
UNITS = ((2_000_000, 1_000_000, "Mbp"), (10_000, 1_000, "kbp"))
FIX = "Give a track that `genomamba classify --track OUT.parquet` of this version wrote"

Record = tuple[str, str, str]  # PLACE
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Place:
    """Where a record's rows are; places compare by length.

    Attributes:
        end: of its last row, in bases.
        order: of the record, counted down, so that of equally long ones the first is the largest.
        path: the track.
        record: sample, file and name.
        first: its first row there.
        last: one past its last.
    """

    end: int
    order: int
    path: Path
    record: Record
    first: int
    last: int


@dataclass(frozen=True)
class RecordTrack:
    """A record's readings. Letters: S spans, C classes.

    Attributes:
        starts: (S,) bases.
        ends: (S,)
        probabilities: (S, C); nan where there is none.
    """

    starts: Floats
    ends: Floats
    probabilities: Floats


def tracks_section(paths: Sequence[Path], classes: Sequence[str]) -> str:
    """The longest records of all tracks.

    Raises:
        InputError: no such file, not a track, or of other classes.
    """
    longest, records = _longest(paths, classes)
    if not longest:
        return section("Along the longest records", "The tracks have no rows.")
    tracks = [_read(place, classes) for place in longest]
    shown = _shown(tracks, len(classes))
    figures = [
        _figure(place, track, classes, shown) for place, track in zip(longest, tracks, strict=True)
    ]
    left = records - len(longest)
    rest = f" The other {left:,} records of the tracks are not drawn." if left else ""
    text = (
        "Probabilities of the classes by position: of each window on its own, or with --mode "
        "stream of all bases from the first to there. "
        f"A gap is a window left out for its N.{rest}"
    )
    return section("Along the longest records", text, *figures)


def _longest(paths: Sequence[Path], classes: Sequence[str]) -> tuple[list[Place], int]:
    """The longest records, and how many there are."""
    count = 0

    def places() -> Iterator[Place]:
        nonlocal count
        for path in paths:
            for end, record, first, last in _records(path, classes):
                yield Place(end, -count, path, record, first, last)
                count += 1

    return heapq.nlargest(LONGEST, places()), count


def _records(path: Path, classes: Sequence[str]) -> Iterator[tuple[int, Record, int, int]]:
    """Last base, name, first row and the row past the last of each record of a track."""
    with _opened(path, classes) as file, _damage(path):
        total, number = file.metadata.num_rows, 0
        with Progress(f"looking for the longest records of {path.name}", total) as progress:
            for record, rows in groupby(_rows(file), key=lambda row: row[:3]):
                first, end = number, 0
                for row in rows:
                    number, end = number + 1, max(end, row[3])
                if end < 1:
                    raise ValueError(f"{record[2]} has no bases")
                progress.advance(number - first)
                yield end, record, first, number


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Has what a reader says of a damaged file name the file."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"a damaged track: {what}", file=path, fix=FIX) from None


def _opened(path: Path, classes: Sequence[str]) -> pq.ParquetFile:
    if not path.is_file():
        raise InputError("no such track", file=path, fix=FIX)
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        what = " ".join(str(error).split())
        raise InputError(f"expected a track in Parquet: {what}", file=path, fix=FIX) from None
    expected = ", ".join(f"{one.name} ({one.type})" for one in track_schema(classes))
    if not file.schema_arrow.equals(track_schema(classes)):
        found = ", ".join(f"{one.name} ({one.type})" for one in file.schema_arrow)
        file.close()
        raise InputError(
            f"expected a track with the columns {expected}, got {found}",
            file=path,
            fix=FIX,
        )
    return file


def _rows(file: pq.ParquetFile) -> Iterator[tuple]:
    for batch in file.iter_batches(columns=[*PLACE, "end"]):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _shown(tracks: Sequence[RecordTrack], classes: int) -> list[int]:
    """The classes that get a colour: where there are too many, those of the largest mean."""
    if classes <= STYLES:
        return list(range(classes))
    values = np.concatenate([track.probabilities for track in tracks])
    total = values[np.isfinite(values).all(axis=1)].sum(axis=0)
    return sorted(np.argsort(-total, kind="stable")[:STYLES].tolist())


def _figure(place: Place, track: RecordTrack, classes: Sequence[str], shown: Sequence[int]) -> str:
    rows = place.last - place.first
    sample, file, record = place.record
    length = place.end
    size, unit = next(((size, u) for least, size, u in UNITS if length >= least), (1, "bases"))
    title = f"Class probabilities along {record}"
    axis = linear_axis(f"position, {unit}", 0, length / size)
    chart = band_chart(
        title,
        axis,
        Axis("probability", 0, 1, [(n / 4, f"{n / 4:g}") for n in range(5)]),
        list(zip((track.starts / size).tolist(), (track.ends / size).tolist(), strict=True)),
        _bands(track, classes, shown),
    )
    caption = f"{record} of {file} (sample {sample}), {length:,} bases, {rows:,} readings"
    if len(track.starts) < rows:
        caption += f", averaged over {len(track.starts):,} equal stretches of the record"
    return figure(chart, f"{caption}.")


def _bands(track: RecordTrack, classes: Sequence[str], shown: Sequence[int]) -> list[Band]:
    """A band a shown class, and one of the rest."""
    values = track.probabilities
    bands = [Band(classes[c], f"s{k}", values[:, c].tolist()) for k, c in enumerate(shown, start=1)]
    if len(shown) < len(classes):
        rest = 1 - values[:, list(shown)].sum(axis=1)
        name = f"the other {len(classes) - len(shown)}"
        bands.append(Band(name, "rest", np.maximum(rest, 0).tolist()))
    return bands


def _read(place: Place, classes: Sequence[str]) -> RecordTrack:
    columns = ["start", "end", *(LOG_PROBABILITY_PREFIX + name for name in classes)]
    parts, number = [], 0
    with _damage(place.path), pq.ParquetFile(place.path) as file:
        for batch in file.iter_batches(columns=columns):
            first, last = place.first - number, place.last - number
            number += batch.num_rows
            if last <= 0:
                break
            if first < batch.num_rows:
                parts.append(batch.slice(max(first, 0), last - max(first, 0)))
    table = pa.Table.from_batches(parts)
    starts, ends, *logs = (
        column.to_numpy(zero_copy_only=False).astype(float) for column in table.columns
    )
    probabilities = np.exp(np.stack(logs, axis=1))
    if len(starts) > SPANS:
        return _averaged(starts, ends, probabilities, place.end)
    # The last window of a record overlaps the one before it: it is drawn from that one's end.
    starts[1:] = np.maximum(starts[1:], ends[:-1])
    return RecordTrack(starts, ends, probabilities)


def _averaged(starts: Floats, ends: Floats, probabilities: Floats, length: int) -> RecordTrack:
    """Means over equal stretches, each of the readings whose middle lies in it."""
    edges = np.linspace(0, length, SPANS + 1)
    known = np.isfinite(probabilities).all(axis=1)
    middle = (starts + ends)[known] / 2
    stretch = np.minimum((middle * SPANS / length).astype(int), SPANS - 1)
    sums = np.zeros((SPANS, probabilities.shape[1]))
    np.add.at(sums, stretch, probabilities[known])
    counts = np.bincount(stretch, minlength=SPANS)[:, None]
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return RecordTrack(edges[:-1], edges[1:], means)
