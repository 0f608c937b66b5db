"""Reads the tables of ``genomamba classify``, row by row, and keeps counts and the first rows."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from genomamba.inference.schema import PROBABILITY_PREFIX, record_schema
from genomamba.inference.writers import TABLE_SUFFIXES
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.progress import Progress

FIRST_ROWS = 20
FIX = "Give a table that `genomamba classify --output` of this version wrote, one row a record"

Row = dict[str, Any]


@dataclass
class Group:
    """Records that have something in common: a sample, or their prediction."""

    records: int = 0
    bases: int = 0
    probability: float = 0.0  # the predictions', summed
    labelled: int = 0  # records with a prediction and a known class
    right: int = 0
    predictions: Counter[str] = field(default_factory=Counter)

    def count(self, row: Row) -> None:
        prediction, label = row["prediction"], row["label"]
        self.records += 1
        self.bases += row["length"]
        if prediction:
            self.predictions[prediction] += 1
            self.probability += row["probability"]
            self.labelled += bool(label)
            self.right += bool(label) and label == prediction


@dataclass
class Predictions:
    """What a table holds.

    Attributes:
        path: the table.
        classes: in the order of its columns.
        all: of all records.
        by_sample: by sample and label ("" if unknown), in the order of the table.
        by_class: by prediction, "" for none.
        reasons: why records have no prediction.
        checkpoints: first digits of the checkpoints' SHA-256.
        first: the first rows.
    """

    path: Path
    classes: tuple[str, ...]
    all: Group = field(default_factory=Group)
    by_sample: dict[tuple[str, str], Group] = field(default_factory=dict)
    by_class: dict[str, Group] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    checkpoints: set[str] = field(default_factory=set)
    first: list[Row] = field(default_factory=list)


def read_predictions(path: Path) -> Predictions:
    """Read a table, plain TSV, Parquet or JSON lines.

    Raises:
        InputError: no such file, another format, or not a table of predictions.
    """
    if path.suffix not in TABLE_SUFFIXES:
        raise InputError(
            f"expected a table that ends in {', '.join(TABLE_SUFFIXES)}", file=path, fix=FIX
        )
    if not path.is_file():
        raise InputError("no such table of predictions", file=path, fix=FIX)
    found: Predictions | None = None
    try:
        with Progress(f"reading {path.name}, records", 0) as progress:
            for row in _READERS[path.suffix](path):
                found = found or Predictions(path, _classes(row, path))
                _count(found, _typed(row))
                progress.advance(1)
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"expected a table of predictions: {' '.join(str(error).split())}",
            file=path,
            record=f"row {1 if found is None else found.all.records + 1}",
            fix=FIX,
        ) from None
    # A table without records is one of no classes that could be shown.
    return Predictions(path, ()) if found is None else found


def _count(found: Predictions, row: Row) -> None:
    sample = row["sample"], row["label"]
    for group in (
        found.all,
        found.by_sample.setdefault(sample, Group()),
        found.by_class.setdefault(row["prediction"], Group()),
    ):
        group.count(row)
    if row["reason"]:
        found.reasons[row["reason"]] += 1
    if row["checkpoint"]:
        found.checkpoints.add(row["checkpoint"])
    if len(found.first) < FIRST_ROWS:
        found.first.append(row)


def _classes(row: Row, path: Path) -> tuple[str, ...]:
    """The classes that the columns name.

    Raises:
        InputError: columns of another table.
    """
    prefix = PROBABILITY_PREFIX
    classes = tuple(name.removeprefix(prefix) for name in row if name.startswith(prefix))
    expected = record_schema(classes).names
    if not classes or list(row) != expected:
        missing = [name for name in expected if name not in row]
        raise InputError(
            f"expected the columns {' '.join(record_schema(classes or ('CLASS',)).names)}"
            + (f"; without {' '.join(missing)}" if missing else ""),
            file=path,
            fix=FIX,
        )
    return classes


def _typed(row: Row) -> Row:
    """The row with numbers as numbers, None where there is none, and "" for absent text."""
    texts = {name: row[name] or "" for name in ("sample", "file", "record", "label")}
    texts |= {name: row[name] or "" for name in ("prediction", "checkpoint", "reason")}
    probability = row["probability"]
    if texts["prediction"] and probability in (None, ""):
        raise ValueError("a prediction without a probability")
    return texts | {
        "length": int(row["length"] or 0),
        "windows": int(row["windows"] or 0),
        "probability": None if probability in (None, "") else float(probability),
    }


def _tsv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file, delimiter="\t")
        header = next(rows, None)
        if header is None:
            raise ValueError("the file is empty")
        for fields in rows:
            if len(fields) != len(header):
                raise ValueError(f"{len(header)} fields expected, got {len(fields)}")
            yield dict(zip(header, fields, strict=True))


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _parquet(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


_READERS = {".tsv": _tsv, ".jsonl": _json_lines, ".parquet": _parquet}
