"""Classifies the records of a shard as streams: long ones in pieces, short ones packed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import numpy as np

from genomamba.inference.budget import Budget
from genomamba.inference.classifier import LogProbabilities, WindowClassifier
from genomamba.inference.options import Options
from genomamba.inference.parts import Results
from genomamba.inference.reading import Piece
from genomamba.inference.scan import Record
from genomamba.inference.strands import FORWARD, REVERSE
from genomamba.inference.stream import Stream
from genomamba.inference.windows_job import classify_windows
from genomamba_data_prep.codes import Codes, reverse_complement

Done = Callable[[int], None]


def classify_streams(
    pieces: Iterable[Piece],
    records: Sequence[Record],
    classifier: WindowClassifier,
    options: Options,
    budget: Budget,
    done: Done,
    folder: Path,
) -> Results:
    """A shard's results: a row a readout.

    Args:
        pieces: of the shard's records, each whole, in order; read as they are needed.
        records: of the plan.
        classifier: the network.
        options: as of the job.
        budget: bases at a time.
        done: is told the bases of each piece.
        folder: for a copy of a long record, a byte a base, while its other strand waits.
    """
    # A record of one piece and one readout is a window: those that follow each other share batches.
    results = []
    for alone, group in groupby(pieces, key=lambda piece: _alone(records[piece.record], options)):
        if not alone:
            results.append(classify_windows(group, classifier, options, budget, done))
            continue
        for index, of_record in groupby(group, key=lambda piece: piece.record):
            length = records[index].length
            stream = _Strands(length, classifier, options, budget, done)
            results.append(stream.run(index, (piece.codes for piece in of_record), folder))
    return Results(*(np.concatenate(arrays) for arrays in zip(*results, strict=True)))


def _alone(record: Record, options: Options) -> bool:
    return max(options.pieces.count(record.length), options.tiling.count(record.length)) > 1


class _Strands:
    """One record, one strand or both."""

    def __init__(
        self,
        length: int,
        classifier: WindowClassifier,
        options: Options,
        budget: Budget,
        done: Done,
    ) -> None:
        self._length, self._classifier, self._options = length, classifier, options
        self._budget, self._done = budget, done

    def run(self, index: int, pieces: Iterator[Codes], folder: Path) -> Results:
        both = self._options.both_strands
        forward = Stream(self._classifier, self._budget, self._length, self._options.step)
        with ExitStack() as stack:
            copy = stack.enter_context(tempfile.TemporaryFile(dir=folder)) if both else None
            for codes in pieces:
                forward.feed(codes)
                if copy is not None:
                    copy.write(codes.data)
                self._done(len(codes))
            readouts = forward.log_probabilities()
            scores = np.full((len(readouts), 1 + both, self._classifier.n_classes), np.nan)
            scores[:, FORWARD] = readouts
            if copy is not None:
                copy.flush()
                codes = np.memmap(copy, np.uint8, "r", shape=(self._length,))
                scores[-1, REVERSE] = self._reverse(codes)
        places = [self._options.tiling(self._length, i) for i in range(len(readouts))]
        start, end = np.array(places, dtype=np.int64).T
        return Results(np.full(len(places), index), start, end, forward.n_counts, scores)

    def _reverse(self, codes: Codes) -> LogProbabilities:
        """The readout of the other strand, (classes,)."""
        stream = Stream(self._classifier, self._budget, self._length, None)
        for end in range(self._length, 0, -self._options.max_bases):
            stream.feed(reverse_complement(codes[max(0, end - self._options.max_bases) : end]))
        return stream.log_probabilities()[-1]
