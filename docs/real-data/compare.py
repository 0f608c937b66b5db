"""Two classifiers on the same windows: by how much the first is more accurate, as table and JSON.

    python docs/real-data/compare.py five.predictions.parquet five.6-mers.parquet \\
        --output five.less.6-mers.json
    python docs/real-data/compare.py 0.predictions.parquet 0.6-mers.parquet \\
        1.predictions.parquet 1.6-mers.parquet --output folds.less.6-mers.json

Files are of `genomamba evaluate --predictions` or docs/real-data/kmers.py, two and two of the same
windows, such as those of folds, which count together: rows are joined by length, species, record,
start and strand, in any order. What is resampled is the difference on each window, over the loci of
`genomamba evaluate` and as there: how hard a locus is for both does not count. Where all windows
have the same difference, such as none, nothing varies that could be resampled: half the interval is
Wilson's bound of no locus in all then.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genomamba.inference.evaluate_predictions import Predictions, read_predictions
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.intervals import wilson
from genomamba_data_prep.locus_bootstrap import MIN_LOCI, mean_spread

WINDOW = ["length", "species", "record", "start", "strand"]  # what names one
SAME = ["label", "locus"]  # of it in both files


def paired(first: Predictions, second: Predictions) -> pd.DataFrame:
    """A row a window: ``WINDOW``, ``SAME``, and whether each classifier is right.

    Raises:
        InputError: other classes or windows, a window twice, or loci of another size.
    """
    if first.classes != second.classes:
        raise InputError(
            f"its classes are {', '.join(second.classes)}; {first.path} has "
            f"{', '.join(first.classes)}",
            file=second.path,
            fix="Compare classifiers of the same species set",
        )
    one, other = (_rows(predictions) for predictions in (first, second))
    missing, added = one.index.difference(other.index), other.index.difference(one.index)
    if len(missing) or len(added):
        example = _text([*missing, *added][0])
        raise InputError(
            f"its windows are not those of {first.path}: {len(missing):,} are missing and "
            f"{len(added):,} are in this file only; the first is {example}",
            file=second.path,
            fix="Give both the same manifests",
        )
    other = other.loc[one.index]
    for name in SAME:
        unlike = (one[name] != other[name]).to_numpy()
        if unlike.any():
            at = int(unlike.argmax())
            raise InputError(
                f"the {name} of {_text(one.index[at])} is {other[name].iloc[at]}; in {first.path} "
                f"it is {one[name].iloc[at]}",
                file=second.path,
                fix="Make both files with the same --locus",
            )
    right = {"first": one["right"], "second": other["right"]}
    return one[SAME].assign(**right).reset_index()


def _rows(predictions: Predictions) -> pd.DataFrame:
    """By window, in the file's order."""
    rows = predictions.table.select([*WINDOW, *SAME, "prediction"]).to_pandas()
    rows["right"] = rows["prediction"] == rows["species"]
    rows = rows.set_index(WINDOW)
    if not rows.index.is_unique:
        again = rows.index[rows.index.duplicated()][0]
        raise InputError(
            f"has {_text(again)} twice",
            file=predictions.path,
            fix="Evaluate manifests that share no window",
        )
    return rows


def _text(window: Any) -> str:
    length, species, record, start, strand = window
    return f"the {length:,} bases of {species} {record} from {start} ({strand})"


def difference(rows: pd.DataFrame) -> dict[str, Any]:
    """Accuracies of the windows of one length, their difference, and its 95 % interval."""
    first, second = (rows[name].to_numpy(dtype=np.float64) for name in ("first", "second"))
    apart = first - second
    value = float(apart.mean())
    spread = mean_spread(apart, rows["label"].to_numpy(), rows["locus"].to_numpy(dtype=str))
    loci = int(spread.loci[0])
    low: float | None = None
    high: float | None = None
    if loci >= MIN_LOCI:
        half = float(spread.half[0]) if np.ptp(apart) else wilson(0, loci)[1]
        low, high = max(-1.0, value - half), min(1.0, value + half)
    return {
        "windows": len(rows),
        "loci": loci,
        "first": float(first.mean()),
        "second": float(second.mean()),
        "only_first": int((apart > 0).sum()),
        "only_second": int((apart < 0).sum()),
        "difference": value,
        "low": low,
        "high": high,
    }


def compare(*files: Path) -> dict[str, Any]:
    """The JSON document's content, of pairs of files.

    Raises:
        InputError: as `read_predictions` and `paired`, an odd number of files, or a window that two
            pairs have.
    """
    if len(files) % 2:
        raise InputError(f"expected two files of the same windows and so on, got {len(files)}")
    read = [read_predictions(path) for path in files]
    first, second = read[::2], read[1::2]
    rows = pd.concat(map(paired, first, second), ignore_index=True)
    again = rows[rows.duplicated(WINDOW)]
    if len(again):
        raise InputError(
            f"two pairs have {_text(tuple(again.iloc[0][WINDOW]))}",
            fix="Give each fold's files once",
        )
    by_length = {str(length): difference(of_one) for length, of_one in rows.groupby("length")}
    return {"first": _side(first), "second": _side(second), "by_length": by_length}


def _side(predictions: Sequence[Predictions]) -> dict[str, str]:
    digests = [hashlib.sha256(one.path.read_bytes()).hexdigest() for one in predictions]
    return {
        "classifier": ", ".join(dict.fromkeys(one.classifier for one in predictions)),
        "file": ", ".join(one.path.name for one in predictions),
        "sha256": ", ".join(digests),
    }


def text_table(found: dict[str, Any]) -> str:
    """Tab-separated, a line a length."""
    one, other = (found[name]["classifier"] for name in ("first", "second"))
    lines = [f"length\twindows\tloci\t{one}\t{other}\tdifference\t95 % interval"]
    for length, row in found["by_length"].items():
        interval = "" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
        figures = f"{row['first']:.4f}\t{row['second']:.4f}\t{row['difference']:+.4f}\t{interval}"
        lines.append(f"{length}\t{row['windows']}\t{row['loci']}\t{figures}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="PARQUET", help="first, second, ...")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")
    args = parser.parse_args()
    try:
        found = compare(*args.files)
        with atomic_file(args.output) as path:
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except InputError as error:
        print(f"compare: error: {error}", file=sys.stderr)
        return 2
    print(text_table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
