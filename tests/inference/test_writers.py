from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from genomamba.inference import writers
from genomamba.inference.writers import table_writer

SCHEMA = pa.schema([("name", pa.string()), ("n", pa.int64()), ("p", pa.float64())])
ROWS = [{"name": "a", "n": 1, "p": 0.25}, {"name": 'tab\t"quoted"', "n": 2}, {"n": 3, "p": 1e-9}]


def _read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, sep="\t")


@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
def test_round_trip(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "ROW_GROUP", 2)
    path = tmp_path / f"table.{suffix}"
    with table_writer(path, SCHEMA) as writer:
        for row in ROWS:
            writer.write(row)
        assert not path.exists()
    pd.testing.assert_frame_equal(_read(path), pd.DataFrame(ROWS), check_dtype=False)


@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
def test_no_rows_is_a_table_with_its_columns(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table.{suffix}"
    with table_writer(path, SCHEMA):
        pass
    assert list(_read(path).columns) == SCHEMA.names


@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
def test_an_error_leaves_the_old_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table.{suffix}"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), table_writer(path, SCHEMA) as writer:
        writer.write(ROWS[0])
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
