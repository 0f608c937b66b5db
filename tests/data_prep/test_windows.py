"""The window sampler: purity, places, frequencies, N, and what it refuses."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from Bio.Seq import Seq

from genomamba_data_prep.codes import decode
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval
from genomamba_data_prep.window_reader import FORWARD, REVERSE
from genomamba_data_prep.windows import Stream, Windows, WindowSampler


def letters(length: int, seed: int, n_run: slice = slice(0)) -> str:
    text = np.random.default_rng(seed).choice(np.frombuffer(b"ACGTacgt", np.uint8), length)
    text[n_run] = ord("N")
    return text.tobytes().decode()


GENOMES = {
    "human": {"chr1": letters(3000, 1), "chr2": letters(900, 2), "chr3": letters(40, 3)},
    "chimp": {"chr1": letters(2000, 4, slice(400, 1600)), "chr2": "N" * 500},
    "gorilla": {"chr1": letters(1500, 5, slice(0, 200))},
}


@pytest.fixture
def species_set(write_species_set: Callable[..., Path]) -> SpeciesSet:
    return SpeciesSet.read(write_species_set(GENOMES))


def whole(genomes: dict[str, dict[str, str]] = GENOMES) -> list[Interval]:
    return [
        Interval(species, record, 0, len(text), "train")
        for species, records in genomes.items()
        for record, text in records.items()
    ]


def rows(windows: Windows) -> list[tuple[int, ...]]:
    return [tuple(int(value) for value in row) for row in zip(*windows, strict=True)]


def sequence(sampler: WindowSampler, species: int, interval: int, start: int, strand: int) -> str:
    """A window's letters, read from the genomes above and turned by Biopython."""
    place = sampler.intervals[interval]
    assert sampler.species_set.classes[species] == place.species
    assert place.start <= start
    assert start + sampler.length <= place.end
    text = GENOMES[place.species][place.record][start : start + sampler.length]
    return str(Seq(text).reverse_complement()) if strand == REVERSE else text


def chi_square_is_plausible(counts: np.ndarray, expected: np.ndarray) -> bool:
    """Whether counts lie within five standard deviations of the statistic's mean."""
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = len(counts) - 1
    return abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("weight_by_length", [True, False])
def test_example_i_depends_on_seed_and_i_only(
    species_set: SpeciesSet, weight_by_length: bool
) -> None:
    sampler = WindowSampler(
        species_set, whole(), 50, seed=7, weight_by_length=weight_by_length, max_n_fraction=0.2
    )
    numbers = np.concatenate([np.arange(300), [2**31, 2**32 - 1, 2**32, 2**40 + 3]])
    together = sampler.draw(numbers)
    assert together.attempts.max() > 2  # refusals happened, and must not matter
    order = np.random.default_rng(0).permutation(len(numbers))
    assert rows(sampler.draw(numbers[order])) == [rows(together)[i] for i in order]
    for i in range(0, len(numbers), 7):
        assert rows(sampler.draw(numbers[i : i + 1])) == rows(together)[i : i + 1]


def test_pickling_leaves_the_genomes_behind(species_set: SpeciesSet) -> None:
    sampler = WindowSampler(species_set, whole(), 50, seed=7)
    before = len(pickle.dumps(sampler))
    together = sampler.draw(np.arange(100))
    sampler.codes(together)
    content = pickle.dumps(sampler)
    assert len(content) == before
    again = pickle.loads(content)  # noqa: S301
    assert rows(again.draw(np.arange(100))) == rows(together)
    np.testing.assert_array_equal(again.codes(together), sampler.codes(together))


def test_pinned_draws(species_set: SpeciesSet) -> None:
    """A change here changes every training run and manifest: raise the format versions with it."""
    sampler = WindowSampler(species_set, whole(), 50, seed=1, max_n_fraction=0.2)
    assert rows(sampler.draw([0, 1, 4, 2**33])) == [
        (2, 3, 207, 1, 0),
        (2, 3, 805, -1, 1),
        (0, 1, 628, 1, 0),
        (0, 0, 1689, 1, 0),
    ]


@pytest.mark.parametrize("length", [1, 7, 64, 500])
def test_codes_are_the_genomes_letters(species_set: SpeciesSet, length: int) -> None:
    sampler = WindowSampler(species_set, whole(), length, seed=3, max_n_fraction=0.9)
    windows = sampler.draw(np.arange(200))
    found = [decode(row) for row in sampler.codes(windows)]
    assert set(windows.strand.tolist()) == {FORWARD, REVERSE}
    assert found == [sequence(sampler, *row[:4]).encode() for row in rows(windows)]


def test_windows_stay_inside_their_interval(species_set: SpeciesSet) -> None:
    intervals = [
        Interval("human", "chr1", 100, 160, "train"),
        Interval("human", "chr1", 160, 215, "train"),
        Interval("chimp", "chr1", 0, 400, "train"),
        Interval("gorilla", "chr1", 1400, 1450, "train"),
    ]
    sampler = WindowSampler(species_set, intervals, 50, seed=0)
    drawn = rows(sampler.draw(np.arange(3000)))
    for row in drawn:
        sequence(sampler, *row[:4])
    starts = {(sampler.intervals[interval][:2], start) for _, interval, start, _, _ in drawn}
    # Every place is reached, the last one of each interval included, and none over a border.
    assert {s for key, s in starts if key[0] == "human"} == {*range(100, 111), *range(160, 166)}
    assert {s for key, s in starts if key[0] == "gorilla"} == {1400}


@pytest.mark.parametrize("weight_by_length", [True, False])
def test_frequencies(species_set: SpeciesSet, weight_by_length: bool) -> None:
    intervals = [
        Interval("human", "chr1", 0, 1000, "train"),
        Interval("human", "chr1", 2000, 2100, "train"),
        Interval("human", "chr2", 0, 300, "train"),
        Interval("chimp", "chr1", 0, 100, "train"),
        Interval("gorilla", "chr1", 500, 600, "train"),
    ]
    examples = 60_000
    sampler = WindowSampler(species_set, intervals, 51, seed=11, weight_by_length=weight_by_length)
    windows = sampler.draw(np.arange(examples))
    third = examples / 3
    assert chi_square_is_plausible(np.bincount(windows.species), np.full(3, third))
    assert chi_square_is_plausible(np.bincount((windows.strand + 1) // 2), np.full(2, examples / 2))
    starts = np.array([950, 50, 250])
    weights = starts / starts.sum() if weight_by_length else np.array([0.475, 0.025, 0.5])
    human = windows.species == 0
    assert chi_square_is_plausible(np.bincount(windows.interval[human]), weights * human.sum())
    first = windows.start[windows.interval == 0]
    assert chi_square_is_plausible(
        np.bincount(first, minlength=950), np.full(950, len(first) / 950)
    )
    # Strand, species and start come from different bits.
    strand_of_first = windows.strand[windows.interval == 0] == FORWARD
    low = first < 475
    expected = np.full(4, len(first) / 4)
    assert chi_square_is_plausible(np.bincount(strand_of_first * 2 + low), expected)


def test_refusals_do_not_tilt_the_classes(species_set: SpeciesSet) -> None:
    sampler = WindowSampler(species_set, whole(), 100, seed=5, max_n_fraction=0.0)
    windows = sampler.draw(np.arange(20_000))
    refused = np.bincount(windows.species, windows.attempts)
    assert refused[0] == 0
    assert refused[1] > refused[2] > 0
    assert chi_square_is_plausible(np.bincount(windows.species), np.full(3, 20_000 / 3))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.999999])
def test_no_window_has_more_n_than_allowed(species_set: SpeciesSet, fraction: float) -> None:
    sampler = WindowSampler(species_set, whole(), 100, seed=2, max_n_fraction=fraction)
    windows = sampler.draw(np.arange(20_000))
    n = np.array([decode(row).upper().count(b"N") for row in sampler.codes(windows)])
    assert n.max() == min(int(fraction * 100), 99)
    assert sampler.dropped == {"shorter than the window": 1, "in a record of N only": 1}


def test_streams_and_seeds_are_independent(species_set: SpeciesSet) -> None:
    draws = [
        WindowSampler(species_set, whole(), 10, seed=seed, stream=stream).draw(np.arange(2000))
        for seed, stream in [
            (0, Stream.TRAINING),
            (0, Stream.VALIDATION),
            (0, Stream.TEST),
            (0, Stream.MANIFEST),
            (1, Stream.TRAINING),
            (2**32, Stream.TRAINING),
        ]
    ]
    for a in range(len(draws)):
        for b in range(a):
            agree = (draws[a].species == draws[b].species).mean()
            assert abs(agree - 1 / 3) < 0.06
            assert (draws[a].start == draws[b].start).mean() < 0.01


def test_balanced_takes_the_species_in_turn(species_set: SpeciesSet) -> None:
    sampler = WindowSampler(
        species_set, whole(), 50, seed=0, balanced=True, reverse_complement=False
    )
    windows = sampler.draw([0, 1, 2, 3, 10, 2**32 + 1])
    assert windows.species.tolist() == [0, 1, 2, 0, 1, (2**32 + 1) % 3]
    assert set(windows.strand.tolist()) == {FORWARD}


def test_no_windows(species_set: SpeciesSet) -> None:
    sampler = WindowSampler(species_set, whole(), 50, seed=0)
    assert sampler.codes(sampler.draw([])).shape == (0, 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "window length of at least 1, got 0"),
        ({"length": 1501}, "species gorilla has no interval of at least 1501 .* chr1 with 1500"),
        ({"max_n_fraction": 1.0}, "max_n_fraction in .*, got 1.0"),
        ({"max_n_fraction": float("nan")}, "max_n_fraction"),
        ({"seed": -1}, "seed"),
    ],
)
def test_refused_arguments(
    species_set: SpeciesSet, options: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        WindowSampler(species_set, whole(), **{"length": 50, "seed": 0} | options)  # type: ignore[arg-type]


def test_a_record_of_n_only_is_not_called_short(write_species_set: Callable[..., Path]) -> None:
    species_set = SpeciesSet.read(write_species_set({"human": {"chr1": "N" * 90, "chr2": "ACGT"}}))
    intervals = [Interval("human", "chr1", 0, 90, "train")]
    with pytest.raises(InputError, match="long enough lie in records of N only"):
        WindowSampler(species_set, intervals, 50, seed=0)


def test_nothing_but_n_is_given_up(species_set: SpeciesSet) -> None:
    intervals = [i._replace(start=400, end=900) for i in whole() if i.record == "chr1"]
    sampler = WindowSampler(species_set, intervals, 100, seed=0)
    with pytest.raises(
        InputError, match=r"1000 windows of 100 bases .* from chimp, .* fraction 0\.1"
    ):
        sampler.draw(np.arange(10))
