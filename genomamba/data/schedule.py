"""Which examples a step learns from, and how long they are. G global batch, s optimiser step.

Training may warm up its windows' length: stages of shorter windows come first, by default with as
many more windows a step as keep the tokens a step constant. Examples are numbered through all
stages, so that example i, its length included, is a function of (seed, i) and the schedule.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from genomamba_data_prep.errors import InputError


@dataclass(frozen=True)
class WarmupStage:
    """A stage before the main one.

    Args:
        length: window length in bases.
        steps: optimiser steps.
        batch_size: G; by default what keeps the tokens a step those of the main stage.
    """

    length: int
    steps: int
    batch_size: int | None = None


class Stage(NamedTuple):
    """Steps with windows of one length.

    Attributes:
        length: window length in bases.
        batch_size: G, windows a step, over all ranks and accumulated parts.
        first_step: the step it begins with, from 0.
        first_example: the number of that step's first window.
    """

    length: int
    batch_size: int
    first_step: int
    first_example: int


class Schedule:
    """The stages of a training run; the last one has no end.

    Args:
        length: window length of the last stage, in bases.
        batch_size: G of the last stage.
        warmup: the stages before it.

    Raises:
        InputError: a stage that is empty, or whose windows cannot make up the tokens of a step.
    """

    def __init__(self, length: int, batch_size: int, warmup: Sequence[WarmupStage] = ()) -> None:
        tokens = length * batch_size
        step = example = 0
        stages: list[Stage] = []
        for number, stage in enumerate(warmup):
            size = stage.batch_size
            if min(stage.steps, stage.length, 1 if size is None else size) < 1:
                raise InputError(
                    f"length_warmup, stage {number}: {stage.steps} step(s) of windows of "
                    f"{stage.length} bases, batch_size {size}: expected at least one of each"
                )
            if size is None and tokens % stage.length:
                raise InputError(
                    f"length_warmup, stage {number}: windows of {stage.length} bases: expected a "
                    f"length that divides the {tokens} tokens of a step (length {length} x "
                    f"batch_size {batch_size})",
                    fix="Choose such a length, or give the stage a batch_size",
                )
            stages.append(Stage(stage.length, size or tokens // stage.length, step, example))
            step += stage.steps
            example += stage.steps * stages[-1].batch_size
        self.stages = (*stages, Stage(length, batch_size, step, example))
        self._steps = [stage.first_step for stage in self.stages]
        self._examples = [stage.first_example for stage in self.stages]

    @property
    def longest(self) -> int:
        """The greatest window length, in bases."""
        return max(stage.length for stage in self.stages)

    def at_step(self, step: int) -> Stage:
        """The stage of optimiser step ``step``."""
        return self.stages[bisect_right(self._steps, step) - 1]

    def of_example(self, example: int) -> int:
        """The number of the stage that example ``example`` belongs to."""
        return bisect_right(self._examples, example) - 1

    def first_example(self, step: int) -> int:
        """The number of the step's first example, which is how many came before the step."""
        stage = self.at_step(step)
        return stage.first_example + (step - stage.first_step) * stage.batch_size

    def first_token(self, step: int) -> int:
        """How many bases the steps before this one hold."""
        ends = (*self._steps[1:], step)
        return sum(
            max(0, min(step, end) - stage.first_step) * stage.batch_size * stage.length
            for stage, end in zip(self.stages, ends, strict=True)
        )

    def table(self, max_steps: int) -> str:
        """The stages as text, a row each; those that begin after ``max_steps`` too."""
        rows = [["stage", "length", "batch", "steps", "examples", "tokens a step"]]
        ends = [*self._steps[1:], max(max_steps, self._steps[-1])]
        for number, (stage, end) in enumerate(zip(self.stages, ends, strict=True)):
            steps = end - stage.first_step
            numbers = (stage.length, stage.batch_size, steps, steps * stage.batch_size)
            tokens = stage.length * stage.batch_size
            rows.append([str(number), *(f"{value:,}" for value in (*numbers, tokens))])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            for row in rows
        )
        return "\n".join(lines)
