"""Reads the manifests of an evaluation and checks what must hold before a model reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifests import Manifest, read_manifest
from genomamba_data_prep.species_set import SpeciesSet


def read_manifests(paths: Sequence[Path], species_set: SpeciesSet) -> list[Manifest]:
    """Manifests, verified, by length.

    Raises:
        InputError: as `read_manifest` and `check_windows`; one comes twice, or two have one name.
    """
    manifests: list[Manifest] = []
    for path in paths:
        manifest = read_manifest(path, species_set)
        check_windows(manifest, species_set)
        for other in manifests:
            if other.digest == manifest.digest:
                raise InputError(f"is the same manifest as {other.path}", file=path)
            if other.path.name == manifest.path.name:
                raise InputError(
                    f"has the same file name as {other.path}, and results go by that",
                    file=path,
                    fix="Rename one, and its .sha256 with it",
                )
        manifests.append(manifest)
    return sorted(manifests, key=lambda manifest: manifest.length)


def check_windows(manifest: Manifest, species_set: SpeciesSet) -> None:
    """That every window lies in its record, has the manifest's length and its species' label.

    Raises:
        InputError: one does not, or there is none.
    """
    if not len(manifest):
        raise InputError("the manifest has no windows", file=manifest.path)
    lengths: dict[tuple[str, str], int] = {}
    for row, window in enumerate(manifest.table.to_pylist()):
        species, record = window["species"], window["record"]
        start, end = window["start"], window["end"]
        where = f"the window in row {row}, {species} {record} {start}-{end},"
        if species not in species_set.classes or record not in species_set.records(species):
            raise InputError(f"{where} is of no record of {species_set.path}", file=manifest.path)
        key = (species, record)
        if key not in lengths:
            lengths[key] = species_set.length(species, record)
        if end - start != manifest.length or not 0 <= start < end <= lengths[key]:
            raise InputError(
                f"{where} is not {manifest.length:,} bases of the record's {lengths[key]:,}",
                file=manifest.path,
                fix="Draw it again: genomamba prepare manifest",
            )
        if window["label"] != species_set.classes.index(species):
            raise InputError(f"{where} has the label {window['label']}", file=manifest.path)


def check_validation(manifests: Sequence[Manifest]) -> None:
    """That all are of the split valid, which alone a temperature may be fitted to.

    Raises:
        InputError: one is not.
    """
    for manifest in manifests:
        if manifest.origin.split != "valid":
            raise InputError(
                f"a temperature is fitted on validation data; this is the {manifest.origin.split} "
                "split",
                file=manifest.path,
                fix="Draw a manifest with `genomamba prepare manifest --split valid`",
            )
