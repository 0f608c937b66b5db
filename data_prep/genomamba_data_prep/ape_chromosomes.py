"""Names in common for chromosomes of human and the great apes: those of their human homologues.

The telomere-to-telomere assemblies of the apes number chromosomes in the apes' own order: 3 of
chimpanzee is the homologue of human 4. By numbers alone homologous sequence would train in one
species and test in another. The order is that in the names of their sequences, such as
chr3_hap1_hsa4 (Yoo et al. 2025, Nature 641:401; genomeark.org). Older assemblies (panTro, gorGor
and ponAbe at UCSC) are numbered like human, with 2A and 2B.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from genomamba_data_prep.errors import InputError

_EARLY = ["1", "3", "4", "5", "6", "7", "8", "10", "11", "12"]  # the apes' 1 to 10
_LATE = ["13", "14", "15", "18", "16", "17", "19", "20", "21", "22"]  # 14 to 23
_PAN = [*_EARLY, "9", "2A", "2B", *_LATE]
_PONGO = [*_EARLY, "2B", "2A", "9", *_LATE]
# In gorilla, 5 and 17 exchanged arms; what became of them is neither's homologue alone.
_GORILLA = [{"5": "17x5", "17": "5x17"}.get(number, number) for number in _PONGO]
# Human homologue of the apes' chromosomes 1 to 23.
HOMOLOGUES = {
    "chimpanzee": _PAN,
    "bonobo": _PAN,
    "gorilla": _GORILLA,
    "orangutan": _PONGO,
}

_NAMED_AFTER_HUMAN = re.compile(r"chr\w+?_hsa(\d+(?:[ab]|x\d+)?|[XY])")
# Not "chromosome 1 unlocalized genomic scaffold" or "chromosome 1 genomic patch".
_DESCRIBED = re.compile(r"\bchromosome:? (\d{1,2}[AB]?|[XY])(?:,|$)", re.IGNORECASE)
_MITOCHONDRION = re.compile(r"\bmitochondrion\b", re.IGNORECASE)


def common_names(headers: Sequence[tuple[str, str]], species: str | None = None) -> dict[str, str]:
    """Names such as chr4 for the records that are chromosomes; the others are left out.

    Args:
        headers: name and description of each FASTA record.
        species: whose order the numbers are in, if they go up to 23 without 2A and 2B.

    Raises:
        InputError: the apes' own order, and no species of `HOMOLOGUES`; an ape's chromosomes of
            which neither order is sure; two records of one name.
    """
    found: dict[str, str] = {}
    described: dict[str, str] = {}
    for name, description in headers:
        after_human = _NAMED_AFTER_HUMAN.fullmatch(name)
        number = _DESCRIBED.search(description)
        if after_human:
            found[name] = after_human[1]
        elif number:
            described[name] = number[1].upper()
        elif _MITOCHONDRION.search(description):
            found[name] = "M"
    numbers = set(described.values())
    like_human = bool(numbers & {"2A", "2B"})
    if species in HOMOLOGUES and numbers - {"1", "X", "Y"} and not (like_human or "23" in numbers):
        raise InputError(
            f"whether the chromosomes of {species} are numbered like human's, with 2A and 2B, or "
            "in the ape's own order, up to 23, cannot be told: none of these is there",
            fix="Give the FASTA of the whole assembly, or write the table by hand",
        )
    if "23" in numbers and not like_human:
        if species not in HOMOLOGUES:
            raise InputError(
                "the chromosomes are numbered up to 23, as the apes' own order is, which differs "
                "from human's and between the apes",
                fix=f"Say whose they are: --species {' or '.join(HOMOLOGUES)}",
            )
        order = HOMOLOGUES[species]
        described = {
            name: order[int(number) - 1] if number.isdigit() else number
            for name, number in described.items()
        }
    found |= described
    names = {n: f"chr{_written(found[n])}" for n, _ in headers if n in found}
    first: dict[str, str] = {}
    for name, common in names.items():
        if common in first:
            raise InputError(
                f"the records {first[common]} and {name} are both {common}",
                fix="Give a FASTA of one haplotype",
            )
        first[common] = name
    return names


def _written(number: str) -> str:
    """2a as 2A, but 17x5 as it is."""
    return number if "x" in number else number.upper()
