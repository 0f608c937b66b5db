"""Stages of a length warmup, and step s's examples, whatever workers, ranks, parts, restarts."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomamba.data.samplers import StepBatchSampler
from genomamba.data.schedule import Schedule, WarmupStage
from genomamba_data_prep.errors import InputError


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Schedule, int]:
    """A schedule and the number of ranks x parts that divides all of its batches."""
    shares = draw(st.integers(1, 4)) * draw(st.integers(1, 3))
    length, batch = draw(st.sampled_from([1, 4, 8])), shares * draw(st.integers(1, 4))
    lengths = [d for d in (1, 2, 4, 8) if length * batch % (d * shares) == 0]
    stage = st.builds(WarmupStage, st.sampled_from(lengths), st.integers(1, 5))
    return Schedule(length, batch, draw(st.lists(stage, max_size=3))), shares


def examples_of_steps(schedule: Schedule, steps: int) -> list[list[int]]:
    """By counting: the tokens a step are constant and the examples follow one another."""
    last = schedule.stages[-1]
    result, first = [], 0
    for step in range(steps):
        length = next(s.length for s in reversed(schedule.stages) if s.first_step <= step)
        size = last.length * last.batch_size // length
        result.append(list(range(first, first + size)))
        first += size
    return result


@settings(max_examples=300, deadline=None)
@given(schedules(), st.data())
def test_a_step_holds_its_examples(made: tuple[Schedule, int], data: st.DataObject) -> None:
    """Any ranks, accumulation and restarts with other ones: each step's examples in index order."""
    schedule, shares = made
    steps = 12
    expected = examples_of_steps(schedule, steps)
    restarts = data.draw(st.lists(st.integers(1, steps - 1), max_size=2, unique=True))
    borders = [0, *sorted(restarts), steps]
    for begin, end in pairwise(borders):
        ranks = data.draw(st.sampled_from([r for r in range(1, shares + 1) if shares % r == 0]))
        parts = shares // ranks
        streams = [
            iter(
                StepBatchSampler(
                    schedule,
                    parts=parts,
                    world_size=ranks,
                    rank=rank,
                    steps_done=lambda done=begin: done,
                )
            )
            for rank in range(ranks)
        ]
        for step in range(begin, end):
            own = [[list(batch) for batch in islice(stream, parts)] for stream in streams]
            together = [i for part in zip(*own, strict=True) for batch in part for i in batch]
            assert together == expected[step]
            for i in together:
                stage = schedule.stages[schedule.of_example(i)]
                assert stage == schedule.at_step(step)


def test_first_example_counts_all_before() -> None:
    schedule = Schedule(8, 2, [WarmupStage(2, 3), WarmupStage(4, 2)])
    assert [schedule.first_example(step) for step in range(7)] == [0, 8, 16, 24, 28, 32, 34]
    assert [stage.batch_size for stage in schedule.stages] == [8, 4, 2]
    assert schedule.longest == 8


def test_the_table() -> None:
    schedule = Schedule(1024, 6, [WarmupStage(512, 10)])
    assert schedule.table(1000).splitlines() == [
        "stage  length  batch  steps  examples  tokens a step",
        "    0     512     12     10       120          6,144",
        "    1   1,024      6    990     5,940          6,144",
    ]


def test_a_stage_with_a_batch_of_its_own() -> None:
    schedule = Schedule(8, 2, [WarmupStage(2, 3, batch_size=5), WarmupStage(4, 2)])
    assert schedule.stages == ((2, 5, 0, 0), (4, 4, 3, 15), (8, 2, 5, 23))
    assert [schedule.first_example(step) for step in (0, 2, 3, 4, 5, 6)] == [0, 10, 15, 19, 23, 25]
    assert [schedule.first_token(step) for step in (0, 2, 3, 4, 5, 6)] == [0, 20, 30, 46, 62, 78]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ((0, 5), "at least one of each"),
        ((64, 0), "at least one of each"),
        ((64, 1, 0), "at least one of each"),
        ((5, 1), "divides the 384 tokens"),
        ((100_000, 1), "divides the 384 tokens"),
    ],
)
def test_refused_stages(stage: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"length_warmup, stage 0: .*{message}"):
        Schedule(64, 6, [WarmupStage(*stage)])
