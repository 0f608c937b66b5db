"""Classifies records one after another: cuts windows, batches them, adds them up in order.

Windows of successive records share a batch, in the order of the input, until the batch holds
``batch_bases`` bases; then all of them are classified, so that a finished record's row follows at
once and memory holds one batch and the records that it touches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from genomamba.inference.schema import probability_columns
from genomamba.inference.tiles import tiles
from genomamba.inference.writers import Row, TableWriter
from genomamba_data_prep.codes import BASE_BITS, Codes, N, reverse_complement

LogProbabilities = npt.NDArray[np.float64]
Classify = Callable[[Sequence[Codes]], LogProbabilities]

FORWARD, REVERSE = 0, 1


@dataclass(frozen=True, slots=True)
class Options:
    """How records are cut and scored.

    Args:
        window: bases a window.
        batch_bases: bases that are classified together, at least one window.
        max_n_fraction: windows with a larger fraction of N are skipped; one of N only always is.
        both_strands: classify the reverse complement too and average the log-probabilities.
    """

    window: int
    batch_bases: int
    max_n_fraction: float
    both_strands: bool


@dataclass
class Counts:
    """What happened to the input."""

    records: int = 0
    bases: int = 0
    windows: int = 0
    windows_skipped: int = 0
    records_without_prediction: int = 0
    records_shorter_than_window: int = 0


@dataclass
class _Record:
    row: Row
    total: LogProbabilities  # (strands, classes), summed over windows
    classified: int = 0
    skipped: int = 0
    open: int = 1  # windows that wait, and one while windows are still being cut


@dataclass(frozen=True, slots=True)
class _Window:
    record: _Record
    row: Row
    codes: Codes | None  # None: skipped


@dataclass
class RecordClassifier:
    """Takes records by ``add``, writes their rows in the same order, ends with ``finish``."""

    classify: Classify
    classes: Sequence[str]
    options: Options
    record_writer: TableWriter
    window_writer: TableWriter | None = None
    counts: Counts = field(default_factory=Counts)
    _records: deque[_Record] = field(default_factory=deque)
    _windows: list[_Window] = field(default_factory=list)
    _bases: int = 0

    def add(self, file: str, name: str, codes: Codes) -> None:
        """Cut a record into windows and classify as many as fill batches.

        Args:
            file: the file it comes from, for the tables.
            name: the record's name.
            codes: (length,), soft-mask bit allowed.
        """
        is_n = (codes & BASE_BITS) == N
        place = {"file": file, "record": name}
        row = place | {"length": len(codes), "n_fraction": float(is_n.mean())}
        strands = 2 if self.options.both_strands else 1
        record = _Record(row, np.zeros((strands, len(self.classes))))
        self._records.append(record)
        self.counts.records += 1
        self.counts.bases += len(codes)
        self.counts.records_shorter_than_window += len(codes) < self.options.window
        for start, end in tiles(len(codes), self.options.window):
            n_fraction = float(is_n[start:end].mean())
            usable = n_fraction <= self.options.max_n_fraction and n_fraction < 1
            window_row = place | {"start": start, "end": end, "n_fraction": n_fraction}
            window = _Window(record, window_row, codes[start:end] if usable else None)
            record.open += 1
            if usable and self._bases + end - start > self.options.batch_bases:
                self._flush()
            self._windows.append(window)
            self._bases += (end - start) if usable else 0
        record.open -= 1

    def finish(self) -> Counts:
        """Classify what waits and return the counts."""
        self._flush()
        return self.counts

    def _flush(self) -> None:
        waiting = [window.codes for window in self._windows if window.codes is not None]
        scores = iter(self._score(waiting)) if waiting else iter(())
        for window in self._windows:
            self._close_window(window, None if window.codes is None else next(scores))
        self._windows.clear()
        self._bases = 0
        while self._records and not self._records[0].open:
            self._close_record(self._records.popleft())

    def _score(self, windows: list[Codes]) -> LogProbabilities:
        """(windows, strands, classes)."""
        if not self.options.both_strands:
            return self.classify(windows)[:, None]
        forward = self.classify(windows)
        reverse = self.classify([reverse_complement(codes) for codes in windows])
        return np.stack([forward, reverse], axis=1)

    def _close_window(self, window: _Window, scores: LogProbabilities | None) -> None:
        record = window.record
        record.open -= 1
        if scores is None:
            record.skipped += 1
            self.counts.windows_skipped += 1
            result: Row = {"reason": "too large a fraction of N"}
        else:
            record.classified += 1
            self.counts.windows += 1
            record.total += scores
            result = self._result(scores)
        if self.window_writer is not None:
            self.window_writer.write(window.row | result)

    def _close_record(self, record: _Record) -> None:
        counted = {"windows": record.classified, "windows_skipped": record.skipped}
        if record.classified:
            result = self._result(record.total / record.classified)
        else:
            self.counts.records_without_prediction += 1
            result = {"reason": "no window is left: every one has too large a fraction of N"}
        self.record_writer.write(record.row | counted | result)

    def _result(self, scores: LogProbabilities) -> Row:
        """The result columns of mean log-probabilities (strands, classes)."""
        probabilities = _softmax(scores.mean(axis=0))
        best = int(probabilities.argmax())
        row: Row = {"prediction": self.classes[best], "probability": float(probabilities[best])}
        row |= dict(zip(probability_columns(self.classes), probabilities.tolist(), strict=True))
        if self.options.both_strands:
            apart = np.abs(_softmax(scores[FORWARD]) - _softmax(scores[REVERSE]))
            row["strand_disagreement"] = float(apart.sum() / 2)
        return row


def _softmax(log_probabilities: LogProbabilities) -> LogProbabilities:
    weights = np.exp(log_probabilities - log_probabilities.max())
    return weights / weights.sum()
