"""Which example numbers a rank sees, and when. Letters: G global batch, s optimiser step.

Step s holds the examples sG ... (s + 1)G - 1. Each of its accumulated parts is a run of them, and
each rank's share of a part is a run of that, so that neither the number of ranks nor the
accumulation changes what a step learns from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch.utils.data import Sampler


class StepBatchSampler(Sampler[range]):
    """One rank's share of an endless stream of steps.

    It has no length: Lightning then neither ends an epoch nor takes a resumed run for one that is
    in the middle of it; `Trainer(max_steps=...)` ends the training.

    Args:
        batch_size: G, examples an optimiser step.
        parts: batches a step that a rank accumulates.
        world_size: number of ranks.
        rank: from 0.
        steps_done: asked at the start of each iteration; the stream begins with this step.

    Raises:
        ValueError: the ranks and parts do not divide G.
    """

    def __init__(
        self,
        batch_size: int,
        *,
        parts: int = 1,
        world_size: int = 1,
        rank: int = 0,
        steps_done: Callable[[], int] = lambda: 0,
    ) -> None:
        if batch_size < 1 or batch_size % (parts * world_size):
            raise ValueError(
                f"expected a global batch that {world_size} ranks x {parts} parts divide, got "
                f"{batch_size}"
            )
        self.size = batch_size // (parts * world_size)
        self.parts, self.world_size, self.rank = parts, world_size, rank
        self.steps_done = steps_done

    def __iter__(self) -> Iterator[range]:
        part = self.steps_done() * self.parts
        while True:
            first = (part * self.world_size + self.rank) * self.size
            yield range(first, first + self.size)
            part += 1


class RankSampler(Sampler[int]):
    """Every ``world_size``-th example of an evaluation set; each example on one rank only."""

    def __init__(self, examples: int, *, world_size: int = 1, rank: int = 0) -> None:
        self._own = range(rank, examples, world_size)

    def __len__(self) -> int:
        return len(self._own)

    def __iter__(self) -> Iterator[int]:
        return iter(self._own)
