"""Where a genome's N are, as runs, so that a window's N are counted without reading its bases.

``n_runs.bin`` in a store holds the runs as rows (start, end) of little-endian int64, in order;
coordinates are those of ``codes.bin``, 0-based, half-open. A run may go on over the border of two
records. A human genome has some thousands of runs.

Letters: R runs, B windows.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import Codes, N
from genomamba_data_prep.errors import InputError

Int64 = npt.NDArray[np.int64]

FILE_TYPE = np.dtype("<i8")
ROW_BYTES = 2 * FILE_TYPE.itemsize


class NIndex:
    """The runs of N of one genome, ready to be counted.

    Args:
        rows: int64 (R, 2), start and end of each run, in order and apart from each other.
    """

    def __init__(self, rows: Int64) -> None:
        # An empty run before all others, so that every position has a run that starts before it.
        rows = np.concatenate([np.full((1, 2), -1, dtype=np.int64), rows])
        self._start = np.ascontiguousarray(rows[:, 0])
        self._length = rows[:, 1] - rows[:, 0]
        self._before = np.cumsum(self._length) - self._length

    @property
    def total(self) -> int:
        """N in the whole genome."""
        return int(self._length.sum())

    def count(self, start: Int64, end: Int64) -> Int64:
        """N from ``start`` to ``end``, both (B,), in ``codes.bin``; shape (B,)."""
        return self._count_up_to(end) - self._count_up_to(start)

    def _count_up_to(self, position: Int64) -> Int64:
        run = np.searchsorted(self._start, position) - 1  # the last one that starts before it
        return self._before[run] + np.minimum(position - self._start[run], self._length[run])

    @classmethod
    def read(cls, path: Path, expected: int) -> NIndex:
        """Read ``n_runs.bin``.

        Args:
            path: the file.
            expected: the N that the store's manifest counts.

        Raises:
            InputError: it does not hold these.
        """
        rows = np.fromfile(path, dtype=FILE_TYPE).reshape(-1, 2).astype(np.int64)
        runs = cls(rows)
        edges = rows.ravel()
        if runs.total != expected or (len(edges) and edges[0] < 0) or (np.diff(edges) <= 0).any():
            raise InputError(
                f"its runs hold {runs.total} N, the manifest says {expected}, or are not in order",
                file=path,
                fix="The store was edited: encode it again with --force",
            )
        return runs


class NIndexWriter:
    """Finds the runs of N in codes that pass in pieces, and writes each as it ends.

    Args:
        file: where the rows go.

    Attributes:
        runs: how many were written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.runs = 0
        self._file = file
        self._at = 0  # bases that have passed
        self._open: tuple[int, int] | None = None  # the last run, which may go on

    def add(self, codes: Codes, n: int) -> None:
        """Take the genome's next codes, ``n`` of which are N."""
        if n:
            is_n = np.zeros(len(codes) + 2, dtype=bool)
            is_n[1:-1] = (codes & N) != 0  # of the codes of bases, N alone has this bit
            rows = self._at + np.flatnonzero(is_n[1:] != is_n[:-1]).astype(FILE_TYPE).reshape(-1, 2)
            if self._open is not None and rows[0, 0] == self._open[1]:
                rows[0, 0] = self._open[0]
                self._open = None
            self.close()
            self._write(rows[:-1])
            self._open = int(rows[-1, 0]), int(rows[-1, 1])
        self._at += len(codes)

    def close(self) -> None:
        """Write the run that waited for what follows."""
        if self._open is not None:
            self._write(np.array([self._open], dtype=FILE_TYPE))
            self._open = None

    def _write(self, rows: npt.NDArray[np.int64]) -> None:
        self._file.write(rows.tobytes())
        self.runs += len(rows)
