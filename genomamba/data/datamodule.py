"""Windows for training and evaluation, as Lightning asks for them.

Training: an endless stream whose step s holds the examples sG ... (s + 1)G - 1 of a counter-based
sampler, G the global batch; a length warmup has stages with a G of their own. A resumed run goes on
after the optimiser steps that its checkpoint has done; nothing else of the stream needs saving.
Evaluation: a frozen manifest, or windows drawn from a stream of their own, the FASTA's strand,
species in turn; each on one rank only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import Sampler

from genomamba.data.batch import Batch
from genomamba.data.datasets import ManifestWindows, SampledWindows, WindowDataset
from genomamba.data.loader import WindowLoader
from genomamba.data.position import (
    begin_step,
    check_same_stream,
    check_sharding,
    check_training,
    parts_of,
)
from genomamba.data.replicas import replicas_of
from genomamba.data.samplers import RankSampler, StepBatchSampler
from genomamba.data.schedule import Schedule, WarmupStage
from genomamba_data_prep import splits as splits_file
from genomamba_data_prep.epoch_windows import EpochSampler
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifest_windows import ManifestReader, check_held_out
from genomamba_data_prep.manifests import read_manifest
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.windows import Stream, WindowSampler

SPLIT_OF = {Stream.TRAINING: "train", Stream.VALIDATION: "valid", Stream.TEST: "test"}


class WindowDataModule(LightningDataModule):
    """Windows of encoded genomes.

    Args:
        species_set: a species set's TSV, or one store's folder.
        splits: the splits file that `genomamba prepare split` writes.
        length: window length in bases.
        batch_size: G, examples an optimiser step, over all ranks and accumulated parts.
        length_warmup: stages before these, with as many more (shorter) windows a step as keep the
            tokens a step, length x batch_size, unless they give their own; the stream goes on
            through them.
        seed: of the training stream and of drawn evaluation windows.
        num_workers: loader processes a rank; the bits do not depend on it.
        weight_by_length: every window start of a species is equally likely; otherwise every
            record is.
        max_n_fraction: windows with a greater fraction of N are refused and redrawn; below 1.
        reverse_complement: training windows are of either strand with probability 1/2.
        balanced: training example i is of species i modulo their number; otherwise its species is
            drawn. With equal classes in every batch a model learns in fewer steps where the
            classes differ by little: chance differences in their numbers drown the signal.
        valid_manifest: a frozen evaluation set (`genomamba prepare manifest`), of any length.
        valid_examples: windows to draw from the valid split where there is no manifest.
        test_manifest: as valid_manifest.
        test_examples: as valid_examples.
        eval_length: of drawn evaluation windows; the longest of the training by default.
        eval_batch_size: windows a batch and rank in evaluation; as many as in training by default.
        sampling: "endless" draws windows anywhere in a split's intervals; "epoch" takes the
            published windows (`genomamba_data_prep.epoch_windows`), each once before any comes
            again, in training and in evaluation without a manifest.

    Attributes:
        refused: training windows that were refused for their N, on this rank, since the start.
    """

    labelled: bool

    def __init__(
        self,
        species_set: str | Path,
        splits: str | Path,
        length: int,
        batch_size: int,
        *,
        length_warmup: list[WarmupStage] | None = None,
        seed: int = 0,
        num_workers: int = 0,
        weight_by_length: bool = True,
        max_n_fraction: float = 0.1,
        reverse_complement: bool = True,
        balanced: bool = False,
        valid_manifest: str | Path | None = None,
        valid_examples: int = 1024,
        test_manifest: str | Path | None = None,
        test_examples: int = 1024,
        eval_length: int | None = None,
        eval_batch_size: int | None = None,
        sampling: Literal["endless", "epoch"] = "endless",
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("length", length, 1),
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("valid_examples", valid_examples, 1),
            ("test_examples", test_examples, 1),
            ("eval_length", 1 if eval_length is None else eval_length, 1),
            ("eval_batch_size", 1 if eval_batch_size is None else eval_batch_size, 1),
        ):
            if value < least:
                raise InputError(f"expected {name} of at least {least}, got {value}")
        self.species_set = SpeciesSet.open(species_set)
        self.splits = splits_file.read(splits, self.species_set)
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.schedule = Schedule(length, batch_size, length_warmup or ())
        self.num_workers = num_workers
        self.rule = {"weight_by_length": weight_by_length, "max_n_fraction": max_n_fraction}
        self.reverse_complement, self.balanced = reverse_complement, balanced
        self.manifests = {Stream.VALIDATION: valid_manifest, Stream.TEST: test_manifest}
        self.examples = {Stream.VALIDATION: valid_examples, Stream.TEST: test_examples}
        self.eval_length = eval_length or self.schedule.longest
        self.eval_batch_size = eval_batch_size
        if sampling not in ("endless", "epoch"):
            raise InputError(f"expected sampling endless or epoch, got {sampling!r}")
        if sampling == "epoch" and (balanced or not weight_by_length):
            raise InputError(
                "sampling epoch takes each window once, so that species and records cannot be "
                "balanced",
                fix="Set balanced to false and leave weight_by_length at true, or sample endless",
            )
        self.sampling = sampling
        self.refused = 0
        self._datasets: dict[Stream, WindowDataset] = {}
        self._resumed: dict[str, Any] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Species in class order."""
        return self.species_set.classes

    @property
    def examples_seen(self) -> int:
        """Training examples that optimiser steps have consumed, over all stages."""
        return self.schedule.first_example(self.trainer.global_step if self.trainer else 0)

    def describe(self) -> dict[str, Any]:
        """What the training stream is made of, in plain types; a checkpoint remembers it."""
        warmup = [list(stage) for stage in self.schedule.stages[:-1]]
        return {
            "classes": list(self.classes),
            "set_digest": self.species_set.digest,
            "splits_digest": self.splits.digest,
            "length": self.length,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "reverse_complement": self.reverse_complement,
            "balanced": self.balanced,
            **self.rule,
            **({"length_warmup": warmup} if warmup else {}),
            **({"sampling": "epoch"} if self.sampling == "epoch" else {}),
        }

    def setup(self, stage: str) -> None:
        """Draw or read what the stage needs.

        Raises:
            InputError: a user's mistake: no interval long enough, a foreign manifest, only N, ...
        """
        if self.labelled and len(self.classes) < 2:
            raise InputError(
                f"expected at least two species to tell apart, got {', '.join(self.classes)}",
                file=self.species_set.path,
            )
        if stage == "fit":
            self._datasets[Stream.TRAINING] = self._drawn(Stream.TRAINING, self.schedule)
        stream = Stream.VALIDATION if stage in ("fit", "validate") else Stream.TEST
        # A run may train without validating; a command that only evaluates needs its windows.
        if stage != "fit" or self.manifests[stream] or self.splits.intervals(SPLIT_OF[stream]):
            self._datasets[stream] = self._evaluation(stream)

    def _drawn(self, stream: Stream, schedule: Schedule) -> SampledWindows:
        dataset = SampledWindows(
            schedule, lambda length: self._sampler(stream, length), labelled=self.labelled
        )
        # What is hopeless fails here, not in a loader process.
        count = self.examples.get(stream, self.batch_size)
        for stage, sampler in zip(schedule.stages, dataset.samplers, strict=True):
            sampler.draw(stage.first_example + np.arange(count))
        return dataset

    def _evaluation(self, stream: Stream) -> WindowDataset:
        path = self.manifests[stream]
        if path is None:
            return self._drawn(stream, Schedule(self.eval_length, 1))
        manifest = read_manifest(path, self.species_set)
        check_held_out(manifest, self.splits)
        if stream == Stream.VALIDATION and manifest.origin.split == "test":
            raise InputError(
                "windows of the test split, which must not choose a checkpoint",
                file=path,
                fix="Give a manifest of `genomamba prepare manifest --split valid`, or test with "
                "--data.test_manifest",
            )
        self.examples[stream] = len(manifest)
        return ManifestWindows(ManifestReader(manifest, self.species_set), labelled=self.labelled)

    def _sampler(self, stream: Stream, length: int) -> WindowSampler | EpochSampler:
        if self.sampling == "epoch":
            return self._epoch_sampler(stream, length)
        sampler = WindowSampler(
            self.species_set,
            self.splits.intervals(SPLIT_OF[stream]),
            length,
            seed=self.seed,
            reverse_complement=self.reverse_complement and stream == Stream.TRAINING,
            balanced=self.balanced or stream != Stream.TRAINING,
            stream=stream,
            **self.rule,
        )
        for reason, count in sampler.dropped.items():
            rank_zero_info(
                f"{SPLIT_OF[stream]}, windows of {length} bases: {count} interval(s) not used: "
                f"{reason}"
            )
        return sampler

    def _epoch_sampler(self, stream: Stream, length: int) -> EpochSampler:
        sampler = EpochSampler(
            self.species_set,
            self.splits,
            SPLIT_OF[stream],
            length,
            seed=self.seed,
            max_n_fraction=self.rule["max_n_fraction"],
            reverse_complement=self.reverse_complement and stream == Stream.TRAINING,
            stream=stream,
        )
        if stream in self.examples:
            self.examples[stream] = min(self.examples[stream], len(sampler))
        name = f"{SPLIT_OF[stream]}, windows of {length} bases"
        rank_zero_info(f"{name}: {len(sampler):,} an epoch")
        for reason, count in sampler.dropped.items():
            rank_zero_info(f"{name}: left out {count:,} {reason}")
        return sampler

    def train_dataloader(self) -> WindowLoader:
        """The rank's share of the stream, from the first step that is not done."""
        trainer = self.trainer
        check_sharding(trainer)
        if trainer:
            sizes = [stage.batch_size for stage in self.schedule.stages]
            check_training(
                trainer,
                sizes,
                warmup_steps=self.schedule.stages[-1].first_step,
                validates=Stream.VALIDATION in self._datasets,
            )
            check_same_stream(self._resumed, self.describe())
            begin_step(trainer)
            if len(sizes) > 1:
                table = self.schedule.table(trainer.max_steps)
                rank_zero_info(f"length warmup, {self.examples_seen:,} examples done\n{table}")
        sampler = StepBatchSampler(
            self.schedule,
            parts=parts_of(trainer),
            world_size=replicas_of(trainer).number,
            rank=replicas_of(trainer).own,
            steps_done=lambda: trainer.global_step if trainer else 0,
        )
        return self._loader(Stream.TRAINING, sampler, sampler.shapes)

    def largest_batch(self) -> Batch:
        """A rank's share of a part of a step in the stage of the longest windows, in this process.

        Example numbers are the stage's first ones on every rank.
        """
        parts = parts_of(self.trainer) * replicas_of(self.trainer).number
        stage = max(self.schedule.stages)
        first = stage.first_example
        return self._datasets[Stream.TRAINING].__getitems__(
            range(first, first + stage.batch_size // parts)
        )

    def val_dataloader(self) -> WindowLoader | list[WindowLoader]:
        """The rank's share of the validation windows; none where there is nothing to draw from."""
        has_any = Stream.VALIDATION in self._datasets
        return self._evaluation_loader(Stream.VALIDATION) if has_any else []

    def test_dataloader(self) -> WindowLoader:
        """The rank's share of the test windows."""
        return self._evaluation_loader(Stream.TEST)

    def predict_dataloader(self) -> WindowLoader:
        """The same windows as in `test_dataloader`."""
        return self._evaluation_loader(Stream.TEST)

    def _evaluation_loader(self, stream: Stream) -> WindowLoader:
        trainer = self.trainer
        check_sharding(trainer)
        ranks, rank = replicas_of(trainer)
        size = self.eval_batch_size or max(1, self.batch_size // (parts_of(trainer) * ranks))
        examples = self.examples[stream]
        sampler = RankSampler(examples, size, world_size=ranks, rank=rank)
        length = self._datasets[stream].length_of(0)
        return self._loader(stream, sampler, [(min(size, examples), length)])

    def _loader(
        self, stream: Stream, sampler: Sampler[range], shapes: list[tuple[int, int]]
    ) -> WindowLoader:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return WindowLoader(
            self._datasets[stream],
            sampler,
            shapes,
            num_workers=self.num_workers,
            pin_memory=on_gpu,
        )

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Count what was refused for the batches that training takes."""
        if self.trainer and self.trainer.training:
            self.refused += int(batch.refused.sum())
        return batch

    def teardown(self, stage: str) -> None:
        """Report the count."""
        if stage == "fit" and self.refused:
            rank_zero_info(
                f"train: {self.refused} window(s) refused and drawn again on the first rank: more "
                f"than {self.rule['max_n_fraction']} of the bases were N"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"examples_seen": self.examples_seen, **self.describe()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict  # compared in `train_dataloader`: evaluation may differ


class PretrainingDataModule(WindowDataModule):
    """Windows without labels, from one store or a species set; see `WindowDataModule`."""

    labelled = False


class SpeciesDataModule(WindowDataModule):
    """Windows labelled with their species; see `WindowDataModule`."""

    labelled = True
