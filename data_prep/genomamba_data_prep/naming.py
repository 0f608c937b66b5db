"""Chromosome names: chr1 in one file is 1 in another, and 2A and 2B of the apes are human 2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_CHROMOSOME = re.compile(r"(?:chr)?(\d{1,2}|[XY])([AB]?)", re.IGNORECASE)
_MITOCHONDRION = ("chrM", "chrMT", "MT", "M")


def other_style(name: str, known: Mapping[str, object]) -> str | None:
    """The same chromosome's name among the known ones, with or without chr; None if it has none."""
    bare = name[3:] if name[:3].lower() == "chr" else name
    candidates = [bare, f"chr{bare}", bare.upper(), f"chr{bare.upper()}"]
    if name in _MITOCHONDRION:
        candidates += _MITOCHONDRION
    return next((other for other in candidates if other != name and other in known), None)


def naming_fix(name: str, known: Mapping[str, object]) -> str | None:
    """What to do about a name that is known in the other style; None for any other name."""
    other = other_style(name, known)
    if other is None:
        return None
    return (
        f"The chromosome that this file calls {name} is {other} in the genome: give "
        "`genomamba prepare split --rename`, or names in common (record_names in the species set)"
    )


def chromosome(name: str) -> str | None:
    """The human chromosome that a common name speaks of: "2" of chr2A; None of no chromosome."""
    match = _CHROMOSOME.fullmatch(name)
    if not match or (match[2] and match[1] != "2"):
        return None
    return match[1].upper()


def by_chromosome(names: Iterable[str]) -> dict[str, list[str]]:
    """The names that speak of a chromosome, by chromosome."""
    found: dict[str, list[str]] = {}
    for name in names:
        number = chromosome(name)
        if number is not None:
            found.setdefault(number, []).append(name)
    return found
