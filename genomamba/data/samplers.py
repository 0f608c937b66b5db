"""Which example numbers a rank sees, and when. Letters: G global batch, s optimiser step.

Step s holds G examples that follow those of step s - 1. Each of its accumulated parts is a run of
them, and each rank's share of a part is a run of that, so that neither the number of ranks nor the
accumulation changes what a step learns from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch.utils.data import Sampler

from genomamba.data.schedule import Schedule


class StepBatchSampler(Sampler[range]):
    """One rank's share of an endless stream of steps.

    It has no length: Lightning then neither ends an epoch nor takes a resumed run for one that is
    in the middle of it; `Trainer(max_steps=...)` ends the training.

    Args:
        schedule: the examples of each step.
        parts: batches a step that a rank accumulates.
        world_size: number of ranks.
        rank: from 0.
        steps_done: asked at the start of each iteration; the stream begins with this step.

    Raises:
        ValueError: the ranks and parts do not divide a stage's G.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        parts: int = 1,
        world_size: int = 1,
        rank: int = 0,
        steps_done: Callable[[], int] = lambda: 0,
    ) -> None:
        self.schedule = schedule
        self.parts, self.world_size, self.rank = parts, world_size, rank
        self.steps_done = steps_done
        for stage in schedule.stages:
            if stage.batch_size < 1 or stage.batch_size % (parts * world_size):
                raise ValueError(
                    f"expected a global batch that {world_size} ranks x {parts} parts divide, got "
                    f"{stage.batch_size}"
                )

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Windows and bases of the batches of each stage."""
        shares = self.parts * self.world_size
        return [(stage.batch_size // shares, stage.length) for stage in self.schedule.stages]

    def __iter__(self) -> Iterator[range]:
        step = self.steps_done()
        while True:
            size = self.schedule.at_step(step).batch_size // (self.parts * self.world_size)
            first = self.schedule.first_example(step) + self.rank * size
            for part in range(self.parts):
                begin = first + part * self.world_size * size
                yield range(begin, begin + size)
            step += 1


class RankSampler(Sampler[range]):
    """Every ``world_size``-th example of an evaluation set in batches; each on one rank only.

    Args:
        examples: in the set.
        size: examples a batch; the last batch of a rank may have fewer.
        world_size: number of ranks.
        rank: from 0.
    """

    def __init__(self, examples: int, size: int, *, world_size: int = 1, rank: int = 0) -> None:
        self._own, self.size = range(rank, examples, world_size), size

    def __len__(self) -> int:
        return -(-len(self._own) // self.size)

    def __iter__(self) -> Iterator[range]:
        for first in range(0, len(self._own), self.size):
            yield self._own[first : first + self.size]
