"""Evolution along the tree: divergences, spectrum and CpG against the parameters.

Without indels and insertions (signal strength 0) every genome has its ancestor's coordinates, so
that homologous bases are those at the same place.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from genomamba_data_prep.simulate import clade as clade_module
from genomamba_data_prep.simulate.clade import (
    Clade,
    draw_lineages,
    evolve_chromosome,
    evolve_tile,
)
from genomamba_data_prep.simulate.evolve import small_indels, spectrum_shift, trinucleotides
from genomamba_data_prep.simulate.masks import Runs
from genomamba_data_prep.simulate.tree import BRANCHES, ROOT, SPECIES, distance, path

LENGTH = 2_000_000
NO_N = Runs(0.0, 300.0)
Nodes = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def aligned() -> Nodes:
    """Every node's bases in the ancestor's coordinates."""
    clade = Clade(1, LENGTH, seed=1, n_runs=NO_N, signal_strength=0, indel_rate=0)
    nodes = evolve_tile(clade, *draw_lineages(clade), 0, 0, LENGTH)
    return {node: codes & 7 for node, codes in nodes.items()}


def test_published_divergences() -> None:
    assert distance("human", "chimpanzee") == pytest.approx(0.0137)
    assert distance("human", "bonobo") == pytest.approx(0.0137)
    assert distance("human", "gorilla") == pytest.approx(0.0175)
    assert distance("chimpanzee", "bonobo") == pytest.approx(0.0040)
    for species in SPECIES[:4]:
        assert distance(species, "orangutan") == pytest.approx(0.0340)
    assert [branch.node for branch in path("chimpanzee")] == [
        "african-apes",
        "human-pan",
        "pan",
        "chimpanzee",
    ]


def test_every_branch_has_its_length(aligned: Nodes) -> None:
    for branch in BRANCHES:
        changed = (aligned[branch.node] != aligned[branch.parent]).sum()
        expected = branch.length * LENGTH
        assert abs(changed - expected) < 4 * np.sqrt(expected)


def test_pairwise_divergences(aligned: Nodes) -> None:
    """Substitutions along the path agree; differences lack those that hit a site again."""
    changed = {b.node: aligned[b.node] != aligned[b.parent] for b in BRANCHES}
    for first, second in combinations(SPECIES, 2):
        between = set(path(first)) ^ set(path(second))
        hits = sum(changed[branch.node].astype(np.uint8) for branch in between)
        expected = distance(first, second) * LENGTH
        assert abs(int(hits.sum(dtype=np.int64)) - expected) < 4 * np.sqrt(expected)
        different = int((aligned[first] != aligned[second]).sum())
        assert (hits == 1).sum() <= different <= (hits >= 1).sum()
        assert 0.955 * expected < different < 1.01 * expected


def test_transitions_and_cpg(aligned: Nodes) -> None:
    before, after = aligned[ROOT], aligned["orangutan"]
    changed = before != after
    transition = changed & (before ^ after == 2)
    n_transitions, n_transversions = transition.sum(), (changed & ~transition).sum()
    error = np.sqrt(1 / n_transitions + 1 / n_transversions)
    assert n_transitions / n_transversions == pytest.approx(2.1, rel=4 * error)

    middle, word = before[1:-1], trinucleotides(before)
    cpg = (word % 16 == 6) | (word // 4 == 6)
    c_or_g = (middle == 1) | (middle == 2)
    hits = [(transition[1:-1] & sites).sum() for sites in (cpg, c_or_g & ~cpg)]
    rates = [hit / sites.sum() for hit, sites in zip(hits, (cpg, c_or_g & ~cpg), strict=True)]
    error = np.sqrt(1 / hits[0] + 1 / hits[1])
    assert rates[0] / rates[1] == pytest.approx(10, rel=4 * error)


def test_ancestor_is_mammal_like(aligned: Nodes) -> None:
    for node in (ROOT, *SPECIES):
        bases = aligned[node]
        c, g = (bases == 1).mean(), (bases == 2).mean()
        cpg = ((bases[:-1] == 1) & (bases[1:] == 2)).mean()
        assert 0.37 < c + g < 0.43
        assert 0.18 < cpg / (c * g) < 0.30


def test_indels_alone_change_lengths_and_keep_order() -> None:
    """Insertions repeat bases at hand and deletions drop some: all others stay, in order."""
    rng = np.random.default_rng(0)
    length, events, mean = 1_000_000, 0.002, 3.0
    source = small_indels(rng, length, events, mean)
    steps = np.diff(source)
    backward, forward = steps[steps < 1], steps[steps > 1]
    expected = events / 2 * length
    assert len(backward) == pytest.approx(expected, abs=5 * np.sqrt(expected))
    assert len(forward) == pytest.approx(expected, abs=5 * np.sqrt(expected))
    assert (1 - backward).mean() == pytest.approx(mean, rel=0.15)
    assert (forward - 1).mean() == pytest.approx(mean, rel=0.15)
    assert source.min() >= 0
    assert source.max() < length


def test_signal_strength_adds_repeats_and_shifts_spectra() -> None:
    def soft_masked(strength: float) -> dict[str, int]:
        clade = Clade(1, 300_000, 0, NO_N, signal_strength=strength, indel_rate=0)
        nodes = evolve_tile(clade, *draw_lineages(clade), 0, 0, clade.length)
        return {node: int((codes >= 8).sum()) for node, codes in nodes.items()}

    none, strong = soft_masked(0), soft_masked(10)
    assert len(set(none.values())) == 1
    assert strong["human"] > none["human"] + 3000
    spectra = [
        [lineage.factors for lineage in draw_lineages(Clade(1, 1, 0, NO_N, strength))[1]]
        for strength in (0, 1, 3)
    ]
    assert (np.array(spectra[0]) == 1).all()
    assert np.log(spectra[1]).std() == pytest.approx(0.1, rel=0.1)
    assert np.log(spectra[2]).std() == pytest.approx(0.3, rel=0.1)


def test_spectrum_shifts_are_alike_on_both_strands() -> None:
    factors = spectrum_shift(np.random.default_rng(0), 0.5).reshape(4, 4, 4, 4)
    # ACG -> ATG is CGT -> CAT on the other strand
    assert factors[0, 1, 2, 3] == factors[1, 2, 3, 0] != 1
    np.testing.assert_allclose(factors, factors[::-1, ::-1, ::-1, ::-1].transpose(2, 1, 0, 3))


def test_chromosomes_of_several_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clade_module, "TILE", 30_000)
    clade = Clade(1, 100_001, 0, Runs(0.05, 100.0), signal_strength=0, indel_rate=0)
    chromosome = evolve_chromosome(clade, *draw_lineages(clade), 0)
    human, chimpanzee = chromosome["human"], chromosome["chimpanzee"]
    assert {len(codes) for codes in chromosome.values()} == {100_001}
    known = (human != 4) & (chimpanzee != 4)
    assert 0.008 < ((human ^ chimpanzee)[known] > 0).mean() < 0.02
    assert 0.02 < (human == 4).mean() < 0.09
    assert ((human == 4) != (chimpanzee == 4)).any()
