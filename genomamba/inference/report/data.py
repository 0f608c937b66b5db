"""What the data were: stores, splits, frozen windows, each with its hash."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from genomamba_data_prep.manifests import Manifest
from genomamba_data_prep.report.page import section, table
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import SPLITS, Splits


def data_section(species_set: SpeciesSet, splits: Splits, manifests: Sequence[Manifest]) -> str:
    """Classes in their order, how much of each is in which split, and the evaluation windows."""
    return section(
        "Data",
        f"{len(species_set.classes)} classes, in the order that the model numbers them. Sizes are "
        "in bases; a base of a split may be in several of its windows.",
        table(
            ("class", "assembly", "records", "bases", "G or C", "N"),
            _stores(species_set),
            text=["assembly"],
        ),
        table(
            ("split", "class", "records", "intervals", "bases", "of all"),
            _splits(splits, species_set),
            text=["class"],
        ),
        table(
            ("manifest", "split", "bases", "windows", "of each class", "refused for N", "seed"),
            [_windows(manifest) for manifest in manifests],
            text=["split"],
        ),
    )


def _stores(species_set: SpeciesSet) -> list[tuple[str, ...]]:
    rows = []
    for species, store in species_set.stores.items():
        records = list(store.records.values())
        bases = sum(record.length for record in records)
        n = sum(record.n for record in records)
        gc = sum(record.gc for record in records)
        rows.append(
            (
                species,
                store.assembly,
                f"{len(records):,}",
                f"{bases:,}",
                f"{gc / max(bases - n, 1):.1%}",
                f"{n / max(bases, 1):.2%}",
            )
        )
    return rows


def _splits(splits: Splits, species_set: SpeciesSet) -> list[tuple[str, ...]]:
    bases: Counter[tuple[str, str]] = Counter()
    intervals: Counter[tuple[str, str]] = Counter()
    records: dict[tuple[str, str], set[str]] = defaultdict(set)
    for interval in splits.intervals():
        key = interval.split, interval.species
        bases[key] += interval.end - interval.start
        intervals[key] += 1
        records[key].add(interval.record)
    rows = []
    for split in SPLITS:
        for species in species_set.classes:
            key = split, species
            total = sum(species_set.length(species, name) for name in species_set.records(species))
            share = f"{bases[key] / max(total, 1):.1%}"
            counts = (len(records[key]), intervals[key], bases[key])
            rows.append((split, species, *(f"{count:,}" for count in counts), share))
    return rows


def _windows(manifest: Manifest) -> tuple[str, ...]:
    origin = manifest.origin
    counts = Counter(manifest.labels.tolist())
    of_each = {counts[label] for label in range(len(origin.classes))}
    least, most = min(of_each), max(of_each)
    return (
        manifest.path.name,
        origin.split,
        f"{manifest.length:,}",
        f"{len(manifest):,}",
        f"{least:,}" if least == most else f"{least:,} to {most:,}",
        f"{sum(origin.refused.values()):,}",
        f"{origin.seed}",
    )
