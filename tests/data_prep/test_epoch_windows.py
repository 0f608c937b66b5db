"""Published pretraining windows: tiles, extension, no other split's bases, each window once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from Bio.Seq import Seq
from hypothesis import given, settings
from hypothesis import strategies as st

from genomamba_data_prep.codes import decode
from genomamba_data_prep.epoch_windows import EpochSampler
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import SPLITS, Interval, Splits
from genomamba_data_prep.window_reader import REVERSE, WindowReader
from genomamba_data_prep.windows import Stream, Windows


def letters(length: int, seed: int, n_run: slice = slice(0)) -> str:
    text = np.random.default_rng(seed).choice(np.frombuffer(b"ACGTacgt", np.uint8), length)
    text[n_run] = ord("N")
    return text.tobytes().decode()


GENOME = {"chr1": letters(4000, 1), "chr2": letters(2500, 2, slice(1000, 1300)), "chr3": "ACGT"}


@pytest.fixture
def species_set(write_species_set: Callable[..., Path]) -> SpeciesSet:
    return SpeciesSet.read(write_species_set({"human": GENOME}))


def rows(*places: tuple[str, int, int, str]) -> list[Interval]:
    return [Interval("human", *place) for place in places]


def epoch(sampler: EpochSampler, number: int = 0) -> Windows:
    return sampler.draw(np.arange(len(sampler)) + number * len(sampler))


def places(sampler: EpochSampler, windows: Windows) -> list[tuple[str, int]]:
    """Record and start of each window, ascending."""
    names = [sampler.intervals[i].record for i in windows.interval.tolist()]
    return sorted(zip(names, windows.start.tolist(), strict=True))


@pytest.mark.parametrize("length", [1, 16, 64, 128])
def test_an_interval_gives_its_length_over_l_windows(species_set: SpeciesSet, length: int) -> None:
    own = [("chr1", start, start + 128, "train") for start in (0, 60, 1000, 3872)]
    splits = Splits(species_set, rows(*own, ("chr1", 2000, 2128, "test")))
    sampler = EpochSampler(species_set, splits, "train", length, seed=1)
    expected = [("chr1", a + i) for _, a, _, _ in own for i in range(0, 128, length)]
    assert places(sampler, epoch(sampler)) == sorted(expected)
    assert len(sampler) == 4 * 128 // length
    assert not sampler.dropped
    assert places(sampler, epoch(sampler, 3)) == sorted(expected)
    orders = [epoch(sampler, number).start.tolist() for number in (0, 1)]
    assert length == 128 or orders[0] != orders[1]


def test_longer_windows_are_extended_and_shifted(species_set: SpeciesSet) -> None:
    splits = Splits(
        species_set,
        rows(
            ("chr1", 0, 100, "train"),  # shifted by the chromosome's start
            ("chr1", 700, 800, "train"),  # around its middle
            ("chr1", 1100, 1200, "train"),  # shifted by the test split
            ("chr1", 1300, 1400, "test"),
            ("chr1", 1500, 1600, "train"),  # between two tests: 200 bases and no more
            ("chr1", 1700, 1800, "test"),
            ("chr1", 3900, 4000, "train"),  # shifted by the chromosome's end
            ("chr3", 0, 4, "train"),
        ),
    )
    sampler = EpochSampler(species_set, splits, "train", 400, seed=1)
    expected = [("chr1", start) for start in (0, 550, 850, 3600)]
    assert places(sampler, epoch(sampler)) == expected
    assert dict(sampler.dropped) == {"interval(s) that cannot be extended to the window": 2}
    test = EpochSampler(species_set, splits, "test", 200, seed=1)
    assert places(test, epoch(test)) == [("chr1", 1250), ("chr1", 1650)]
    with pytest.raises(InputError, match="test split gives no window of 400 bases: 1 interval"):
        tight = rows(("chr1", 1100, 1200, "train"), ("chr1", 1300, 1400, "test"))
        later = rows(("chr1", 1500, 1600, "train"))
        EpochSampler(species_set, Splits(species_set, tight + later), "test", 400, seed=1)


def test_the_same_window_counts_once(species_set: SpeciesSet) -> None:
    own = [("chr1", start, start + 100, "train") for start in (0, 50, 100, 2000)]
    sampler = EpochSampler(species_set, Splits(species_set, rows(*own)), "train", 1000, seed=1)
    assert places(sampler, epoch(sampler)) == [("chr1", 0), ("chr1", 1550)]
    assert dict(sampler.dropped) == {"interval(s) with the same window as another one's": 2}


def test_windows_with_too_many_n_are_left_out(species_set: SpeciesSet) -> None:
    splits = Splits(species_set, rows(("chr1", 0, 1000, "train"), ("chr2", 0, 2500, "train")))
    sampler = EpochSampler(species_set, splits, "train", 100, seed=1, max_n_fraction=0.0)
    starts = [s for s in range(0, 2500, 100) if not 1000 <= s < 1300]
    expected = [("chr1", s) for s in range(0, 1000, 100)] + [("chr2", s) for s in starts]
    assert places(sampler, epoch(sampler)) == expected
    assert dict(sampler.dropped) == {"window(s) with too many N": 3}
    # All of them, whatever numbers are left out: the compact numbering skips none.
    for length in (7, 30, 64):
        sampler = EpochSampler(
            species_set, splits, "train", length, seed=1, max_n_fraction=0.3, stream=Stream.TEST
        )
        found = places(sampler, epoch(sampler))
        expected = [
            (record, start)
            for record, end in (("chr1", 1000), ("chr2", 2500))
            for start in range(0, end - length + 1, length)
            if GENOME[record][start : start + length].count("N") / length <= 0.3
        ]
        assert found == expected
        assert sampler.dropped["base(s) at interval ends, less than a window"] == (
            1000 % length + 2500 % length
        )
    with pytest.raises(InputError, match="no window of 300 bases: 1 window"):
        only = Splits(species_set, rows(("chr2", 1000, 1300, "train")))
        EpochSampler(species_set, only, "train", 300, seed=1)


def test_codes_are_the_genomes_letters(species_set: SpeciesSet) -> None:
    splits = Splits(species_set, rows(("chr1", 5, 3000, "train"), ("chr2", 0, 900, "train")))
    sampler = EpochSampler(species_set, splits, "train", 50, seed=1)
    assert len(pickle.dumps(sampler)) < 10_000
    windows = pickle.loads(pickle.dumps(sampler)).draw(np.arange(40))  # noqa: S301
    for place, codes in enumerate(sampler.codes(windows)):
        row = sampler.intervals[windows.interval[place]]
        text = GENOME[row.record][windows.start[place] :][:50]
        turned = str(Seq(text).reverse_complement())
        assert decode(codes).decode() == (turned if windows.strand[place] == REVERSE else text)
    assert set(windows.strand.tolist()) == {1, -1}
    plain = EpochSampler(species_set, splits, "train", 50, seed=1, reverse_complement=False)
    assert set(plain.draw(np.arange(40)).strand.tolist()) == {1}
    np.testing.assert_array_equal(plain.draw(np.arange(40)).start, windows.start)


def test_example_i_depends_on_seed_and_i_only(species_set: SpeciesSet) -> None:
    splits = Splits(species_set, rows(("chr1", 0, 4000, "train")))
    sampler = EpochSampler(species_set, splits, "train", 30, seed=9)
    numbers = np.concatenate([np.arange(300), [2**31, 2**36 + 1]])
    together = sampler.draw(numbers)
    for place in range(0, len(numbers), 5):
        alone = sampler.draw(numbers[place : place + 1])
        assert all(a[0] == t[place] for a, t in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "window length of at least 1"),
        ({"max_n_fraction": 1.0}, "max_n_fraction"),
        ({"seed": -1}, "seed"),
        ({"split": "valid"}, "valid split gives no window of 10 bases; it has no intervals"),
    ],
)
def test_refused(species_set: SpeciesSet, options: dict[str, Any], message: str) -> None:
    splits = Splits(species_set, rows(("chr1", 0, 4000, "train")))
    given: dict[str, Any] = {"split": "train", "length": 10, "seed": 0} | options
    with pytest.raises(InputError, match=message):
        EpochSampler(species_set, splits, **given)


class FakeSet:
    """What a sampler needs of a species set whose bases are never read."""

    classes = ("human",)

    def __init__(self, lengths: dict[str, int]) -> None:
        self._lengths = lengths
        records = {name: SimpleNamespace(n=0, offset=0) for name in lengths}
        self.stores = {"human": SimpleNamespace(records=records)}
        self.path = Path("fake")

    def records(self, species: str) -> dict[str, str]:
        return {name: name for name in self._lengths}

    def length(self, species: str, record: str) -> int:
        return self._lengths[record]


@st.composite
def layouts(draw: st.DrawFn) -> tuple[dict[str, int], list[Interval]]:
    """Records with intervals of equal length whose splits do not overlap, as in Basenji's file."""
    size = draw(st.sampled_from([8, 16]))
    lengths, intervals = {}, []
    for number in range(draw(st.integers(1, 3))):
        name, at = f"chr{number}", draw(st.integers(0, 40))
        split = draw(st.sampled_from(SPLITS))
        for _ in range(draw(st.integers(1, 8))):
            intervals.append(Interval("human", name, at, at + size, split))
            other = draw(st.sampled_from(SPLITS))
            step = draw(st.integers(0, size)) if other == split else size
            at += step + draw(st.integers(0, 30)) * draw(st.sampled_from([0, 1]))
            split = other
        lengths[name] = max(i.end for i in intervals if i.record == name) + draw(st.integers(0, 40))
    return lengths, draw(st.permutations(intervals))


@patch.object(WindowReader, "count_n", lambda self, record, start, length: np.zeros_like(start))
@given(layouts(), st.sampled_from([1, 2, 4, 8, 16, 20, 32, 64, 100]), st.integers(0, 5))
@settings(max_examples=250, deadline=None)
def test_no_base_is_in_the_windows_of_two_splits(
    layout: tuple[dict[str, int], list[Interval]], length: int, seed: int
) -> None:
    lengths, intervals = layout
    species_set: Any = FakeSet(lengths)
    splits = Splits(species_set, intervals)
    owner: dict[tuple[str, int], str] = {
        (row.record, base): row.split for row in intervals for base in range(row.start, row.end)
    }
    for split in SPLITS:
        own = [row for row in intervals if row.split == split]
        try:
            sampler = EpochSampler(species_set, splits, split, length, seed=seed)
        except InputError:
            assert not own or length > own[0].end - own[0].start
            continue
        windows = epoch(sampler)
        found = places(sampler, windows)
        size = own[0].end - own[0].start
        if length <= size:
            assert len(found) == len(own) * (size // length)
        else:
            assert len(set(found)) == len(found)
            assert len(found) + sum(sampler.dropped.values()) == len(own)
            for at, start in zip(windows.interval.tolist(), windows.start.tolist(), strict=True):
                row = sampler.intervals[at]
                assert start <= row.start
                assert row.end <= start + length
        for record, start in found:
            assert start >= 0
            assert start + length <= lengths[record]
            for base in range(start, start + length):
                assert owner.setdefault((record, base), split) == split
