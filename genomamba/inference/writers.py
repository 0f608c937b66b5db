"""Writes tables row by row, in the format that the file's suffix names, in constant memory."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from genomamba.inference.schema import DECIMALS, LOG_PROBABILITY_PREFIX
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError

TABLE_SUFFIXES = (".tsv", ".parquet", ".jsonl")
TRACK_SUFFIXES = (".bedgraph", ".parquet")
ROW_GROUP = 1 << 16

Row = dict[str, Any]


class TableWriter(Protocol):
    """Takes rows that hold a schema's columns; an absent column or None is an empty field."""

    def write(self, row: Row) -> None: ...

    def close(self) -> None: ...


def check_output(path: Path, suffixes: tuple[str, ...] = TABLE_SUFFIXES) -> None:
    """Refuse an output that could not be written, before any work is done for it.

    Raises:
        InputError: another suffix, no such folder or not a writable one, or a folder of that name.
    """
    if path.suffix not in suffixes:
        raise InputError(
            f"the suffix is {' or '.join(suffixes)}, not {path.suffix!r}",
            file=path,
            fix=f"Name it {path.with_suffix(suffixes[0]).name}",
        )
    if not path.parent.is_dir():
        raise InputError("its folder does not exist", file=path, fix=f"mkdir -p {path.parent}")
    if path.is_dir():
        raise InputError("is a folder, not a file", file=path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError("its folder is not writable", file=path, fix="Check its permissions")


class _TsvWriter:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._names = schema.names
        self._rows = csv.writer(self._file, delimiter="\t", lineterminator="\n")
        self._rows.writerow(self._names)

    def write(self, row: Row) -> None:
        values = (row.get(name) for name in self._names)
        self._rows.writerow([_text(value) for value in values])

    def close(self) -> None:
        self._file.close()


class _JsonLinesWriter:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._names = schema.names

    def write(self, row: Row) -> None:
        json.dump({name: row.get(name) for name in self._names}, self._file, ensure_ascii=False)
        self._file.write("\n")

    def close(self) -> None:
        self._file.close()


class _ParquetWriter:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema)
        self._schema = schema
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        if self._rows:
            self._write_group()
        self._writer.close()


class _BedGraphWriter:
    """A track a class, one after another in the file, of rows as the track's schema has them.

    Intervals must not overlap in bedGraph: a window that begins before the last one ends is given
    the bases after it.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._names = [n for n in schema.names if n.startswith(LOG_PROBABILITY_PREFIX)]
        self._open = ExitStack()
        files = [tempfile.TemporaryFile("w+", dir=path.parent) for _ in self._names]  # noqa: SIM115
        self._files = [self._open.enter_context(file) for file in files]
        for name, file in zip(self._names, self._files, strict=True):
            file.write(f'track type=bedGraph name="{name}"\n')
        self._last: tuple[str, int] = "", 0

    def write(self, row: Row) -> None:
        record, end = row["record"], row["end"]
        start = max(row["start"], self._last[1] if self._last[0] == record else 0)
        self._last = record, end
        for name, file in zip(self._names, self._files, strict=True):
            if row.get(name) is not None:
                file.write(f"{record}\t{start}\t{end}\t{_text(row[name])}\n")

    def close(self) -> None:
        with self._open, self._path.open("w") as whole:
            for file in self._files:
                file.seek(0)
                shutil.copyfileobj(file, whole)


_WRITERS = {
    ".tsv": _TsvWriter,
    ".jsonl": _JsonLinesWriter,
    ".parquet": _ParquetWriter,
    ".bedgraph": _BedGraphWriter,
}


def _text(value: Any) -> Any:
    return f"{value:.{DECIMALS}f}" if isinstance(value, float) else value


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """A writer whose file appears under its name, whole, when the block ends without an error."""
    with atomic_file(path) as temporary:
        writer: TableWriter = _WRITERS[path.suffix](temporary, schema)
        try:
            yield writer
        finally:
            writer.close()
