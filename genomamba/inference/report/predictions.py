"""A table of predictions as a section: by sample, by class, the first records."""

from __future__ import annotations

from collections.abc import Sequence

from genomamba.inference.report.prediction_tables import FIRST_ROWS, Group, Predictions
from genomamba_data_prep.report.page import section, table

SAMPLES = 50  # rows of the table of samples, at most
REASONS = 10
NONE = "no prediction"


def predictions_section(found: Predictions) -> str:
    """What was predicted; says what of the table is not shown."""
    heading = f"Predictions: {found.path.name}"
    if not found.all.records:
        return section(heading, "The table has no records.")
    elements = [_by_sample(found), _by_class(found)]
    if found.reasons:
        rows = [(reason, f"{n:,}") for reason, n in found.reasons.most_common(REASONS)]
        # Not numeric: a reason names file, record and line, and such lines have to wrap.
        elements.append(table((f"why there is {NONE}", "records"), rows, numeric=False))
    return section(heading, _text(found), *elements, _first(found))


def _text(found: Predictions) -> str:
    everything = found.all
    predicted = everything.predictions.total()
    parts = [
        f"Records: {everything.records:,}, of samples: {len(found.by_sample):,}; in all "
        f"{everything.bases:,} bases. With a prediction: {predicted:,}."
    ]
    if everything.labelled:
        share = everything.right / everything.labelled
        parts.append(
            f"Of {everything.labelled:,} whose class is known {everything.right:,} right "
            f"({share:.1%})."
        )
    cut = [
        f"the first {shown:,} of {total:,} {name}"
        for shown, total, name in (
            (SAMPLES, len(found.by_sample), "samples"),
            (REASONS, len(found.reasons), "reasons, by their number"),
            (FIRST_ROWS, everything.records, "records"),
        )
        if total > shown
    ]
    if cut:
        parts.append(
            f"Cut: this page shows {' and '.join(cut)}. The counts by class are of all records, "
            f"and {found.path.name} holds everything."
        )
    return " ".join(parts)


def _by_sample(found: Predictions) -> str:
    """Counts of the classes that records of a sample were taken for."""
    labelled = any(label for _, label in found.by_sample)
    header = ["sample", *(["true class"] if labelled else []), "records", *found.classes, NONE]
    rows = []
    for (sample, label), group in list(found.by_sample.items())[:SAMPLES]:
        counts = [group.predictions[name] for name in found.classes]
        none = group.records - group.predictions.total()
        numbers = [f"{count:,}" for count in (group.records, *counts, none)]
        right = [f"{group.right / group.labelled:.1%}" if group.labelled else "–"]
        rows.append(
            (sample, *([label or "–"] if labelled else []), *numbers, *(right if labelled else []))
        )
    return table([*header, *(["right"] if labelled else [])], rows, text=["true class"])


def _by_class(found: Predictions) -> str:
    rows = [
        (name or NONE, f"{group.records:,}", f"{group.bases:,}", _mean(group))
        for name, group in _in_order(found)
    ]
    return table(("predicted class", "records", "bases", "mean probability"), rows)


def _in_order(found: Predictions) -> list[tuple[str, Group]]:
    return [(name, found.by_class.get(name, Group())) for name in (*found.classes, "")]


def _mean(group: Group) -> str:
    predicted = group.predictions.total()
    return f"{group.probability / predicted:.3f}" if predicted else "–"


def _first(found: Predictions) -> str:
    rows: list[Sequence[str]] = []
    for row in found.first:
        probability = row["probability"]
        rows.append(
            (
                row["record"],
                row["sample"],
                f"{row['length']:,}",
                f"{row['windows']:,}",
                row["prediction"] or "–",
                "–" if probability is None else f"{probability:.3f}",
            )
        )
    header = ("record", "sample", "bases", "windows", "prediction", "probability")
    return table(header, rows, text=["sample", "prediction"])
