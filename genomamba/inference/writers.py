"""Writes a table row by row as TSV or Parquet, chosen by the file's suffix, in constant memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError

SUFFIXES = (".tsv", ".parquet")
ROW_GROUP = 1 << 16

Row = dict[str, Any]


class TableWriter(Protocol):
    """Takes rows that hold a schema's columns; an absent column or None is an empty field."""

    def write(self, row: Row) -> None: ...


def check_output(path: Path) -> None:
    """Refuse an output that could not be written, before any work is done for it.

    Raises:
        InputError: another suffix than .tsv or .parquet, no such folder, or a folder of that name.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"a table's suffix is {' or '.join(SUFFIXES)}, not {path.suffix!r}",
            file=path,
            fix=f"Name it {path.with_suffix('.tsv').name}.",
        )
    if not path.parent.is_dir():
        raise InputError("its folder does not exist", file=path, fix=f"mkdir -p {path.parent}")
    if path.is_dir():
        raise InputError("is a folder, not a file", file=path)


class _TsvWriter:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._names = schema.names
        self._rows = csv.writer(self._file, delimiter="\t", lineterminator="\n")
        self._rows.writerow(self._names)

    def write(self, row: Row) -> None:
        values = (row.get(name) for name in self._names)
        # Six digits: a float32 model's last ones are noise, and the table stays readable.
        self._rows.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])

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


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """A writer whose file appears under its name, whole, when the block ends without an error."""
    check_output(path)
    with atomic_file(path) as temporary:
        open_writer = _TsvWriter if path.suffix == ".tsv" else _ParquetWriter
        writer = open_writer(temporary, schema)
        try:
            yield writer
        finally:
            writer.close()
