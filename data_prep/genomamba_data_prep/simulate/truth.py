"""What a simulation knows and a model does not: DIR/truth.json.

For ``--signal markov`` it holds the sources' word probabilities, from which ``bayes`` computes
exact likelihood ratios; a transition probability is a word's probability over the sum of the four
words with the same context (``words.conditional``). For ``--signal clade`` it holds the parameters.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.simulate.masks import Runs
from genomamba_data_prep.simulate.words import Floats, kl_rates

FILE_NAME = "truth.json"
FORMAT = 1


@dataclass(frozen=True)
class MarkovTruth:
    """A set of Markov sources and what was made from them.

    Attributes:
        species: S names, in the order of the classes.
        order: k, the number of bases that the next one depends on.
        kl: the KL rate asked for between any two species, nats a base.
        seed: of the sources and the sequences.
        chromosomes: name to length in bases, the same in every species.
        n_runs: law of the runs of N.
        soft_mask_runs: law of the lower-case runs.
        word_probabilities: (S, 4 ** (order + 1)), see ``words``.
    """

    species: tuple[str, ...]
    order: int
    kl: float
    seed: int
    chromosomes: dict[str, int]
    n_runs: Runs
    soft_mask_runs: Runs
    word_probabilities: Floats

    def as_json(self) -> dict[str, Any]:
        """The file's content; numbers keep every bit."""
        rates = kl_rates(self.word_probabilities)
        others = rates[~np.eye(len(rates), dtype=bool)]
        return {
            **{name: getattr(self, name) for name in ("species", "order", "kl", "seed")},
            "chromosomes": self.chromosomes,
            "n_runs": self.n_runs._asdict(),
            "soft_mask_runs": self.soft_mask_runs._asdict(),
            "kl_rates": {"min": others.min(), "max": others.max(), "matrix": rates.tolist()},
            "word_probabilities": self.word_probabilities.tolist(),
        }


def write(directory: Path, signal: str, content: dict[str, Any]) -> None:
    """Write DIR/truth.json; the caller makes the folder atomic."""
    header = {"format": FORMAT, "genomamba": version("genomamba"), "signal": signal}
    text = json.dumps(header | content, indent=1, allow_nan=False)
    (directory / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def read_markov(path: str | os.PathLike[str]) -> MarkovTruth:
    """Read the sources of a simulation.

    Args:
        path: the simulation's folder, or its truth.json.

    Raises:
        InputError: no such file, another format, or a simulation without exact likelihoods.
        OSError: it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    rebuild = "Make it with genomamba prepare simulate --signal markov --output DIR"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found, signal = content["format"], content["signal"]
    except FileNotFoundError:
        raise InputError("no such file", file=path, fix=rebuild) from None
    except (ValueError, KeyError, TypeError):  # a JSON or Unicode error is a ValueError
        raise InputError("not a simulation's truth.json", file=path, fix=rebuild) from None
    if found != FORMAT:
        raise InputError(f"format {found}: expected {FORMAT}", file=path, fix=rebuild)
    if signal != "markov":
        raise InputError(
            f"signal {signal}: exact likelihoods are known for the markov signal only",
            file=path,
            fix=rebuild,
        )
    try:
        return MarkovTruth(
            species=tuple(content["species"]),
            order=content["order"],
            kl=content["kl"],
            seed=content["seed"],
            chromosomes=content["chromosomes"],
            n_runs=Runs(**content["n_runs"]),
            soft_mask_runs=Runs(**content["soft_mask_runs"]),
            word_probabilities=np.array(content["word_probabilities"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"incomplete: {error}", file=path, fix=rebuild) from None
