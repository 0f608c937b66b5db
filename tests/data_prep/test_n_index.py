"""The runs of N: the same counts as reading the bases, however the codes were cut into pieces."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.n_index import FILE_TYPE, NIndex, NIndexWriter
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.store import Store
from genomamba_data_prep.window_reader import WindowReader

LETTERS = "ACGTNNNacgtnR"


def runs_of(pieces: list[np.ndarray]) -> np.ndarray:
    file = io.BytesIO()
    writer = NIndexWriter(file)
    for piece in pieces:
        writer.add(piece, int((piece & 4 != 0).sum()))
    writer.close()
    rows = np.frombuffer(file.getvalue(), FILE_TYPE).reshape(-1, 2)
    assert writer.runs == len(rows)
    return rows


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0, 3, 4, 9, 12]), max_size=9), max_size=8), st.data())
def test_counts_are_those_of_the_codes(pieces: list[list[int]], data: st.DataObject) -> None:
    arrays = [np.array(piece, dtype=np.uint8) for piece in pieces]
    is_n = np.concatenate([np.zeros(0, np.uint8), *arrays]) & 4 != 0
    rows = runs_of(arrays)
    assert (np.diff(rows.ravel()) > 0).all()  # in order, and none touches the next
    runs = NIndex(rows)
    assert runs.total == is_n.sum()
    ends = st.integers(0, len(is_n))
    places = np.array(data.draw(st.lists(st.tuples(ends, ends), min_size=1)))
    start, end = places.min(1), places.max(1)
    expected = [is_n[a:b].sum() for a, b in zip(start, end, strict=True)]
    assert runs.count(start, end).tolist() == expected


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Runs over lines, pieces of 2^17 bytes and the border of two records."""
    rng = np.random.default_rng(0)
    text = ["".join(rng.choice(list(LETTERS), 3000)) + "N" * 500, "N" * 300_000 + "acgtN"]
    fasta = tmp_path / "x.fa"
    fasta.write_text("".join(f">r{i}\n{letters}\n" for i, letters in enumerate(text)))
    return encode_fasta([fasta], tmp_path / "store")


def downgrade(folder: Path) -> Store:
    """The same store as format version 1 had it."""
    (folder / "n_runs.bin").unlink()
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | {"version": 1}
    del manifest["n_runs"], manifest["sha256"]
    path.write_text(json.dumps(manifest))
    return Store.open(folder)


def test_version_1_is_read_and_counted_base_by_base(store: Store) -> None:
    rng = np.random.default_rng(1)
    record = rng.integers(0, 2, 200)
    start = rng.integers(0, 3500 - 64, 200)
    counts = []
    for change in (Store.open, downgrade):
        opened = change(store.path)
        reader = WindowReader(SpeciesSet.of(opened), [("store", "r0"), ("store", "r1")])
        counts.append(reader.count_n(record, start, 64).tolist())
        assert opened.digest == store.digest
    expected = [
        int((store.codes(f"r{r}", s, s + 64) & 4 != 0).sum())
        for r, s in zip(record.tolist(), start.tolist(), strict=True)
    ]
    assert counts == [expected, expected]
    assert Store.open(store.path).n_index is None


def test_a_genome_without_n(tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text(">a\nACGT\n")
    store = encode_fasta([tmp_path / "x.fa"], tmp_path / "store")
    assert (store.path / "n_runs.bin").stat().st_size == 0
    assert store.n_index is not None
    assert store.n_index.count(np.array([0]), np.array([4])).tolist() == [0]


@pytest.mark.parametrize("edit", ["longer", "disorder", "negative", "cut"])
def test_edited_runs_are_refused(store: Store, edit: str) -> None:
    path = store.path / "n_runs.bin"
    rows = np.fromfile(path, FILE_TYPE).reshape(-1, 2)
    if edit == "longer":
        rows[3, 1] += 1
    elif edit == "disorder":
        rows[[3, 4]] = rows[[4, 3]]
    elif edit == "negative":
        rows[0] = -2, -1
    else:
        rows = rows[:-1]
    rows.tofile(path)
    with pytest.raises(InputError, match=r"Rebuild it|was edited"):
        _ = Store.open(store.path).n_index
