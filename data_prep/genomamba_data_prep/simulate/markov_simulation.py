"""Five FASTA files from five Markov sources, and the truth beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genomamba_data_prep.codes import Codes
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.simulate import truth as truth_file
from genomamba_data_prep.simulate.fasta_output import write_record
from genomamba_data_prep.simulate.generate import MarkovSource
from genomamba_data_prep.simulate.markov import equidistant_sources
from genomamba_data_prep.simulate.masks import Runs, mask
from genomamba_data_prep.simulate.tree import SPECIES
from genomamba_data_prep.simulate.truth import MarkovTruth


def markov_truth(
    *,
    chromosomes: int,
    length: int,
    seed: int,
    order: int,
    kl: float,
    n_runs: Runs,
    soft_mask_runs: Runs,
) -> MarkovTruth:
    """The sources of a simulation, before anything is drawn from them.

    Args:
        chromosomes: number of chromosomes, chr1, chr2, ...
        length: bases of each.
        seed: of the sources and the sequences.
        order: of the sources.
        kl: KL rate between any two species, nats a base.
        n_runs: law of the runs of N, the same in every species.
        soft_mask_runs: law of the lower-case runs, likewise.

    Raises:
        InputError: no such sources.
    """
    return MarkovTruth(
        species=SPECIES,
        order=order,
        kl=kl,
        seed=seed,
        chromosomes={f"chr{number + 1}": length for number in range(chromosomes)},
        n_runs=n_runs,
        soft_mask_runs=soft_mask_runs,
        word_probabilities=equidistant_sources(order, kl, len(SPECIES), seed),
    )


def chromosome(truth: MarkovTruth, species: int, number: int) -> Codes:
    """One chromosome's codes, a pure function of (seed, species, number)."""
    key = np.random.SeedSequence(truth.seed, spawn_key=(species, number))
    rng = np.random.Generator(np.random.PCG64(key))
    length = list(truth.chromosomes.values())[number]
    codes = MarkovSource(truth.word_probabilities[species]).sequences(rng, 1, length)[0]
    mask(codes, truth.n_runs.draw(rng, length), truth.soft_mask_runs.draw(rng, length))
    return codes


def write_markov(directory: Path, truth: MarkovTruth) -> None:
    """Write SPECIES.fa for every species and truth.json into an existing folder."""
    total = len(truth.species) * sum(truth.chromosomes.values())
    with Progress("simulating", total) as progress:
        for label, species in enumerate(truth.species):
            with open(directory / f"{species}.fa", "wb") as file:
                for number, name in enumerate(truth.chromosomes):
                    codes = chromosome(truth, label, number)
                    write_record(file, name, codes)
                    progress.advance(len(codes))
    truth_file.write(directory, "markov", truth.as_json())
