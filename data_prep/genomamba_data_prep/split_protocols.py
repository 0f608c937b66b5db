"""Published splits by chromosome, whole or without N."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.naming import by_chromosome, chromosome
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.species_set import SpeciesSet, nearest
from genomamba_data_prep.splits import Interval
from genomamba_data_prep.stretches import without_n

# HyenaDNA's code, src/dataloaders/datasets/species_dataset.py (Nguyen et al. 2023). What is in
# neither trains: 2 and the apes' 2A and 2B among them.
HYENADNA = {"valid": ("1", "3", "12", "13"), "test": ("5", "7", "9", "10", "11")}
# Held out where there is no interval file; the validation chromosomes are the user's to name.
PRETRAINING_TEST = ("14", "X")


def by_held_out(
    species_set: SpeciesSet, held_out: Mapping[str, Sequence[str]], *, without_n_only: bool = False
) -> list[Interval]:
    """Split chromosomes: these are valid and test, in every species; all others train.

    A record is a chromosome's if its common name says so, with or without chr: 2A and 2B go with
    2. Other records (mitochondria, scaffolds, chromosomes fused of two of another split such as
    17x5 of gorilla) are left out.

    Args:
        species_set: the genomes.
        held_out: chromosomes of valid and of test, such as chr14, 14 or X.
        without_n_only: the stretches without N of each record instead of the whole record.

    Raises:
        InputError: a chromosome that is none, that is in both or that no species has; a species
            without a chromosome.
    """
    side = _sides(species_set, held_out)
    intervals = []
    for species in species_set.classes:
        names = by_chromosome(species_set.records(species))
        if not names:
            raise InputError(
                f"no record of {species} has a chromosome's name, such as chr1, 1, chr2A or X; "
                f"they are {', '.join(list(species_set.records(species))[:5])}",
                file=species_set.path,
                fix="Give them names in common: `genomamba prepare names` makes the record_names "
                "table of the species set from a FASTA's headers",
            )
        split_of = {
            name: side.get(number, "train") for number, own in names.items() for name in own
        }
        intervals += [
            Interval(species, record, start, end, split_of[record])
            for record in species_set.records(species)
            if record in split_of
            for start, end in _stretches(species_set, species, record, without_n_only)
        ]
    return intervals


def numbering_note(species_set: SpeciesSet) -> str | None:
    """What to be wary of where only some of the species have chromosomes beyond human's 22."""
    beyond = [
        species
        for species in species_set.classes
        if any(
            number.isdigit() and int(number) > 22
            for number in by_chromosome(species_set.records(species))
        )
    ]
    if not beyond or len(beyond) == len(species_set.classes):
        return None
    return (
        f"note: {', '.join(beyond)} has a chromosome 23. If these numbers are the apes' own, 3 is "
        "not the homologue of human 3, and homologous sequence is on different sides: `genomamba "
        "prepare names` names chromosomes after their human homologues"
    )


def _sides(species_set: SpeciesSet, held_out: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Chromosome number -> valid or test."""
    known = by_chromosome(
        name for species in species_set.classes for name in species_set.records(species)
    )
    side: dict[str, str] = {}
    for split, names in held_out.items():
        for name in names:
            number = chromosome(name)
            if number is None or number not in known:
                raise InputError(
                    f"{species_set.path} has no chromosome {name!r}, which is to be {split}",
                    fix=f"--{split} NAME,... says which ones are. {nearest(name, known)}"
                    if known
                    else "No record has a chromosome's name: see `genomamba prepare names`",
                )
            if side.get(number, split) != split:
                raise InputError(f"the chromosome {number} is in {side[number]} and in {split}")
            side[number] = split
    return side


def _stretches(
    species_set: SpeciesSet, species: str, record: str, without_n_only: bool
) -> list[tuple[int, int]]:
    length = species_set.length(species, record)
    store, name = species_set.stores[species], species_set.records(species)[record]
    if not without_n_only or not store.records[name].n:
        return [(0, length)]
    with Progress(f"finding N in {record}", length) as progress:
        stretches = without_n(store.codes(name), progress)
    return [(start, end) for start, end in stretches.tolist()]
