"""What the audit's classifiers see of a window: k-mers, repeats, or N, length and soft mask alone.

Letters: B windows, L bases, K classes of 6-mers up to reverse complement.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.audit.windows import AuditWindows, window_codes
from genomamba_data_prep.codes import SOFT_MASK, N
from genomamba_data_prep.kmers import canonical_classes, word_counts
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.repeats import FEATURES, repeat_features
from genomamba_data_prep.species_set import SpeciesSet

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

LONGEST_K = 6
PIECE = (
    1 << 16
)  # bases; runs are cut here, so that longer windows have the features of shorter ones
RUN_BINS = 17  # runs of 1, 2-3, 4-7, ..., 65,536 bases


class Features(NamedTuple):
    """Features of B windows.

    Attributes:
        kmers: frequencies of strand-symmetric 6-mers, (B, K).
        repeats: of `repeat_features`, (B, features of it).
        controls: by name, (B, features of it).
    """

    kmers: Float32
    repeats: Float64
    controls: dict[str, Float64]


def read_features(species_set: SpeciesSet, windows: AuditWindows, progress: Progress) -> Features:
    """Read every window once and compute all features; ``progress`` counts bases."""
    classes = canonical_classes(LONGEST_K)
    n_classes = int(classes.max()) + 1
    kmers = np.zeros((len(windows), n_classes), dtype=np.float32)
    repeats = np.zeros((len(windows), FEATURES))
    runs = {name: np.zeros((len(windows), 2 * RUN_BINS + 2)) for name in ("n", "soft_mask")}
    length = np.zeros((len(windows), 1))
    record = np.zeros((len(windows), 2))
    for row, (number, start) in enumerate(
        zip(windows.interval.tolist(), windows.start.tolist(), strict=True)
    ):
        interval = windows.intervals[number]
        codes = window_codes(species_set, interval, start, windows.length)
        counts = word_counts(codes, LONGEST_K)
        folded = np.bincount(classes, weights=counts, minlength=n_classes)
        kmers[row] = folded / max(1.0, folded.sum())
        repeats[row] = repeat_features(codes)
        runs["n"][row] = run_features(codes & N != 0)
        runs["soft_mask"][row] = run_features(codes & SOFT_MASK != 0)
        length[row] = 1 - runs["n"][row, 0]
        bases = species_set.length(interval.species, interval.record)
        record[row] = np.log2([bases, interval.end - interval.start])
        progress.advance(windows.length)
    controls = {"n": runs["n"], "length": length, "record_length": record}
    return Features(kmers, repeats, controls | {"soft_mask": runs["soft_mask"]})


def run_features(track: npt.NDArray[np.bool_]) -> Float64:
    """Where a track is on, whatever the bases, (L,) -> (2 * ``RUN_BINS`` + 2,).

    Fraction of bases that are on; runs of them a base; the share of the window in runs that are on,
    by the logarithm of the run's length, and likewise in runs that are off. Runs are cut every
    ``PIECE`` bases.
    """
    features = np.zeros(2 * RUN_BINS + 2)
    borders = np.flatnonzero(track[1:] != track[:-1]) + 1
    borders = np.union1d(borders, np.arange(0, len(track), PIECE))
    lengths = np.diff(borders, append=len(track))
    on = track[borders]
    bins = np.minimum(np.log2(lengths).astype(np.int64), RUN_BINS - 1)
    features[0] = lengths[on].sum()
    features[1] = np.count_nonzero(on)
    bins = np.where(on, bins, bins + RUN_BINS)
    features[2:] = np.bincount(bins, weights=lengths, minlength=2 * RUN_BINS)
    return features / len(track)
