"""Embeddings as Parquet, or as .npy with a table of its rows; in constant memory, whole or not."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from genomamba.inference.embedding import Embedding
from genomamba_data_prep.atomic import atomic_file

ROW_GROUP = 1 << 12  # rows; 4 MB of vectors of 256
ROWS_SUFFIX = ".rows.tsv"  # X.npy has its rows' names in X.npy.rows.tsv

COLUMNS = {
    "record": "the record's name: its header up to the first blank",
    "start": "first base of the record or window, from 0",
    "end": "one past its last base",
    "n_fraction": "fraction of its bases that are N or another ambiguity letter",
    "embedding": "d_model numbers: the hidden vectors after the final norm, pooled",
}


class EmbeddingWriter(Protocol):
    """Takes one row after another."""

    def write(self, row: Embedding) -> None: ...


def schema(width: int, metadata: Mapping[str, str]) -> pa.Schema:
    """Arrow schema of the Parquet file, columns as ``COLUMNS``, with key-value metadata."""
    types = {
        "record": pa.string(),
        "start": pa.int64(),
        "end": pa.int64(),
        "n_fraction": pa.float64(),
        "embedding": pa.list_(pa.float32(), width),
    }
    return pa.schema(list(types.items()), metadata=dict(metadata))


class _ParquetWriter:
    def __init__(self, path: Path, width: int, metadata: Mapping[str, str]) -> None:
        self._schema = schema(width, metadata)
        self._writer = pq.ParquetWriter(path, self._schema)
        self._rows: list[Embedding] = []

    def write(self, row: Embedding) -> None:
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        *columns, vectors = zip(*self._rows, strict=True)
        arrays = [
            pa.array(column, type=kind)
            for column, kind in zip(columns, self._schema.types, strict=False)
        ]
        flat = pa.array(np.concatenate(vectors))
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=self._schema.types[-1]))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        if self._rows:
            self._write_group()
        self._writer.close()


class _NpyWriter:
    """Rows as they come; the header, which tells their number, is written again at the end."""

    def __init__(self, array: BinaryIO, rows: TextIO, width: int) -> None:
        self._array, self._width, self._count = array, width, 0
        self._rows = csv.writer(rows, delimiter="\t", lineterminator="\n")
        self._rows.writerow([name for name in COLUMNS if name != "embedding"])
        self._write_header()
        self._header = array.tell()

    def _write_header(self) -> None:
        shape = (self._count, self._width)
        fields = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._array, fields)

    def write(self, row: Embedding) -> None:
        self._count += 1
        self._array.write(row.vector.astype("<f4").tobytes())
        self._rows.writerow([row.record, row.start, row.end, f"{row.n_fraction:.6f}"])

    def close(self) -> None:
        self._array.seek(0)
        self._write_header()
        assert self._array.tell() == self._header  # NumPy leaves room for a growing first axis


@contextmanager
def embedding_writer(
    path: Path, width: int, metadata: Mapping[str, str]
) -> Iterator[EmbeddingWriter]:
    """A writer of .parquet or .npy whose files appear when the block ends without an error."""
    if path.suffix == ".parquet":
        with atomic_file(path) as temporary:
            writer = _ParquetWriter(temporary, width, metadata)
            try:
                yield writer
            finally:
                writer.close()
        return
    rows = path.with_name(path.name + ROWS_SUFFIX)
    with (
        atomic_file(rows) as rows_temporary,
        atomic_file(path) as temporary,
        rows_temporary.open("w", encoding="utf-8", newline="") as rows_file,
        temporary.open("wb") as array_file,
    ):
        writer = _NpyWriter(array_file, rows_file, width)
        yield writer
        writer.close()
