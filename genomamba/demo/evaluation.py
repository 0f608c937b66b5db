"""What ``classify`` got right on held-out chromosomes, beside the optimum on the same windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from genomamba_data_prep.intervals import wilson
from genomamba_data_prep.simulate.bayes import log_likelihoods
from genomamba_data_prep.simulate.truth import MarkovTruth
from genomamba_data_prep.store import Store

LONGEST_AT_LEAST = 0.80  # accuracy at the longest windows
WITHIN = 0.10  # of the optimum, at every length


@dataclass(frozen=True)
class Row:
    """Accuracy on the windows of one length.

    Attributes:
        length: bases a window.
        windows: number of windows.
        hits: windows that the model classified right.
        optimal_hits: windows that the exact likelihood ratio classified right.
        confusion: counts (true species, predicted species).
    """

    length: int
    windows: int
    hits: int
    optimal_hits: int
    confusion: npt.NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        return self.hits / self.windows

    @property
    def optimum(self) -> float:
        return self.optimal_hits / self.windows

    @property
    def interval(self) -> tuple[float, float]:
        """Of ``accuracy``, 95 %; tiles of a Markov source are as good as independent."""
        return wilson(self.hits, self.windows)


def evaluate(windows: Path, length: int, truth: MarkovTruth, stores: dict[str, Store]) -> Row:
    """Compare a windows table of ``classify`` with the truth and with the optimum.

    Args:
        windows: the table; its files are named SPECIES.fa.
        length: bases a window.
        truth: the sources that the species were simulated from.
        stores: the species' stores, to read the windows from.
    """
    table = pd.read_csv(windows, sep="\t")
    table = table[table["prediction"].notna()]
    species = list(truth.species)
    label = {name: number for number, name in enumerate(species)}
    true = np.array([label[Path(file).stem] for file in table["file"]])
    predicted = np.array([label[name] for name in table["prediction"]])
    codes = np.stack(
        [
            stores[species[i]].codes(record, start, end)
            for i, record, start, end in zip(
                true, table["record"], table["start"], table["end"], strict=True
            )
        ]
    )
    optimal = log_likelihoods(truth, codes).argmax(axis=1)
    confusion = np.zeros((len(species), len(species)), dtype=np.int64)
    np.add.at(confusion, (true, predicted), 1)
    return Row(
        length=length,
        windows=len(true),
        hits=int((predicted == true).sum()),
        optimal_hits=int((optimal == true).sum()),
        confusion=confusion,
    )


def failed_checks(rows: Sequence[Row]) -> list[str]:
    """What the demonstration promises and did not reach, one sentence each."""
    longest = max(rows, key=lambda row: row.length)
    failed = [
        f"at {row.length} bp the accuracy {row.accuracy:.3f} is more than {WITHIN:.2f} below the "
        f"optimum {row.optimum:.3f}"
        for row in rows
        if row.accuracy < row.optimum - WITHIN
    ]
    if longest.accuracy < LONGEST_AT_LEAST:
        failed.append(
            f"at {longest.length} bp, the longest windows, the accuracy {longest.accuracy:.3f} is "
            f"below {LONGEST_AT_LEAST:.2f}"
        )
    return failed


def text_table(rows: Sequence[Row]) -> str:
    """The table to print."""
    lines = ["window bp  windows  accuracy  95 % interval  optimum"]
    for row in rows:
        low, high = row.interval
        lines.append(
            f"{row.length:9,d}  {row.windows:7,d}  {row.accuracy:8.3f}  {low:.3f} to {high:.3f}"
            f"  {row.optimum:7.3f}"
        )
    return "\n".join(lines)
