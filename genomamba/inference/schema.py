"""The columns of all that ``genomamba classify`` writes.

Coordinates are 0-based, half-open, on the record as it stands in the file. A row that could not be
classified has empty results and a ``reason``. Numbers that are not whole have six decimals.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

PROBABILITY_PREFIX = "prob_"
LOG_PROBABILITY_PREFIX = "log_prob_"
DECIMALS = 6

PLACE_COLUMNS = {
    "sample": "the sample, from the sheet; without one the file's name up to its FASTA suffix",
    "file": "the FASTA file, as given",
    "record": "the record's name: its header up to the first blank",
}
RECORD_COLUMNS = PLACE_COLUMNS | {
    "label": "the true class, where the sample sheet says it",
    "length": "bases in the record",
    "n_fraction": "fraction of the record's bases that are N or another ambiguity letter",
}
WINDOW_COLUMNS = PLACE_COLUMNS | {
    "start": "first base of the window, from 0",
    "end": "one past its last base",
    "n_fraction": "fraction of the window's bases that are N or another ambiguity letter",
}
RESULT_COLUMNS = {
    "prediction": "the most probable class; empty where its probability is below --abstain",
    "probability": "the probability of the most probable class",
    "prob_CLASS": "one column a class, in the checkpoint's order: softmax of the mean "
    "log-probability over the record's windows (and over both strands with --both-strands)",
    "margin": "probability of the most probable class less that of the second",
    "entropy": "of the class probabilities, in bits",
    "strand_disagreement": "total variation distance, 0 to 1, between the probabilities of the two "
    "strands; empty without --both-strands",
}
COUNT_COLUMNS = {
    "windows": "windows classified; 1 for a record that was streamed",
    "windows_skipped": "windows left out, with too large a fraction of N",
}
CHECKPOINT_COLUMN = {"checkpoint": "the first 16 digits of the checkpoint file's SHA-256"}
REASON_COLUMN = {"reason": "why there is no prediction; empty where there is one"}
TRACK_COLUMNS = PLACE_COLUMNS | {
    "start": "first base of the window, or of the step that ends with the readout",
    "end": "one past its last base",
    "log_prob_CLASS": "one column a class: log-probability of the window, or the running readout "
    "of the stream from the record's first base to this end",
}

_TYPES = dict.fromkeys(("length", "windows", "windows_skipped", "start", "end"), pa.int64())
_NUMBERS = ("n_fraction", "probability", "margin", "entropy", "strand_disagreement")
_TYPES |= dict.fromkeys(_NUMBERS, pa.float64())


def probability_columns(classes: Sequence[str]) -> list[str]:
    """Column names of the class probabilities, in class order."""
    return [PROBABILITY_PREFIX + name for name in classes]


def log_probability_columns(classes: Sequence[str]) -> list[str]:
    """Column names of the class log-probabilities, in class order."""
    return [LOG_PROBABILITY_PREFIX + name for name in classes]


def _schema(columns: dict[str, str], classes: Sequence[str]) -> pa.Schema:
    a_class = {
        "prob_CLASS": probability_columns(classes),
        "log_prob_CLASS": log_probability_columns(classes),
    }
    names = [name for column in columns for name in a_class.get(column, [column])]
    types = _TYPES | {name: pa.float64() for found in a_class.values() for name in found}
    return pa.schema([(name, types.get(name, pa.string())) for name in names])


def record_schema(classes: Sequence[str]) -> pa.Schema:
    """Arrow schema of the table with one row a record."""
    ends = COUNT_COLUMNS | CHECKPOINT_COLUMN | REASON_COLUMN
    return _schema(RECORD_COLUMNS | RESULT_COLUMNS | ends, classes)


def window_schema(classes: Sequence[str]) -> pa.Schema:
    """Arrow schema of the table with one row a window."""
    return _schema(WINDOW_COLUMNS | RESULT_COLUMNS | REASON_COLUMN, classes)


def track_schema(classes: Sequence[str]) -> pa.Schema:
    """Arrow schema of the track."""
    return _schema(TRACK_COLUMNS, classes)
