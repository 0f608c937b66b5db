"""The columns of ``genomamba classify``'s two tables: one row a record, one row a window.

Coordinates are 0-based, half-open, on the record as it stands in the file. A row that could not be
classified has empty prediction, probabilities and strand disagreement, and a ``reason``.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

PROBABILITY_PREFIX = "prob_"

RECORD_COLUMNS = {
    "file": "the FASTA file, as given on the command line",
    "record": "the record's name: its header up to the first blank",
    "length": "bases in the record",
    "n_fraction": "fraction of the record's bases that are N or another ambiguity letter",
    "windows": "windows classified",
    "windows_skipped": "windows left out, with too large a fraction of N",
}
WINDOW_COLUMNS = {
    "file": RECORD_COLUMNS["file"],
    "record": RECORD_COLUMNS["record"],
    "start": "first base of the window, from 0",
    "end": "one past its last base",
    "n_fraction": "fraction of the window's bases that are N or another ambiguity letter",
}
RESULT_COLUMNS = {
    "prediction": "the most probable class",
    "probability": "its probability",
    "prob_CLASS": "one column a class, in the checkpoint's order: softmax of the mean "
    "log-probability over the record's windows (and over both strands with --both-strands)",
}
STRAND_COLUMNS = {
    "strand_disagreement": "total variation distance, 0 to 1, between the probabilities of the two "
    "strands (only with --both-strands)",
}
REASON_COLUMN = {"reason": "why there is no prediction; empty where there is one"}

_TYPES = dict.fromkeys(("length", "windows", "windows_skipped", "start", "end"), pa.int64()) | (
    dict.fromkeys(("n_fraction", "probability", "strand_disagreement"), pa.float64())
)


def probability_columns(classes: Sequence[str]) -> list[str]:
    """Column names of the class probabilities, in class order."""
    return [PROBABILITY_PREFIX + name for name in classes]


def _schema(columns: dict[str, str], classes: Sequence[str], both_strands: bool) -> pa.Schema:
    probabilities = probability_columns(classes)
    names = [*columns, "prediction", "probability", *probabilities]
    names += [*(STRAND_COLUMNS if both_strands else ()), *REASON_COLUMN]
    types = _TYPES | dict.fromkeys(probabilities, pa.float64())
    return pa.schema([(name, types.get(name, pa.string())) for name in names])


def record_schema(classes: Sequence[str], both_strands: bool = False) -> pa.Schema:
    """Arrow schema of the table with one row a record."""
    return _schema(RECORD_COLUMNS, classes, both_strands)


def window_schema(classes: Sequence[str], both_strands: bool = False) -> pa.Schema:
    """Arrow schema of the table with one row a window."""
    return _schema(WINDOW_COLUMNS, classes, both_strands)
