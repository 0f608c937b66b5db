"""The optimum's accuracy on exactly the windows of a frozen manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifest_windows import ManifestReader
from genomamba_data_prep.manifests import read_manifest
from genomamba_data_prep.simulate.bayes import (
    BASES_AT_ONCE,
    Optimum,
    log_likelihoods,
    posteriors,
    summarise,
)
from genomamba_data_prep.simulate.truth import MarkovTruth
from genomamba_data_prep.species_set import SpeciesSet


def manifest_accuracy(
    truth: MarkovTruth, manifest_path: str | Path, species_set_path: str | Path
) -> Optimum:
    """Classify a manifest's windows by their exact likelihoods, with equal priors of its classes.

    Args:
        truth: the sources that the species set's genomes were simulated from.
        manifest_path: the manifest.
        species_set_path: the species set that it was drawn from.

    Raises:
        InputError: as `read_manifest`; or the set has a species that was not simulated.
    """
    species_set = SpeciesSet.open(species_set_path)
    unknown = [name for name in species_set.classes if name not in truth.species]
    if unknown:
        raise InputError(
            f"the simulation has no species {unknown[0]!r}, only {', '.join(truth.species)}",
            file=species_set.path,
        )
    manifest = read_manifest(manifest_path, species_set)
    reader = ManifestReader(manifest, species_set)
    columns = [truth.species.index(name) for name in species_set.classes]
    rows_at_once = max(1, BASES_AT_ONCE // manifest.length)
    found = [
        posteriors(log_likelihoods(truth, reader.codes(rows))[:, columns])
        for rows in np.array_split(
            np.arange(len(manifest)), max(1, -(-len(manifest) // rows_at_once))
        )
    ]
    return summarise(manifest.length, np.concatenate(found), manifest.labels)
