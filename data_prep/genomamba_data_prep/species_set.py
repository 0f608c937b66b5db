"""A species set: which genomes are told apart, and in which order their classes are numbered.

The file is a TSV with the columns species, store (a store's folder, or a FASTA file to be read in
place) and, where stores name the same chromosome differently, record_names: a TSV (record, name)
that gives a store's records the names that the set has in common. Paths are relative to the file.
Splits and manifests speak of common names only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.fasta_genome import FastaGenome, is_fasta
from genomamba_data_prep.store import Store
from genomamba_data_prep.tables import read_table


class SpeciesSet:
    """Stores by species, in class order. Opens no codes until they are read; cheap to pickle.

    Attributes:
        path: the set's TSV, or the store's folder.
        classes: species names; a species' place here is its label.
        stores: the stores by species, in class order.
        digest: SHA-256 over species, store contents and common names: equal for the same data,
            wherever it lies.
    """

    def __init__(
        self, path: Path, stores: dict[str, Store], names: dict[str, dict[str, str]]
    ) -> None:
        self.path = path
        self.stores = stores
        self.classes = tuple(stores)
        self._names = names
        content = [[species, stores[species].digest, names[species]] for species in stores]
        self.digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @classmethod
    def open(cls, path: str | Path) -> SpeciesSet:
        """A set's TSV, or a store's folder or a FASTA file as a set of one species.

        Raises:
            InputError: as `read` and `open_genome`.
        """
        path = Path(path)
        return cls.of(open_genome(path)) if path.is_dir() or is_fasta(path) else cls.read(path)

    @classmethod
    def of(cls, store: Store) -> SpeciesSet:
        """One store as a set of one species, under its own record names."""
        species = store.species or store.path.name
        return cls(store.path, {species: store}, {species: {name: name for name in store.records}})

    @classmethod
    def read(cls, path: str | Path) -> SpeciesSet:
        """Read a set's TSV and open its stores.

        Raises:
            InputError: a damaged table, a species or common name twice, an unknown record,
                no store.
        """
        path = Path(path)
        stores: dict[str, Store] = {}
        names: dict[str, dict[str, str]] = {}
        for line, row in read_table(path, ("species", "store"), ("record_names",)):
            species = row["species"]
            if species in stores:
                raise InputError(f"the species {species!r} is named twice", file=path, line=line)
            place = path.parent / row["store"]
            if not place.exists():
                raise InputError(
                    f"{place}: not a store: nothing is there",
                    file=path,
                    line=line,
                    fix="Paths are relative to the set's folder; `genomamba prepare encode` "
                    "makes a store",
                )
            store = open_genome(place)
            stores[species] = store
            renamed = (
                _read_names(path.parent / row["record_names"], store) if row["record_names"] else {}
            )
            names[species] = _common_names(store, renamed, path, line)
        return cls(path, stores, names)

    def records(self, species: str) -> Mapping[str, str]:
        """A species' records: common name -> name in its store, in the store's order."""
        return MappingProxyType(self._names[species])

    def length(self, species: str, record: str) -> int:
        """Bases of a record given by its common name."""
        return self.stores[species].records[self._names[species][record]].length

    def __repr__(self) -> str:
        return f"SpeciesSet({str(self.path)!r}, {', '.join(self.classes)})"


def open_genome(path: Path) -> Store:
    """A store's folder, or a FASTA file that is read in place.

    Raises:
        InputError: as `Store.open` and `FastaGenome.open`.
    """
    return FastaGenome.open(path) if path.is_file() else Store.open(path)


def _read_names(path: Path, store: Store) -> dict[str, str]:
    """Store record -> common name, from a table of two columns."""
    names: dict[str, str] = {}
    for line, row in read_table(path, ("record", "name")):
        record = row["record"]
        if record not in store.records:
            raise InputError(
                f"the store {store.path} has no record {record!r}",
                file=path,
                line=line,
                fix=nearest(record, store.records),
            )
        if record in names:
            raise InputError(f"the record {record!r} is named twice", file=path, line=line)
        names[record] = row["name"]
    return names


def _common_names(store: Store, renamed: dict[str, str], path: Path, line: int) -> dict[str, str]:
    """Common name -> store record of every record; those that are not renamed keep their names."""
    names: dict[str, str] = {}
    for record in store.records:
        name = renamed.get(record, record)
        if name in names:
            raise InputError(
                f"the records {names[name]!r} and {record!r} of {store.path} have the same common "
                f"name {name!r}",
                file=path,
                line=line,
                fix="Give each record a name of its own in the record_names table",
            )
        names[name] = record
    return names


def nearest(name: str, names: Mapping[str, object]) -> str:
    """What to do about an unknown name: the names nearest to it, or a few that exist."""
    near = get_close_matches(name, names, 3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    some = list(names)[:5]
    return f"There are {', '.join(some)}{' and others' if len(names) > len(some) else ''}"
