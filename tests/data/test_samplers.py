"""Step s holds the examples sG ... (s + 1)G - 1, however ranks, parts and restarts cut it."""

from __future__ import annotations

from itertools import islice

import pytest

from genomamba.data.samplers import RankSampler, StepBatchSampler
from genomamba.data.schedule import Schedule


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("done", [0, 1, 5])
def test_a_step_is_a_run_of_examples(parts: int, world_size: int, done: int) -> None:
    batch_size, steps = 24, 3
    streams = [
        iter(
            StepBatchSampler(
                Schedule(1, batch_size),
                parts=parts,
                world_size=world_size,
                rank=rank,
                steps_done=lambda: done,
            )
        )
        for rank in range(world_size)
    ]
    for step in range(done, done + steps):
        shares = [[list(batch) for batch in islice(stream, parts)] for stream in streams]
        sizes = {len(batch) for share in shares for batch in share}
        assert sizes == {batch_size // (parts * world_size)}
        # Part after part, rank after rank: the step's examples in index order.
        together = [i for part in zip(*shares, strict=True) for batch in part for i in batch]
        assert together == list(range(step * batch_size, (step + 1) * batch_size))


def test_each_iteration_asks_where_it_stands() -> None:
    steps = iter([0, 7])
    sampler = StepBatchSampler(Schedule(1, 4), steps_done=lambda: next(steps))
    assert next(iter(sampler)) == range(4)
    assert next(iter(sampler)) == range(28, 32)


@pytest.mark.parametrize(("batch_size", "parts", "world_size"), [(0, 1, 1), (6, 4, 1), (6, 2, 2)])
def test_a_batch_that_cannot_be_shared(batch_size: int, parts: int, world_size: int) -> None:
    with pytest.raises(ValueError, match="global batch"):
        StepBatchSampler(Schedule(1, batch_size), parts=parts, world_size=world_size)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_evaluation_examples_are_each_on_one_rank(world_size: int) -> None:
    shares = [RankSampler(7, 2, world_size=world_size, rank=rank) for rank in range(world_size)]
    assert sorted(i for share in shares for batch in share for i in batch) == list(range(7))
    assert [len(share) for share in shares] == [len(list(share)) for share in shares]
