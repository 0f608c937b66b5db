"""The audit: controls and baselines by window length, shared 31-mers; no input or output.

Training windows are never longer than ``LONGEST_TRAINING``: a linear classifier of frequencies is
better fitted to many shorter windows than to a few longer ones, and applied to those as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genomamba_data_prep.audit.accuracy import Accuracy, score
from genomamba_data_prep.audit.classifiers import predict_lda
from genomamba_data_prep.audit.features import LONGEST_K, Features, read_features
from genomamba_data_prep.audit.shared_kmers import SharedKmers, shared_kmers
from genomamba_data_prep.audit.windows import AuditWindows, choose_windows
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.kmers import shorter_classes
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval, Splits

DEFAULT_LENGTHS = tuple(1 << exponent for exponent in range(10, 21, 2))
LONGEST_TRAINING = 1 << 16
CONTROLS = ("n", "length", "record_length", "soft_mask")
BY_RECORD = "record_length"  # the same in all windows of a record: records are its loci
KS = tuple(range(1, LONGEST_K + 1))
REPEATS = "repeats"


@dataclass(frozen=True)
class Settings:
    """What the user chose; lengths in bases, windows over all species."""

    lengths: tuple[int, ...] | None  # None: the defaults, as far as the records allow
    seed: int = 0
    train_windows: int = 32_768
    test_windows: int = 8_192
    locus: int = 1 << 17
    max_n_fraction: float = 0.1


@dataclass(frozen=True)
class LengthResult:
    """Accuracies at one window length.

    Attributes:
        length: of the test windows, in bases.
        train_length: of the training windows.
        train_windows: their number, over all species.
        test_windows: likewise.
        locus: the loci's least length, in bases.
        refused: places passed over for their N, training and test.
        accuracies: by classifier: the controls, then "1-mers" ... "6-mers" and "repeats".
    """

    length: int
    train_length: int
    train_windows: int
    test_windows: int
    locus: int
    refused: int
    accuracies: dict[str, Accuracy]


@dataclass(frozen=True)
class Audit:
    """All results; ``left_out`` says why a default length has none."""

    classes: tuple[str, ...]
    by_length: tuple[LengthResult, ...]
    left_out: dict[int, str]
    shared: SharedKmers


def run_audit(species_set: SpeciesSet, splits: Splits, settings: Settings) -> Audit:
    """Run every control and baseline.

    Raises:
        InputError: settings out of range, a species without training or test intervals, a length
            that the intervals do not allow.
    """
    _check(settings, species_set)
    train, test = (_intervals(splits, side, species_set) for side in ("train", "test"))
    chosen, left_out = _choose_all(species_set, train, test, settings)
    by_length = _accuracies(species_set, chosen, settings)
    return Audit(species_set.classes, by_length, left_out, shared_kmers(species_set, train, test))


def _check(settings: Settings, species_set: SpeciesSet) -> None:
    n = len(species_set.classes)
    if n < 2:
        raise InputError(
            f"expected at least two species to tell apart, got {n}", file=species_set.path
        )
    for length in settings.lengths or ():
        if length < LONGEST_K:
            raise InputError(f"expected --lengths of at least {LONGEST_K} bases, got {length}")
    if settings.locus < 1:
        raise InputError(f"expected --locus of at least 1 base, got {settings.locus}")
    if not 0 <= settings.max_n_fraction < 1:
        raise InputError(f"expected --max-n-fraction in [0, 1), got {settings.max_n_fraction}")
    for name in ("train_windows", "test_windows"):
        if getattr(settings, name) < 2 * n:
            option = name.replace("_", "-")
            raise InputError(
                f"expected --{option} of at least {2 * n}, two a species; "
                f"got {getattr(settings, name)}"
            )
    if not 0 <= settings.seed < 2**63:
        raise InputError(f"expected --seed in [0, 2^63), got {settings.seed}")


def _intervals(splits: Splits, side: str, species_set: SpeciesSet) -> tuple[Interval, ...]:
    intervals = splits.intervals(side)
    missing = [s for s in species_set.classes if s not in {i.species for i in intervals}]
    if missing:
        raise InputError(
            f"the splits have no {side} interval of {' and '.join(missing)}; every species of "
            f"{species_set.path} needs one",
            fix="Make the splits from the same species set: genomamba prepare split",
        )
    return intervals


Chosen = tuple[AuditWindows, AuditWindows, int]  # train, test, locus


def _choose_all(
    species_set: SpeciesSet,
    train: Sequence[Interval],
    test: Sequence[Interval],
    settings: Settings,
) -> tuple[list[Chosen], dict[int, str]]:
    """Windows of every length; lengths that the user did not ask for may be impossible."""
    chosen: list[Chosen] = []
    left_out: dict[int, str] = {}
    for length in sorted(set(settings.lengths or DEFAULT_LENGTHS)):
        try:
            chosen.append(_choose(species_set, train, test, length, settings))
        except InputError as error:
            if settings.lengths:
                raise
            left_out[length] = error.what
    if not chosen:
        raise InputError(
            f"no default length is possible: {left_out[DEFAULT_LENGTHS[0]]}",
            file=species_set.path,
            fix="Name shorter --lengths, or a smaller --locus",
        )
    return chosen, left_out


def _choose(
    species_set: SpeciesSet,
    train: Sequence[Interval],
    test: Sequence[Interval],
    length: int,
    settings: Settings,
) -> Chosen:
    train_length = min(length, LONGEST_TRAINING)
    common = {"seed": settings.seed, "max_n_fraction": settings.max_n_fraction}
    longest = max(interval.end - interval.start for interval in train)
    training = choose_windows(
        species_set,
        train,
        train_length,
        step=max(1, train_length // 2),
        locus_size=longest,
        windows=settings.train_windows,
        **common,
    )
    locus = max(settings.locus, 2 * length)
    testing = choose_windows(
        species_set,
        test,
        length,
        step=max(1, length // 4),
        locus_size=locus,
        windows=settings.test_windows,
        **common,
    )
    if len(training) < 2 * len(species_set.classes):
        raise InputError(
            f"the train split has a single window of {train_length} bases of some species",
            file=species_set.path,
            fix="Use shorter --lengths, or give every species longer intervals",
        )
    for label, species in enumerate(species_set.classes):
        if len(np.unique(testing.locus[testing.label == label])) < 2:
            raise InputError(
                f"the test windows of {length} bases of the species {species} lie in a single locus"
                f" of {locus} bases; an accuracy there has no interval",
                file=species_set.path,
                fix="Use shorter --lengths, a smaller --locus, or give the test split more records",
            )
    return training, testing, locus


def _accuracies(
    species_set: SpeciesSet, chosen: Sequence[Chosen], settings: Settings
) -> tuple[LengthResult, ...]:
    """Classifiers are fitted once for each training length and serve all lengths from it on."""
    groups: dict[int, list[Chosen]] = {}
    for windows in chosen:
        groups.setdefault(windows[0].length, []).append(windows)
    bases = sum(len(w) * w.length for group in groups.values() for w in _read(group))
    results = []
    with Progress("classifying windows", bases) as progress:
        for group in groups.values():
            features = [read_features(species_set, w, progress) for w in _read(group)]
            predicted = _predict(features, group[0][0], len(species_set.classes), settings.seed)
            for number, windows in enumerate(group):
                own = {name: tests[number] for name, tests in predicted.items()}
                results.append(_score(windows, own, len(species_set.classes), settings.seed))
    return tuple(results)


def _read(group: Sequence[Chosen]) -> list[AuditWindows]:
    """The windows of a group: training, then the test windows of each length."""
    return [group[0][0], *(testing for _, testing, _ in group)]


def _predict(
    features: Sequence[Features], training: AuditWindows, n_classes: int, seed: int
) -> dict[str, list[np.ndarray]]:
    """Predictions for every length's test windows, by classifier."""
    predicted = {}
    for name in CONTROLS:
        train, *tests = (own.controls[name] for own in features)
        predicted[name] = predict_lda(train, training.label, tests, n_classes, seed)
    for k in KS:
        shares = shorter_classes(LONGEST_K, k).astype(np.float32)
        train, *tests = (
            np.sqrt(own.kmers @ shares if k < LONGEST_K else own.kmers) for own in features
        )
        predicted[f"{k}-mers"] = predict_lda(train, training.label, tests, n_classes, seed)
    train, *tests = (own.repeats for own in features)
    predicted[REPEATS] = predict_lda(train, training.label, tests, n_classes, seed)
    return predicted


def _score(
    windows: Chosen, predicted: dict[str, np.ndarray], n_classes: int, seed: int
) -> LengthResult:
    training, testing, locus = windows
    records = np.array([testing.intervals[i].record for i in testing.interval.tolist()])
    by_record = np.unique(records, return_inverse=True)[1]
    accuracies = {
        name: score(
            labels,
            testing.label,
            by_record if name == BY_RECORD else testing.locus,
            n_classes,
            seed,
        )
        for name, labels in predicted.items()
    }
    return LengthResult(
        testing.length,
        training.length,
        len(training),
        len(testing),
        locus,
        training.refused + testing.refused,
        accuracies,
    )
