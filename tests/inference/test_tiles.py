from __future__ import annotations

import itertools

import pytest

from genomamba.inference.tiles import Tiling


@pytest.mark.parametrize("window", [1, 2, 7, 64])
@pytest.mark.parametrize("length", [1, 2, 6, 7, 8, 13, 14, 15, 63, 64, 65, 1000])
def test_tiles_cover_the_record_with_windows_of_one_length(length: int, window: int) -> None:
    tiling = Tiling(window)
    found = [tiling(length, index) for index in range(tiling.count(length))]
    assert {base for start, end in found for base in range(start, end)} == set(range(length))
    assert all(end - start == min(length, window) for start, end in found)
    assert all(a < b for (a, _), (b, _) in itertools.pairwise(found))
    # Only the last one overlaps, and only where the length is no multiple of the window.
    assert all(a[1] == b[0] for a, b in itertools.pairwise(found[:-1]))
    assert len(found) == -(-length // window)


@pytest.mark.parametrize("step", [1, 2, 7, 64, None])
@pytest.mark.parametrize("length", [1, 6, 7, 8, 63, 64, 65])
def test_steps_cover_the_record_without_overlap(length: int, step: int | None) -> None:
    tiling = Tiling(step, full=False)
    found = [tiling(length, index) for index in range(tiling.count(length))]
    assert (found[0][0], found[-1][1]) == (0, length)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(found))
    assert all(end - start == step for start, end in found[:-1])
