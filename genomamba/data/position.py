"""Where a training run stands in its stream, and what a Trainer must not do to it.

Lightning counts fetched batches; the stream is counted in optimiser steps. The two agree in a
checkpoint that was written at the end of a step and resumed with the same accumulation. Otherwise
`begin_step` turns Lightning's counters back to the end of the last whole step: what was accumulated
beyond it is not in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from genomamba.data.replicas import replicas_of
from genomamba_data_prep.errors import InputError


def parts_of(trainer: Trainer | None) -> int:
    """Batches that a rank accumulates for one optimiser step."""
    return trainer.accumulate_grad_batches if trainer else 1


def ends_step(trainer: Trainer, batch_idx: int) -> bool:
    """Whether an optimiser step ended with this batch of the training."""
    return (batch_idx + 1) % parts_of(trainer) == 0


def check_sharding(trainer: Trainer | None) -> None:
    """That Lightning leaves the sampling over ranks to us.

    Raises:
        InputError: it would put a DistributedSampler of its own into the loaders.
    """
    if trainer is None or trainer.world_size == 1:
        return
    # No public attribute tells; the Trainer keeps the argument here.
    if trainer._accelerator_connector.use_distributed_sampler:
        raise InputError(
            f"trainer.use_distributed_sampler is on with {trainer.world_size} ranks",
            fix="Set trainer.use_distributed_sampler to false: the data module shards by itself",
        )


def check_training(
    trainer: Trainer, batch_sizes: Sequence[int], *, warmup_steps: int, validates: bool
) -> None:
    """That the Trainer bounds the endless stream and cuts it at whole steps only.

    Args:
        trainer: with its arguments as given.
        batch_sizes: examples an optimiser step, over all ranks, of each stage.
        warmup_steps: optimiser steps of the length warmup.
        validates: whether there are validation windows.

    Raises:
        InputError: it does not; the message names the option to change.
    """
    parts, ranks = parts_of(trainer), replicas_of(trainer).number
    if parts < 1:
        raise InputError(
            f"expected trainer.accumulate_grad_batches of at least 1, got {parts}",
            fix="1 takes each step's examples at once",
        )
    for batch_size in batch_sizes:
        if batch_size % (ranks * parts):
            raise InputError(
                f"the global batch of {batch_size} is not divisible by {ranks} "
                f"rank(s) x trainer.accumulate_grad_batches {parts}",
                fix="batch_size counts the examples of an optimiser step over all ranks",
            )
    options: Any = trainer  # these two are set where a type checker does not look
    if options.fast_dev_run:
        return
    if trainer.max_steps == -1:
        raise InputError("the training stream has no end", fix="Set trainer.max_steps")
    if trainer.max_steps < 1:
        raise InputError("trainer.max_steps is 0: nothing is trained", fix="Raise it")
    if trainer.max_steps <= warmup_steps:
        raise InputError(
            f"length_warmup takes {warmup_steps:,} steps, and trainer.max_steps is "
            f"{trainer.max_steps:,}: windows of full length would never come",
            fix="Raise trainer.max_steps, or shorten the stages",
        )
    if trainer.limit_train_batches not in (1.0, 0, 0.0) or options.overfit_batches:
        raise InputError(
            "trainer.limit_train_batches and trainer.overfit_batches cut epochs, and the training "
            "stream has none",
            fix="Set trainer.max_steps",
        )
    if not validates or not trainer.limit_val_batches:
        return
    interval = trainer.val_check_interval
    if isinstance(interval, float) or (isinstance(interval, int) and interval % parts):
        raise InputError(
            f"trainer.val_check_interval is {interval}: expected a number of batches, a multiple "
            f"of trainer.accumulate_grad_batches ({parts}); the stream has no epoch to take a part "
            "of",
            fix="Set trainer.check_val_every_n_epoch to null as well",
        )


def begin_step(trainer: Trainer) -> None:
    """After a checkpoint was loaded, let Lightning's counters stand at the end of a whole step."""
    loop = trainer.fit_loop.epoch_loop
    progress: Any = loop.batch_progress
    steps = trainer.global_step
    expected = steps * parts_of(trainer)
    # A checkpoint from `on_train_batch_end` has not counted that batch as completed yet.
    pending = progress.total.processed - progress.total.completed
    completed = progress.current.completed + pending, progress.total.completed + pending
    if (*completed, progress.total.ready) == (expected,) * 3:
        return
    rank_zero_info(
        f"The checkpoint is not from the end of a step of {parts_of(trainer)} batch(es); training "
        f"goes on after the {steps} step(s) that it has done."
    )
    for counter in (progress.total, progress.current):
        counter.ready = counter.started = counter.processed = expected
        counter.completed = max(expected - 1, 0)
    loop._batches_that_stepped = max(steps - 1, 0)  # the loggers' step; Lightning adds one


def check_same_stream(before: dict[str, Any] | None, now: dict[str, Any]) -> None:
    """That a resumed run has the training stream of the run that wrote the checkpoint.

    Args:
        before: what the data module's ``describe()`` said then; None where nothing is resumed.
        now: this run's.

    Raises:
        InputError: they differ; the message says in what.
    """
    if before is None:
        return
    differing = [
        f"{name} {before.get(name)!r}, now {now.get(name)!r}"
        for name in dict.fromkeys([*now, *before])
        if name != "examples_seen" and before.get(name) != now.get(name)
    ]
    if differing:
        raise InputError(
            f"the checkpoint's training stream was another: {'; '.join(differing)}",
            fix="Resume with the same data, or start a new run from the checkpoint's weights",
        )
