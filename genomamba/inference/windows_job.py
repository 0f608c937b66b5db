"""Classifies the windows of a shard, in batches of at most the budget's bases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from genomamba.inference.budget import Budget
from genomamba.inference.classifier import LogProbabilities, WindowClassifier
from genomamba.inference.options import Options
from genomamba.inference.parts import Results
from genomamba.inference.reading import Piece
from genomamba_data_prep.codes import BASE_BITS, Codes, N, reverse_complement

Done = Callable[[int], None]


def classify_windows(
    windows: Iterable[Piece],
    classifier: WindowClassifier,
    options: Options,
    budget: Budget,
    done: Done,
) -> Results:
    """A shard's results.

    Args:
        windows: of the shard, in order; read as they are needed.
        classifier: gives the log-probabilities.
        options: as of the job.
        budget: how large batches are.
        done: is told the bases of each batch.
    """
    places: list[tuple[int, int, int, int]] = []
    scores: list[LogProbabilities] = []
    empty = np.full((1, 2 if options.both_strands else 1, classifier.n_classes), np.nan)
    waiting: list[Codes] = []
    slots: list[int] = []

    held = 0  # bases that wait

    def flush() -> None:
        nonlocal held
        rows = score(waiting, classifier, options.both_strands, budget) if waiting else ()
        for slot, row in zip(slots, rows, strict=True):
            scores[slot] = row[None]
        done(held)
        held = 0
        waiting.clear()
        slots.clear()

    for piece in windows:
        n_count = int(np.count_nonzero((piece.codes & BASE_BITS) == N))
        places.append((piece.record, piece.start, piece.end, n_count))
        scores.append(empty)
        if not options.usable(len(piece.codes), n_count):
            done(len(piece.codes))
            continue
        if held + len(piece.codes) > options.max_bases:
            flush()
        held += len(piece.codes)
        waiting.append(piece.codes)
        slots.append(len(scores) - 1)
    flush()
    record, start, end, n = np.array(places, dtype=np.int64).T
    return Results(record, start, end, n, np.concatenate(scores))


def score(
    windows: Sequence[Codes], classifier: WindowClassifier, both_strands: bool, budget: Budget
) -> LogProbabilities:
    """Log-probabilities (windows, strands, classes), in as many attempts as memory needs."""
    scores: list[LogProbabilities] = []
    rest = list(windows)
    while rest:
        batch = next(_batches(rest, budget.bases))
        classifier.limit(budget.bases)
        found = budget.attempt(lambda batch=batch: _score(batch, classifier, both_strands))
        if found is not None:
            scores.append(found)
            del rest[: len(batch)]
    return np.concatenate(scores)


def _batches(windows: Sequence[Codes], bases: int) -> Iterator[list[Codes]]:
    """Consecutive windows of at most so many bases together, or one."""
    batch: list[Codes] = []
    held = 0
    for codes in windows:
        if batch and held + len(codes) > bases:
            yield batch
            batch, held = [], 0
        batch.append(codes)
        held += len(codes)
    yield batch


def _score(
    batch: list[Codes], classifier: WindowClassifier, both_strands: bool
) -> LogProbabilities:
    forward = classifier(batch)
    if not both_strands:
        return forward[:, None]
    reverse = classifier([reverse_complement(codes) for codes in batch])
    return np.stack([forward, reverse], axis=1)
