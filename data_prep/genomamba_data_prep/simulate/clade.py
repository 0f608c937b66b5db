"""Five genomes evolved from one ancestor along the great apes' tree.

Chromosomes are drawn in tiles that evolve on their own, so that memory is bounded by one chromosome
of the five species. Signal strength s scales what tells lineages apart beyond the shared ancestry:
the rates of all changes in all trinucleotides differ between branches by log-normal factors of
deviation 0.1 s, and every branch inserts copies of its own Alu and L1 subfamilies at s times the
published rate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genomamba_data_prep.codes import Codes, N
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.simulate import truth as truth_file
from genomamba_data_prep.simulate.ancestor import Families, draw_ancestor, draw_families
from genomamba_data_prep.simulate.evolve import (
    insert_repeats,
    small_indels,
    spectrum_shift,
    substitute,
)
from genomamba_data_prep.simulate.fasta_output import write_record
from genomamba_data_prep.simulate.masks import Runs
from genomamba_data_prep.simulate.repeats import copies, diverge, l1_lengths
from genomamba_data_prep.simulate.tree import BRANCHES, ROOT, SPECIES, Branch, distance
from genomamba_data_prep.simulate.words import Floats

TILE = 2**22
SPECTRUM_DEVIATION = 0.1  # at signal strength 1
SUBFAMILY_DIVERGENCE = 0.025  # AluYb8 differs from AluY at about that many of its 280 bases
# Streams of random numbers, so that each part is a pure function of the seed and its own name.
FAMILIES_STREAM, BRANCH_STREAM, TILE_STREAM, N_STREAM = range(4)


@dataclass(frozen=True)
class Clade:
    """A simulation's parameters.

    Attributes:
        chromosomes: their number in every species.
        length: bases of each in the ancestor.
        seed: of everything.
        n_runs: law of the runs of N, drawn in every species for itself.
        signal_strength: see above; 0 leaves shared ancestry only.
        ts_tv: transitions over transversions, by number.
        cpg: factor of the rate of CpG transitions.
        indel_rate: small indels a substitution; 5 against 35 million between human and chimpanzee
            (Chimpanzee Sequencing and Analysis Consortium 2005).
        indel_mean_length: bases.
    """

    chromosomes: int
    length: int
    seed: int
    n_runs: Runs
    signal_strength: float = 1.0
    ts_tv: float = 2.1
    cpg: float = 10.0
    indel_rate: float = 0.14
    indel_mean_length: float = 3.0

    def rng(self, *stream: int) -> np.random.Generator:
        """The stream of random numbers of one part."""
        key = np.random.SeedSequence(self.seed, spawn_key=stream)
        return np.random.Generator(np.random.PCG64(key))


class Lineage(NamedTuple):
    """What is special to one branch: its mutation spectrum and its repeats' subfamilies."""

    branch: Branch
    factors: Floats
    alu: Codes
    l1: Codes


def draw_lineages(clade: Clade) -> tuple[Families, list[Lineage]]:
    """The ancestor's repeat families, and the branches in the order of the tree."""
    families = draw_families(clade.rng(FAMILIES_STREAM))
    subfamilies = {ROOT: (families.alu, families.l1)}
    lineages = []
    for number, branch in enumerate(BRANCHES):
        rng = clade.rng(BRANCH_STREAM, number)
        factors = spectrum_shift(rng, SPECTRUM_DEVIATION * clade.signal_strength)
        alu, l1 = (diverge(rng, c, SUBFAMILY_DIVERGENCE) for c in subfamilies[branch.parent])
        subfamilies[branch.node] = alu, l1
        lineages.append(Lineage(branch, factors, alu, l1))
    return families, lineages


def _evolve(clade: Clade, lineage: Lineage, rng: np.random.Generator, codes: Codes) -> Codes:
    """A tile at the end of a branch; repeats are inserted at its start."""
    branch, codes = lineage.branch, codes.copy()
    expected = clade.signal_strength * len(codes) / 1e6
    n_alu, n_l1 = rng.poisson(expected * branch.alu), rng.poisson(expected * branch.l1)
    alu_lengths = np.full(n_alu, len(lineage.alu))
    codes = insert_repeats(rng, codes, copies(rng, lineage.alu, alu_lengths))
    codes = insert_repeats(rng, codes, copies(rng, lineage.l1, l1_lengths(rng, n_l1)))
    substitute(rng, codes, branch.length, clade.ts_tv, clade.cpg, lineage.factors)
    if clade.indel_rate > 0:
        events = clade.indel_rate * branch.length
        codes = codes[small_indels(rng, len(codes), events, clade.indel_mean_length)]
    return codes


def evolve_tile(
    clade: Clade,
    families: Families,
    lineages: list[Lineage],
    chromosome: int,
    tile: int,
    length: int,
) -> dict[str, Codes]:
    """A tile of a chromosome in every species and ancestor, by node."""
    stream = (TILE_STREAM, chromosome, tile)
    nodes = {
        ROOT: draw_ancestor(
            clade.rng(*stream, len(BRANCHES)), families, length, clade.ts_tv, clade.cpg
        )
    }
    for number, lineage in enumerate(lineages):
        start = nodes[lineage.branch.parent]
        nodes[lineage.branch.node] = _evolve(clade, lineage, clade.rng(*stream, number), start)
    return nodes


def evolve_chromosome(
    clade: Clade, families: Families, lineages: list[Lineage], number: int
) -> dict[str, Codes]:
    """A chromosome in every species, with N."""
    n_tiles = -(-clade.length // TILE)
    borders = [clade.length * tile // n_tiles for tile in range(n_tiles + 1)]
    tiles = [
        evolve_tile(clade, families, lineages, number, tile, borders[tile + 1] - borders[tile])
        for tile in range(n_tiles)
    ]
    chromosome = {}
    for label, species in enumerate(SPECIES):
        codes = np.concatenate([tile[species] for tile in tiles])
        codes[clade.n_runs.draw(clade.rng(N_STREAM, label, number), len(codes))] = N
        chromosome[species] = codes
    return chromosome


def _as_json(clade: Clade, lengths: dict[str, dict[str, int]]) -> dict[str, Any]:
    pairs = [(a, b) for i, a in enumerate(SPECIES) for b in SPECIES[i + 1 :]]
    return {
        "species": SPECIES,
        "parameters": asdict(clade) | {"n_runs": clade.n_runs._asdict()},
        "branches": [branch._asdict() for branch in BRANCHES],
        "distances": [[a, b, distance(a, b)] for a, b in pairs],
        "chromosomes": lengths,
    }


def write_clade(directory: Path, clade: Clade) -> None:
    """Write SPECIES.fa for every species and truth.json into an existing folder."""
    families, lineages = draw_lineages(clade)
    lengths: dict[str, dict[str, int]] = {species: {} for species in SPECIES}
    with Progress("simulating", clade.chromosomes) as progress:
        for number in range(clade.chromosomes):
            name = f"chr{number + 1}"
            for species, codes in evolve_chromosome(clade, families, lineages, number).items():
                with open(directory / f"{species}.fa", "ab") as file:
                    write_record(file, name, codes)
                lengths[species][name] = len(codes)
            progress.advance(1)
    truth_file.write(directory, "clade", _as_json(clade, lengths))
