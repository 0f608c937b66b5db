"""Makes the final tables of a job from its shards, in order, one shard in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genomamba.inference.classifier import LogProbabilities
from genomamba.inference.job import DIGEST_DIGITS, Job
from genomamba.inference.parts import Parts, Results
from genomamba.inference.plan import TOO_MUCH_N
from genomamba.inference.rows import Row, result, rounded
from genomamba.inference.schema import (
    log_probability_columns,
    record_schema,
    track_schema,
    window_schema,
)
from genomamba.inference.strands import FORWARD
from genomamba.inference.writers import TableWriter, table_writer
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.progress import Progress


@dataclass
class Counts:
    """What happened to the input."""

    records: int = 0
    bases: int = 0
    windows: int = 0
    windows_skipped: int = 0
    records_without_prediction: int = 0
    records_shorter_than_window: int = 0


class _Stretch(NamedTuple):
    start: int
    end: int
    n_count: int
    scores: LogProbabilities  # (strands, classes)


def assemble(parts: Parts, job: Job) -> Counts:
    """Write the output and the further tables; they appear when they are complete.

    Raises:
        InputError: a shard is missing, damaged or of other windows than the plan's.
    """
    missing = sorted(set(range(len(job.plan.shards))) - parts.done().keys())
    if missing:
        names = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
        raise InputError(
            f"{len(missing):,} of {len(job.plan.shards):,} shards are missing: {names} (from 0)",
            file=parts.path,
            fix="Run the tasks of the array that did not finish; what they have done is kept",
        )
    tables = {"windows": window_schema, "track": track_schema}
    with ExitStack() as stack:
        records = stack.enter_context(table_writer(parts.output, record_schema(job.classes)))
        further = {
            kind: stack.enter_context(table_writer(Path(name), tables[kind](job.classes)))
            for kind, name in job.outputs.items()
        }
        return _Assembly(parts, job, records, **further).run()


class _Assembly:
    def __init__(
        self,
        parts: Parts,
        job: Job,
        records: TableWriter,
        windows: TableWriter | None = None,
        track: TableWriter | None = None,
    ) -> None:
        self._parts, self._job, self._options = parts, job, job.options
        self._records, self._windows, self._track = records, windows, track
        self._counts = Counts()

    def run(self) -> Counts:
        stretches = self._stretches()
        checkpoint = self._job.checkpoint[:DIGEST_DIGITS]
        with Progress("writing the tables", len(self._job.plan.records)) as progress:
            for record in self._job.plan.records:
                source = self._job.sources[record.source]
                place: Row = {"sample": source.sample, "file": source.name, "record": record.name}
                row = place | {"label": source.label, "checkpoint": checkpoint}
                row["length"] = record.length
                row["n_fraction"] = rounded(record.n_count / max(record.length, 1))
                self._counts.records += 1
                self._counts.bases += record.length
                if record.reason:
                    row["reason"] = record.reason
                else:
                    count = self._options.tiling.count(record.length)
                    row |= self._classified(place, islice(stretches, count))
                    self._counts.records_shorter_than_window += (
                        self._options.mode == "windows" and record.length < self._options.window
                    )
                self._counts.records_without_prediction += "prediction" not in row
                self._records.write(row)
                progress.advance(1)
        assert next(stretches, None) is None
        return self._counts

    def _stretches(self) -> Iterator[_Stretch]:
        """All windows or steps, in order, after the check that they are the plan's."""
        done = self._parts.done()
        for index, shard in enumerate(self._job.plan.shards):
            results = self._parts.read(index, done[index])
            expected = [
                (span.record, *self._options.tiling(length, i))
                for span in shard
                for length in [self._job.plan.records[span.record].length]
                for i in (
                    range(span.first, span.last)
                    if self._options.mode == "windows"
                    else range(self._options.tiling.count(length))
                )
            ]
            if not np.array_equal(np.array(expected), np.stack(results[:3], axis=1)):
                raise InputError(
                    "its windows are not those of the plan: there are gaps or overlaps",
                    file=self._parts.shard(index),
                    fix="Remove it and run again",
                )
            yield from _rows(results)

    def _classified(self, place: Row, stretches: Iterator[_Stretch]) -> Row:
        """Columns of a record from its windows; of a stream from the last readout."""
        stream = self._options.mode == "stream"
        total: LogProbabilities | None = None
        classified = skipped = 0
        for stretch in stretches:
            usable = not math.isnan(stretch.scores[FORWARD, 0])
            self._write_stretch(place, stretch, usable)
            if stream:
                total, classified = stretch.scores, 1
            elif usable:
                total = stretch.scores if total is None else total + stretch.scores
                classified += 1
            else:
                skipped += 1
        self._counts.windows += classified
        self._counts.windows_skipped += skipped
        counted: Row = {"windows": classified, "windows_skipped": skipped}
        if total is None:
            return counted | {"reason": f"no window is left: every one has {TOO_MUCH_N}"}
        return counted | result(total / classified, self._job.classes, self._options.abstain)

    def _write_stretch(self, place: Row, stretch: _Stretch, usable: bool) -> None:
        row = place | {"start": stretch.start, "end": stretch.end}
        if self._windows is not None:
            n_fraction = rounded(stretch.n_count / (stretch.end - stretch.start))
            if usable:
                found = result(stretch.scores, self._job.classes, self._options.abstain)
            else:
                found = {"reason": TOO_MUCH_N}
            self._windows.write(row | {"n_fraction": n_fraction} | found)
        if self._track is not None:
            # Of a stream the reverse strand has no readouts at these places.
            stream = self._options.mode == "stream"
            scores = stretch.scores[FORWARD] if stream else stretch.scores.mean(axis=0)
            if usable:
                scores = scores - np.logaddexp.reduce(scores)
                names = log_probability_columns(self._job.classes)
                row |= {n: rounded(s) for n, s in zip(names, scores.tolist(), strict=True)}
            self._track.write(row)


def _rows(results: Results) -> Iterator[_Stretch]:
    places = np.stack([results.start, results.end, results.n_count], axis=1).tolist()
    for (start, end, n_count), scores in zip(places, results.log_probabilities, strict=True):
        yield _Stretch(start, end, n_count, scores)
