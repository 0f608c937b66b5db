"""docs/real-data/compare.py: join, refusals, and intervals that cover a known difference."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genomamba.inference.evaluate_predictions import (
    METADATA_KEY,
    prediction_schema,
    write_predictions,
)
from genomamba_data_prep.intervals import wilson
from genomamba_data_prep.locus_bootstrap import mean_spread

FOLDER = Path(__file__).parents[2] / "docs" / "real-data"
CLASSES = ("ape", "bear")
LOCI = 8  # a species

Row = dict[str, Any]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """It is a script, not a part of a package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import compare

    return compare


def windows(each: int = 10, length: int = 1000) -> list[Row]:
    """Of two species with loci of their own, ``each`` in a locus; all predictions right."""
    rows = []
    for label, species in enumerate(CLASSES):
        for i in range(LOCI * each):
            record = f"{species}{i // each}"
            place = {"record": record, "start": i % each * length, "locus": f"{record}:0"}
            own = {"length": length, "species": species, "strand": "+", "label": label}
            rows.append(own | place | {"prediction": species, "strand_disagreement": None})
            rows[-1] |= {f"log_prob_{name}": -0.5 for name in CLASSES}
    return rows


def wrong(row: Row) -> Row:
    return row | {"prediction": CLASSES[1 - row["label"]]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, rows: list[Row], classes: tuple[str, ...] = CLASSES) -> Path:
        path = tmp_path / f"{name}.parquet"
        table = pa.Table.from_pylist(rows, schema=prediction_schema(classes))
        write_predictions(path, [table], f"the {name}", classes, {})
        return path

    return write


def test_windows_are_joined_whatever_their_order(compare, write, tmp_path: Path) -> None:
    rows = windows() + windows(length=4000)
    first = [wrong(row) if i % 7 == 0 else row for i, row in enumerate(rows)]
    second = [wrong(row) if i % 5 == 0 else row for i, row in enumerate(rows)]
    one, other = write("first", first), write("second", second[::-1])
    found = compare.compare(one, other)
    assert list(found["by_length"]) == ["1000", "4000"]
    for place, row in enumerate(found["by_length"].values()):
        at = np.arange(160) + 160 * place
        assert row["first"] == pytest.approx(np.mean(at % 7 != 0))
        assert row["second"] == pytest.approx(np.mean(at % 5 != 0))
        assert row["difference"] == pytest.approx(row["first"] - row["second"])
        assert row["only_first"] == np.sum((at % 5 == 0) & (at % 7 != 0))
        assert row["only_second"] == np.sum((at % 7 == 0) & (at % 5 != 0))
        assert (row["windows"], row["loci"]) == (160, 2 * LOCI)
        assert row["low"] < row["difference"] < row["high"]
    turned = compare.compare(other, one)["by_length"]["1000"]
    row = found["by_length"]["1000"]
    assert (turned["low"], turned["high"]) == pytest.approx((-row["high"], -row["low"]))
    script = [sys.executable, str(FOLDER / "compare.py"), str(one), str(other)]
    script += ["--output", str(tmp_path / "c.json")]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert json.loads((tmp_path / "c.json").read_text()) == found
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][3:5] == ["the first", "the second"]
    assert [line[0] for line in lines[1:]] == ["1000", "4000"]
    assert lines[1][5] == f"{row['difference']:+.4f}"


def test_folds_count_together(compare, write, tmp_path: Path) -> None:
    rows = windows()
    first = [wrong(row) if i % 7 == 0 else row for i, row in enumerate(rows)]
    whole = compare.compare(write("a", first), write("b", rows))["by_length"]
    folds = [half for part in (slice(0, 70), slice(70, None)) for half in (first[part], rows[part])]
    files = [write(f"half{i}", half) for i, half in enumerate(folds)]
    assert compare.compare(*files)["by_length"] == whole
    script = [sys.executable, str(FOLDER / "compare.py"), "--output", str(tmp_path / "c.json")]
    for given, word in ((files[:3], "got 3"), (files[:2] * 2, "two pairs have the 1,000 bases of")):
        done = subprocess.run([*script, *given], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert word in done.stderr


def test_the_interval_covers_a_known_difference(compare) -> None:
    """Loci are hard or easy for both; what both have in common does not widen the interval."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(windows())
    locus = np.repeat(np.arange(2 * LOCI), 10)
    covered, widths = 0, []
    for _ in range(150):
        p = rng.uniform(0.2, 0.8, 2 * LOCI)[locus]
        u = rng.random(len(rows))  # one draw for both: they err on the same windows
        own = rows.assign(first=u < p + 0.1, second=u < p)
        found = compare.difference(own)
        covered += found["low"] <= 0.1 <= found["high"]
        label, names = own["label"].to_numpy(), own["locus"].to_numpy(dtype=str)
        alone = mean_spread(own["first"].to_numpy(dtype=float), label, names)
        widths.append(alone.half[0] / (found["high"] - found["low"]) * 2)
    assert 134 <= covered <= 149
    assert np.mean(widths) > 1.5


def test_nothing_that_varies_is_not_certainty(compare, write) -> None:
    one, other = write("one", windows()), write("other", windows())
    row = compare.compare(one, other)["by_length"]["1000"]
    bound = wilson(0, 2 * LOCI)[1]
    assert (row["difference"], row["low"], row["high"]) == (0, -bound, bound)
    never = write("never", [wrong(row) for row in windows()])
    row = compare.compare(one, never)["by_length"]["1000"]
    assert (row["difference"], row["low"], row["high"]) == (1, 1 - bound, 1)
    few = [row for row in windows() if row["record"] in ("ape0", "ape1", "bear0", "bear1")]
    row = compare.compare(write("few", few), write("too", few))["by_length"]["1000"]
    assert (row["low"], row["high"]) == (None, None)


def test_what_is_refused(write, tmp_path: Path) -> None:
    rows, output = windows(), tmp_path / "c.json"
    one = write("one", rows)

    def no(other: Path, *words: str) -> None:
        script = [sys.executable, str(FOLDER / "compare.py"), str(one), str(other)]
        done = subprocess.run(
            [*script, "--output", str(output)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
        for word in words:
            assert word in done.stderr
        assert not output.exists()

    no(write("a", rows[1:]), "1 are missing", "1,000 bases of ape ape0 from 0 (+)")
    no(write("b", rows + windows(length=4000)), "160 are in this file only")
    no(write("c", [rows[0] | {"strand": "-"}, *rows[1:]]), "1 are missing and 1 are in this file")
    no(write("d", [*rows, rows[5]]), "bases of ape ape0 from 5000 (+) twice")
    no(write("e", [rows[0] | {"locus": "ape0:7"}, *rows[1:]]), "is ape0:7", "same --locus")
    swapped = [row | {"label": 1 - row["label"]} for row in rows]
    no(write("f", swapped, CLASSES[::-1]), "its classes are bear, ape")
    no(tmp_path / "absent.parquet", "no such file")
    no(FOLDER / "compare.py", "not a Parquet file")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "g.parquet")
    no(tmp_path / "g.parquet", "not a file of predictions")
    damaged = pa.table({"a": [1]}).replace_schema_metadata({METADATA_KEY: b"{"})
    pq.write_table(damaged, tmp_path / "h.parquet")
    no(tmp_path / "h.parquet", "metadata are damaged")
