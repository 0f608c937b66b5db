"""The audit's windows: the same places in every species, grouped by loci that never overlap.

Every interval of a split is cut in equal pieces, the loci; windows begin at equal steps in a locus
and end in it. Of more windows than wanted, those with the smallest keys are taken. A key is a hash
of seed, record name, interval, locus and the window's number, so that orthologous places, which
have these in common, are taken in all species or in none.

Letters: B windows, L length in bases.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import Codes, N
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval

Int64 = npt.NDArray[np.int64]


class AuditWindows(NamedTuple):
    """Windows of one length, as many of each species, ordered by species and place.

    Attributes:
        length: L, in bases.
        label: class of each window, (B,).
        interval: place in ``intervals``, (B,).
        start: first base in the record, from 0, (B,).
        locus: number of the locus, (B,); orthologous loci have the same in all species.
        intervals: the split's intervals.
        refused: places that were passed over for their N.
    """

    length: int
    label: Int64
    interval: Int64
    start: Int64
    locus: Int64
    intervals: Sequence[Interval]
    refused: int

    def __len__(self) -> int:
        return len(self.start)


def choose_windows(
    species_set: SpeciesSet,
    intervals: Sequence[Interval],
    length: int,
    *,
    step: int,
    locus_size: int,
    windows: int,
    seed: int,
    max_n_fraction: float,
) -> AuditWindows:
    """Choose equally many windows of every species.

    Args:
        species_set: the genomes.
        intervals: of one split.
        length: L, in bases.
        step: from one window's start to the next one's within a locus, in bases.
        locus_size: an interval is cut in as many equal loci as are at least this long.
        windows: at most so many, over all species.
        seed: of the choice.
        max_n_fraction: windows with a greater fraction of N are passed over.

    Raises:
        InputError: a species without a window.
    """
    loci: dict[tuple[str, int, int], int] = {}
    chosen = []
    refused = 0
    for species in species_set.classes:
        places = _places(species, intervals, length, step, locus_size, seed, loci)
        wanted = windows // len(species_set.classes)
        kept, passed = _with_few_n(species_set, intervals, places, length, wanted, max_n_fraction)
        refused += passed
        if not len(kept):
            raise _no_window(species_set, species, intervals, length, passed, max_n_fraction)
        chosen.append(kept)
    each = min(map(len, chosen))  # classes are equal, so that chance is 1 / their number
    chosen = [np.sort(kept[:each], order=("interval", "start")) for kept in chosen]
    rows = np.concatenate(chosen)
    label = np.repeat(np.arange(len(chosen)), each)
    return AuditWindows(
        length, label, rows["interval"], rows["start"], rows["locus"], intervals, refused
    )


def window_codes(species_set: SpeciesSet, interval: Interval, start: int, length: int) -> Codes:
    """A window's codes on the FASTA's strand, soft-mask bit included, shape (L,)."""
    name = species_set.records(interval.species)[interval.record]
    return species_set.stores[interval.species].codes(name, start, start + length)


PLACE = np.dtype([("key", "u8"), ("interval", "i8"), ("start", "i8"), ("locus", "i8")])


def _places(
    species: str,
    intervals: Sequence[Interval],
    length: int,
    step: int,
    locus_size: int,
    seed: int,
    loci: dict[tuple[str, int, int], int],
) -> npt.NDArray[np.void]:
    """All windows of a species in the order of their keys; ``loci`` gets the loci's numbers."""
    parts = [np.zeros(0, PLACE)]
    ordinals: dict[str, int] = defaultdict(int)  # interval i of a record is orthologous everywhere
    for number, (own, record, first, last, _) in enumerate(intervals):
        if own != species:
            continue
        ordinal = ordinals[record]
        ordinals[record] += 1
        pieces = max(1, (last - first) // locus_size)
        borders = np.linspace(first, last, pieces + 1).astype(np.int64).tolist()
        for piece, (low, high) in enumerate(pairwise(borders)):
            if high - low < length:
                continue
            starts = np.arange(low, high - length + 1, step)
            part = np.zeros(len(starts), PLACE)
            identity = (record, ordinal, piece)
            part["key"] = _keys(f"{seed} {length} {identity}", len(starts))
            part["interval"], part["start"] = number, starts
            part["locus"] = loci.setdefault(identity, len(loci))
            parts.append(part)
    places = np.concatenate(parts)
    return places[np.argsort(places["key"], kind="stable")]


def _keys(name: str, n: int) -> npt.NDArray[np.uint64]:
    """Pseudo-random keys 0 ... n - 1 of a name."""
    base = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    return mix64(np.uint64(base) + np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def mix64(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A permutation of 64-bit numbers whose bits look random: the finaliser of SplitMix64.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with
    Stafford's constants (variant 13).
    """
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _with_few_n(
    species_set: SpeciesSet,
    intervals: Sequence[Interval],
    places: npt.NDArray[np.void],
    length: int,
    wanted: int,
    max_n_fraction: float,
) -> tuple[npt.NDArray[np.void], int]:
    """The first ``wanted`` places with few enough N, and how many were passed over on the way."""
    kept = np.zeros(len(places), dtype=bool)
    found = seen = 0
    for seen, place in enumerate(places, start=1):
        codes = window_codes(species_set, intervals[place["interval"]], int(place["start"]), length)
        # Of the codes of bases, N alone has this bit.
        kept[seen - 1] = np.count_nonzero(codes & N) <= max_n_fraction * length
        found += int(kept[seen - 1])
        if found == wanted:
            break
    return places[kept], seen - found


def _no_window(
    species_set: SpeciesSet,
    species: str,
    intervals: Sequence[Interval],
    length: int,
    passed: int,
    max_n_fraction: float,
) -> InputError:
    own = [interval for interval in intervals if interval.species == species]
    longest = max((interval.end - interval.start for interval in own), default=0)
    why = (
        f"all {passed} have more N than the fraction {max_n_fraction}"
        if passed
        else f"its longest interval has {longest}"
    )
    return InputError(
        f"the {intervals[0].split} split has no window of {length} bases of the species {species}; "
        f"{why}",
        file=species_set.path,
        fix="Use shorter --lengths, or give every species longer intervals",
    )
