"""Reads the JSON document that ``genomamba evaluate`` wrote, for pages made from it later."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from genomamba.inference.evaluate_metrics import Bin, Estimate, Measurement
from genomamba.inference.evaluate_results import Calibration, Evaluation, Result, Source
from genomamba_data_prep.errors import InputError

REQUEST = ("checkpoint_sha256", "species_set_digest", "manifests", "device", "versions")
FIX = "Give the .json file that `genomamba evaluate` of this version wrote beside its page"


def read_document(path: Path) -> Evaluation:
    """What `evaluate_tables.json_document` wrote.

    Raises:
        InputError: no such file, not JSON, or of another content.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"the evaluation cannot be read: {error.strerror}", file=path, fix=FIX
        ) from None
    except ValueError as error:  # of the text's encoding, too
        raise InputError(f"expected an evaluation as JSON: {error}", file=path, fix=FIX) from None
    try:
        return _evaluation(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"expected an evaluation; a field is missing or of another kind: {error}",
            file=path,
            fix=FIX,
        ) from None


def _evaluation(content: dict[str, Any]) -> Evaluation:
    absent = [name for name in REQUEST if name not in content["request"]]
    if absent:
        raise ValueError(f"request has no {', '.join(absent)}")
    classes = tuple(content["classes"])
    sources = {
        one["name"]: Source(one["name"], one["split"], int(one["length"]))
        for one in content["request"]["manifests"]
    }
    results = tuple(
        Result(
            sources[one["manifest"]],
            one["quantity"],
            int(one["length"]),
            _measurement(one, classes),
            one.get("strand_disagreement"),
        )
        for one in content["results"]
    )
    if not any(result.quantity == "manifest" for result in results):
        raise ValueError("it has no results")
    calibration = content["calibration"]
    return Evaluation(
        classes,
        float(content["temperature"]),
        results,
        None if calibration is None else Calibration(**calibration),
        content["request"],
    )


def _measurement(one: dict[str, Any], classes: tuple[str, ...]) -> Measurement:
    confusion = np.array(one["confusion"], dtype=np.int64)
    if confusion.shape != (len(classes), len(classes)):
        raise ValueError(f"a confusion matrix of {confusion.shape}, of {len(classes)} classes")
    return Measurement(
        windows=int(one["windows"]),
        loci=int(one["loci"]),
        accuracy=_estimate(one["accuracy"]),
        log_loss=_estimate(one["log_loss"]),
        brier=_estimate(one["brier"]),
        ece=_estimate(one["ece"]),
        by_class=tuple(_estimate(one["accuracy_by_class"][name]) for name in classes),
        confusion=confusion,
        bins=tuple(
            Bin(
                float(bin["low"]),
                float(bin["high"]),
                int(bin["windows"]),
                _value(bin["confidence"]),
                _estimate(bin["accuracy"]),
            )
            for bin in one["reliability"]
        ),
    )


def _estimate(fields: dict[str, float | None]) -> Estimate:
    low, high = (None if fields[end] is None else _value(fields[end]) for end in ("low", "high"))
    return Estimate(_value(fields["value"]), low, high)


def _value(number: float | None) -> float:
    return math.nan if number is None else float(number)
