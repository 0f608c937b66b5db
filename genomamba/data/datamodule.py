"""Windows for training and evaluation, as Lightning asks for them.

Training: an endless stream whose step s holds the examples sG ... (s + 1)G - 1 of a counter-based
sampler, G the global batch. A resumed run goes on after the optimiser steps that its checkpoint
has done; nothing else of the stream needs saving. Evaluation: a frozen manifest, or windows drawn
from a stream of their own, the FASTA's strand, species in turn; each on one rank only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from genomamba.data.batch import Batch
from genomamba.data.datasets import ManifestWindows, SampledWindows, as_drawn
from genomamba.data.position import begin_step, check_sharding, check_training, parts_of
from genomamba.data.samplers import RankSampler, StepBatchSampler
from genomamba_data_prep import splits as splits_file
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
        eval_batch_size: windows a batch and rank in evaluation; as many as in training by default.

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
        eval_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("valid_examples", valid_examples, 1),
            ("test_examples", test_examples, 1),
            ("eval_batch_size", 1 if eval_batch_size is None else eval_batch_size, 1),
        ):
            if value < least:
                raise InputError(f"expected {name} of at least {least}, got {value}")
        self.species_set = SpeciesSet.open(species_set)
        self.splits = splits_file.read(splits, self.species_set)
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.num_workers = num_workers
        self.rule = {"weight_by_length": weight_by_length, "max_n_fraction": max_n_fraction}
        self.reverse_complement, self.balanced = reverse_complement, balanced
        self.manifests = {Stream.VALIDATION: valid_manifest, Stream.TEST: test_manifest}
        self.examples = {Stream.VALIDATION: valid_examples, Stream.TEST: test_examples}
        self.eval_batch_size = eval_batch_size
        self.refused = 0
        self._datasets: dict[Stream, Dataset[Batch]] = {}
        self._resumed: dict[str, Any] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Species in class order."""
        return self.species_set.classes

    @property
    def examples_seen(self) -> int:
        """Training examples that optimiser steps have consumed: steps done x G."""
        return (self.trainer.global_step if self.trainer else 0) * self.batch_size

    def describe(self) -> dict[str, Any]:
        """What the training stream is made of, in plain types; a checkpoint remembers it."""
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
            sampler = self._sampler(Stream.TRAINING, self.reverse_complement)
            sampler.draw(np.arange(self.batch_size))  # what is hopeless fails here, not in a worker
            self._datasets[Stream.TRAINING] = SampledWindows(sampler, labelled=self.labelled)
        stream = Stream.VALIDATION if stage in ("fit", "validate") else Stream.TEST
        # A run may train without validating; a command that only evaluates needs its windows.
        if stage != "fit" or self.manifests[stream] or self.splits.intervals(SPLIT_OF[stream]):
            self._datasets[stream] = self._evaluation(stream)

    def _evaluation(self, stream: Stream) -> Dataset[Batch]:
        path = self.manifests[stream]
        if path is None:
            sampler = self._sampler(stream, reverse_complement=False)
            sampler.draw(np.arange(self.examples[stream]))
            return SampledWindows(sampler, labelled=self.labelled)
        manifest = read_manifest(path, self.species_set)
        check_held_out(manifest, self.splits)
        self.examples[stream] = len(manifest)
        return ManifestWindows(ManifestReader(manifest, self.species_set), labelled=self.labelled)

    def _sampler(self, stream: Stream, reverse_complement: bool) -> WindowSampler:
        sampler = WindowSampler(
            self.species_set,
            self.splits.intervals(SPLIT_OF[stream]),
            self.length,
            seed=self.seed,
            reverse_complement=reverse_complement,
            balanced=self.balanced or stream != Stream.TRAINING,
            stream=stream,
            **self.rule,
        )
        for reason, count in sampler.dropped.items():
            rank_zero_info(f"{SPLIT_OF[stream]}: {count} interval(s) not used: {reason}")
        return sampler

    def train_dataloader(self) -> DataLoader[Batch]:
        """The rank's share of the stream, from the first step that is not done."""
        trainer = self.trainer
        check_sharding(trainer)
        if trainer:
            check_training(trainer, self.batch_size, validates=Stream.VALIDATION in self._datasets)
            self._check_resumed()
            begin_step(trainer)
        sampler = StepBatchSampler(
            self.batch_size,
            parts=parts_of(trainer),
            world_size=trainer.world_size if trainer else 1,
            rank=trainer.global_rank if trainer else 0,
            steps_done=lambda: trainer.global_step if trainer else 0,
        )
        return self._loader(Stream.TRAINING, batch_sampler=sampler)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The rank's share of the validation windows; none where there is nothing to draw from."""
        has_any = Stream.VALIDATION in self._datasets
        return self._evaluation_loader(Stream.VALIDATION) if has_any else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """The rank's share of the test windows."""
        return self._evaluation_loader(Stream.TEST)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The same windows as in `test_dataloader`."""
        return self._evaluation_loader(Stream.TEST)

    def _evaluation_loader(self, stream: Stream) -> DataLoader[Batch]:
        trainer = self.trainer
        check_sharding(trainer)
        ranks = trainer.world_size if trainer else 1
        sampler = RankSampler(
            self.examples[stream], world_size=ranks, rank=trainer.global_rank if trainer else 0
        )
        size = self.eval_batch_size or max(1, self.batch_size // (parts_of(trainer) * ranks))
        return self._loader(stream, batch_size=size, sampler=sampler)

    def _loader(self, stream: Stream, **batching: Any) -> DataLoader[Batch]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            self._datasets[stream],
            num_workers=self.num_workers,
            collate_fn=as_drawn,
            pin_memory=on_gpu,
            **batching,
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

    def _check_resumed(self) -> None:
        """That a resumed run has the stream of the run that wrote the checkpoint."""
        if self._resumed is None:
            return
        differing = [
            f"{name} {self._resumed.get(name)!r}, now {value!r}"
            for name, value in self.describe().items()
            if self._resumed.get(name) != value
        ]
        if differing:
            raise InputError(
                f"the checkpoint's training stream was another: {'; '.join(differing)}",
                fix="Resume with the same data, or start a new run from the checkpoint's weights",
            )


class PretrainingDataModule(WindowDataModule):
    """Windows without labels, from one store or a species set; see `WindowDataModule`."""

    labelled = False


class SpeciesDataModule(WindowDataModule):
    """Windows labelled with their species; see `WindowDataModule`."""

    labelled = True
