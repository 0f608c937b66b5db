"""How many ranks are given examples of their own."""

from __future__ import annotations

from typing import NamedTuple

from lightning.pytorch import Trainer


class Replicas(NamedTuple):
    """Groups of ranks with the same examples, mostly of one rank each."""

    number: int
    own: int
    """The group of this rank, from 0."""


def replicas_of(trainer: Trainer | None) -> Replicas:
    """As the trainer's strategy says in the words that Lightning has for its own samplers.

    Sequence parallelism (`genomamba.training.sequence_parallel`) gives several ranks the same
    examples, of which each works on a part of the positions.
    """
    sampler = trainer.distributed_sampler_kwargs if trainer else None
    return Replicas(sampler["num_replicas"], sampler["rank"]) if sampler else Replicas(1, 0)
