"""An evaluation as a long table (Parquet) and as a JSON document."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from genomamba.inference.evaluate_metrics import Estimate
from genomamba.inference.evaluate_results import Evaluation, Result

SCHEMA = pa.schema(
    [
        ("manifest", pa.string()),  # its file's name
        ("split", pa.string()),  # that it was drawn from
        ("quantity", pa.string()),  # "manifest", or "prefix" of its windows
        ("window", pa.int64()),  # bases of the manifest's windows
        ("length", pa.int64()),  # bases read: window, or of the prefix
        ("metric", pa.string()),  # METRICS
        ("true", pa.string()),  # class, of class_accuracy and confusion
        ("predicted", pa.string()),  # class, of confusion
        ("bin_low", pa.float64()),  # confidence, of reliability and confidence
        ("bin_high", pa.float64()),
        ("value", pa.float64()),  # null where there is nothing to measure
        ("low", pa.float64()),  # 95 % interval over loci; null where there is none
        ("high", pa.float64()),
        ("windows", pa.int64()),  # that the value is of
        ("loci", pa.int64()),  # of all windows of this length
    ]
)
METRICS = (
    "accuracy",
    "class_accuracy",
    "log_loss",
    "brier",
    "ece",
    "confusion",
    "reliability",
    "confidence",
    "strand_disagreement",
)


def rows(result: Result, classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The table's rows of one length."""
    found = result.measurement
    place = {
        "manifest": result.manifest.name,
        "split": result.manifest.split,
        "quantity": result.quantity,
        "window": result.manifest.length,
        "length": result.length,
        "windows": found.windows,
        "loci": found.loci,
    }
    for metric in ("accuracy", "log_loss", "brier", "ece"):
        yield place | {"metric": metric} | _fields(getattr(found, metric))
    yield place | {"metric": "strand_disagreement", "value": result.strand_disagreement}
    counts = found.confusion.tolist()
    for name, estimate, row in zip(classes, found.by_class, counts, strict=True):
        own = place | {"true": name, "windows": sum(row)}
        yield own | {"metric": "class_accuracy"} | _fields(estimate)
        for other, count in zip(classes, row, strict=True):
            yield own | {"metric": "confusion", "predicted": other, "value": float(count)}
    for one in found.bins:
        own = place | {"bin_low": one.low, "bin_high": one.high, "windows": one.windows}
        yield own | {"metric": "reliability"} | _fields(one.accuracy)
        yield own | {"metric": "confidence", "value": _number(one.confidence)}


def write_parquet(path: Path, evaluation: Evaluation) -> None:
    """Write all rows, of ``SCHEMA``; the request is in the metadata."""
    found = [row for r in evaluation.results for row in rows(r, evaluation.classes)]
    metadata = {"genomamba": json.dumps(evaluation.request | _state(evaluation))}
    pq.write_table(pa.Table.from_pylist(found, schema=SCHEMA.with_metadata(metadata)), path)


def json_document(evaluation: Evaluation) -> str:
    """The same figures, a list of lengths."""
    results = []
    for result in evaluation.results:
        found = result.measurement
        estimates = zip(evaluation.classes, found.by_class, strict=True)
        results.append(
            {
                "manifest": result.manifest.name,
                "quantity": result.quantity,
                "window": result.manifest.length,
                "length": result.length,
                "windows": found.windows,
                "loci": found.loci,
                "accuracy": _fields(found.accuracy),
                "accuracy_by_class": {name: _fields(estimate) for name, estimate in estimates},
                "log_loss": _fields(found.log_loss),
                "brier": _fields(found.brier),
                "ece": _fields(found.ece),
                "strand_disagreement": result.strand_disagreement,
                "confusion": found.confusion.tolist(),
                "reliability": [
                    {
                        "low": one.low,
                        "high": one.high,
                        "windows": one.windows,
                        "confidence": _number(one.confidence),
                        "accuracy": _fields(one.accuracy),
                    }
                    for one in found.bins
                ],
            }
        )
    content = {"request": evaluation.request} | _state(evaluation) | {"results": results}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _state(evaluation: Evaluation) -> dict[str, Any]:
    calibration = None if evaluation.calibration is None else asdict(evaluation.calibration)
    return {
        "classes": list(evaluation.classes),
        "temperature": evaluation.temperature,
        "calibration": calibration,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _fields(estimate: Estimate) -> dict[str, float | None]:
    return {"value": _number(estimate.value), "low": estimate.low, "high": estimate.high}
