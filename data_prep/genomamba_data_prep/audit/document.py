"""The audit as JSON; ``data_prep/README.md`` describes the fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from genomamba_data_prep.audit.accuracy import Accuracy
from genomamba_data_prep.audit.audit import Audit
from genomamba_data_prep.audit.shared_kmers import K
from genomamba_data_prep.audit.verdict import Finding

FORMAT, FORMAT_VERSION = "genomamba-audit", 1
DIGITS = 6  # beyond it the order of summation shows


def json_document(
    audit: Audit, findings: Sequence[Finding], request: dict[str, Any], html_sha256: str
) -> str:
    """The JSON file's content.

    Args:
        audit: the figures.
        findings: the verdict.
        request: what was asked, of which data, with which versions: see `audit_command`.
        html_sha256: of the page beside it.
    """
    content = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "request": request,
        "html_sha256": html_sha256,
        "classes": audit.classes,
        "chance": round(1 / len(audit.classes), DIGITS),
        "verdict": [finding._asdict() for finding in findings],
        "lengths": [
            {name: value for name, value in asdict(result).items() if name != "accuracies"}
            | {
                "classifiers": {
                    name: _accuracy(accuracy, audit.classes)
                    for name, accuracy in result.accuracies.items()
                }
            }
            for result in audit.by_length
        ],
        "left_out": [
            {"length": length, "reason": reason} for length, reason in audit.left_out.items()
        ],
        "shared_kmers": _shared(audit),
    }
    return json.dumps(content, indent=1) + "\n"


def _accuracy(accuracy: Accuracy, classes: Sequence[str]) -> dict[str, Any]:
    fields = {
        name: round(value, DIGITS) if isinstance(value, float) else value
        for name, value in asdict(accuracy).items()
    }
    recall = (round(value, DIGITS) for value in accuracy.recall)
    return fields | {"recall": dict(zip(classes, recall, strict=True))}


def _shared(audit: Audit) -> dict[str, Any]:
    shared, classes = audit.shared, audit.classes

    def by_class(values: list[int]) -> dict[str, int]:
        return dict(zip(classes, values, strict=True))

    return {
        "k": K,
        "sampled_one_in": shared.sampled_one_in,
        "test_distinct": by_class(shared.distinct.tolist()),
        "shared_with_train": {
            species: by_class(row)
            for species, row in zip(classes, shared.shared.tolist(), strict=True)
        },
        "shared_with_any_train": by_class(shared.shared_any.tolist()),
    }
