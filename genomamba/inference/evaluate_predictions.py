"""A classifier's answer on each window of frozen manifests, as a Parquet file that can be joined.

Letters: B windows, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from genomamba.inference.evaluate_metrics import Floats, locus_names
from genomamba.inference.schema import log_probability_columns
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifests import Manifest

METADATA_KEY = b"genomamba_predictions"
FIX = "Give the file that `genomamba evaluate --predictions` or docs/real-data/kmers.py wrote"


@dataclass(frozen=True)
class Predictions:
    """A file of predictions.

    Attributes:
        path: the file.
        classifier: whose they are.
        classes: species, in class order.
        table: a row a window, of ``prediction_schema``.
    """

    path: Path
    classifier: str
    classes: tuple[str, ...]
    table: pa.Table


def prediction_schema(classes: Sequence[str]) -> pa.Schema:
    """The columns, in order."""
    return pa.schema(
        [
            ("length", pa.int64()),  # of the manifest's windows, bases
            ("species", pa.string()),
            ("record", pa.string()),  # by common name, as in the manifest
            ("start", pa.int64()),  # first base on the record, from 0
            ("strand", pa.string()),  # "+" or "-"
            ("label", pa.int64()),  # the true class, from 0 in class order
            ("locus", pa.string()),  # RECORD:FIRST, which intervals draw again whole
            ("prediction", pa.string()),  # the most probable class
            ("strand_disagreement", pa.float32()),  # null where one strand was read
            *((name, pa.float32()) for name in log_probability_columns(classes)),
        ]
    )


def prediction_table(
    manifest: Manifest,
    log_probabilities: Floats,
    classes: Sequence[str],
    locus: int | None,
    strand_disagreement: Floats | None = None,
) -> pa.Table:
    """The rows of one manifest.

    Args:
        manifest: the windows.
        log_probabilities: (B, C).
        classes: in class order.
        locus: bases of a stretch, as of `window_loci`.
        strand_disagreement: (B,), where both strands were read.
    """
    given = {name: manifest.table[name] for name in ("species", "record", "start", "strand")}
    by_class = zip(log_probability_columns(classes), log_probabilities.T, strict=True)
    predicted = log_probabilities.argmax(axis=1).tolist()
    nothing = [None] * len(manifest)
    columns = {
        "length": np.full(len(manifest), manifest.length),
        **given,
        "label": manifest.table["label"],
        "locus": locus_names(manifest, locus),
        "prediction": [classes[i] for i in predicted],
        "strand_disagreement": nothing
        if strand_disagreement is None
        else strand_disagreement.astype(np.float32),
        **{name: values.astype(np.float32) for name, values in by_class},
    }
    return pa.table(columns, schema=prediction_schema(classes))


def write_predictions(
    path: Path,
    tables: Sequence[pa.Table],
    classifier: str,
    classes: Sequence[str],
    request: dict[str, Any],
) -> None:
    """Write the rows of all manifests; the metadata say whose they are and what was asked."""
    content = {"classifier": classifier, "classes": list(classes), "request": request}
    metadata = {METADATA_KEY: json.dumps(content)}
    pq.write_table(pa.concat_tables(tables).replace_schema_metadata(metadata), path)


def read_predictions(path: Path) -> Predictions:
    """Read a file of predictions.

    Raises:
        InputError: no such file, or of another content.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError("no such file", file=path, fix=FIX) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"not a Parquet file: {what}", file=path, fix=FIX) from None
    text = (table.schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        raise InputError("not a file of predictions", file=path, fix=FIX)
    try:
        content = json.loads(text)
        classifier, classes = str(content["classifier"]), tuple(content["classes"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"its metadata are damaged: {error}", file=path, fix=FIX) from None
    if not table.schema.equals(prediction_schema(classes)):
        raise InputError(
            "its columns are not those of predictions: "
            f"expected {', '.join(prediction_schema(classes).names)}; "
            f"got {', '.join(table.schema.names)}",
            file=path,
            fix=FIX,
        )
    return Predictions(path, classifier, classes, table)
