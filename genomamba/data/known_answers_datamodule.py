"""Sequences with known answers for Lightning: an endless training stream, sets to evaluate on.

Step s holds the examples sG ... (s + 1)G - 1 of the training stream, G the batch size. Validation
has one set of the training's length, test one of each length asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from genomamba.data.known_answers import Draw, KnownAnswers
from genomamba.data.position import (
    begin_step,
    check_same_stream,
    check_sharding,
    check_training,
    parts_of,
)
from genomamba.data.replicas import replicas_of
from genomamba.data.samplers import RankSampler, StepBatchSampler
from genomamba.data.schedule import Schedule
from genomamba_data_prep.cores import usable_cores
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.windows import Stream

MOST_THREADS = 8


@dataclass
class KnownAnswersBatch:
    """Sequences of one length. Letters: B examples, L tokens, K answers.

    Attributes:
        tokens: uint8 (B, L).
        answers: int64 (B, K), due at the last K positions.
    """

    tokens: Tensor
    answers: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


class KnownAnswersLoader:
    """Batches of drawn examples, made in this process.

    Args:
        task: what to draw.
        batches: the example numbers of each batch.
        seed: in [0, 2^64).
        stream: what the examples are for.
        length: L.
        threads: that draw the next batches meanwhile; 0 draws a batch when it is asked for. It
            takes half a second for 2^22 tokens, of which NumPy computes with the lock released.
    """

    def __init__(
        self,
        task: KnownAnswers,
        batches: Iterable[Sequence[int]],
        *,
        seed: int,
        stream: Stream,
        length: int,
        threads: int = 0,
    ) -> None:
        self.task, self.batches, self.seed = task, batches, seed
        self.stream, self.length, self.threads = stream, length, threads

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]  # a TypeError where there is no end

    def __iter__(self) -> Iterator[KnownAnswersBatch]:
        return self._ahead() if self.threads else map(self._batch, self.batches)

    def _batch(self, numbers: Sequence[int]) -> KnownAnswersBatch:
        draw = Draw(self.seed, np.array(numbers, dtype=np.int64), self.stream)
        tokens, answers = self.task.examples(draw, self.length)
        return KnownAnswersBatch(torch.from_numpy(tokens), torch.from_numpy(answers))

    def _ahead(self) -> Iterator[KnownAnswersBatch]:
        waiting: deque[Future[KnownAnswersBatch]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            for numbers in self.batches:
                waiting.append(pool.submit(self._batch, numbers))
                if len(waiting) > self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


class KnownAnswersDataModule(LightningDataModule):
    """Sequences of a task with known answers.

    Args:
        task: which one, with its sizes.
        length: L in training and validation, in tokens.
        batch_size: G, examples an optimiser step, over all ranks and accumulated parts.
        seed: of all streams.
        valid_examples: in the validation set.
        test_lengths: L of each test set.
        test_examples: in each test set.
        test_tokens: bounds a test batch to so many tokens, or one sequence.

    Raises:
        InputError: a size is out of its range.
    """

    def __init__(
        self,
        task: KnownAnswers,
        length: int,
        batch_size: int,
        *,
        seed: int = 0,
        valid_examples: int = 256,
        test_lengths: list[int] | None = None,
        test_examples: int = 64,
        test_tokens: int = 1 << 18,
    ) -> None:
        super().__init__()
        self.test_lengths = test_lengths or [length]
        for name, value, least in (
            ("length", length, task.shortest),
            ("test_lengths", min(self.test_lengths), task.shortest),
            ("batch_size", batch_size, 1),
            ("valid_examples", valid_examples, 1),
            ("test_examples", test_examples, 1),
            ("test_tokens", test_tokens, 1),
        ):
            if value < least:
                raise InputError(f"expected {name} of at least {least}, got {value}")
        self.task, self.length, self.batch_size, self.seed = task, length, batch_size, seed
        self.schedule = Schedule(length, batch_size)
        self.valid_examples, self.test_examples = valid_examples, test_examples
        self.test_tokens = test_tokens
        self._resumed: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """What the training stream is made of, in plain types; a checkpoint remembers it."""
        return {
            "task": type(self.task).__name__,
            **asdict(self.task),
            "length": self.length,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }

    def train_dataloader(self) -> KnownAnswersLoader:
        """The rank's share of the stream, from the first step that is not done."""
        trainer = self.trainer
        check_sharding(trainer)
        if trainer:
            check_training(trainer, [self.batch_size], warmup_steps=0, validates=True)
            check_same_stream(self._resumed, self.describe())
            begin_step(trainer)
        ranks, rank = replicas_of(trainer)
        batches = StepBatchSampler(
            self.schedule,
            parts=parts_of(trainer),
            world_size=ranks,
            rank=rank,
            steps_done=lambda: trainer.global_step if trainer else 0,
        )
        return self._loader(batches, Stream.TRAINING, self.length)

    def val_dataloader(self) -> KnownAnswersLoader:
        """The rank's share of the validation set."""
        return self._evaluation(Stream.VALIDATION, self.length, self.valid_examples)

    def test_dataloader(self) -> list[KnownAnswersLoader]:
        """The rank's share of each length's test set."""
        return [
            self._evaluation(Stream.TEST, length, self.test_examples)
            for length in self.test_lengths
        ]

    def _evaluation(self, stream: Stream, length: int, examples: int) -> KnownAnswersLoader:
        check_sharding(self.trainer)
        ranks, rank = replicas_of(self.trainer)
        size = max(1, self.test_tokens // length)
        batches = RankSampler(examples, size, world_size=ranks, rank=rank)
        return self._loader(batches, stream, length)

    def _loader(
        self, batches: Iterable[Sequence[int]], stream: Stream, length: int
    ) -> KnownAnswersLoader:
        # A training batch of the published sizes takes a millisecond: threads would cost as much.
        threads = 0 if stream == Stream.TRAINING else min(MOST_THREADS, usable_cores())
        return KnownAnswersLoader(
            self.task, batches, seed=self.seed, stream=stream, length=length, threads=threads
        )

    def state_dict(self) -> dict[str, Any]:
        return self.describe()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict  # compared in `train_dataloader`
