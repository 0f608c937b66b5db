"""The store: views of a memory map, workers, and what opening refuses."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    fasta = tmp_path / "ape 1.fa"
    fasta.write_bytes(b">one\nACGTN\nacgtn\n>two\nTTTT\n>three\nG\n")
    return encode_fasta([fasta], tmp_path / "store", species="Pan", assembly="pan1")


def edit_manifest(store: Store, **values: object) -> None:
    path = store.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_codes_are_views_of_intervals(store: Store) -> None:
    assert list(store.records) == ["one", "two", "three"]
    assert store.codes("one").tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 11, 12]
    assert store.codes("one", 3, 6).tolist() == [3, 4, 8]
    assert store.codes("one", 10).tolist() == []
    assert store.codes("two").tolist() == [3, 3, 3, 3]
    assert store.codes("three", 0, 1).tolist() == [2]
    codes = store.codes("two")
    assert type(codes) is np.ndarray
    assert codes.base is not None
    with pytest.raises(ValueError, match="read-only"):
        codes[0] = 0


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (0, 5), (3, 2), (5, None)])
def test_interval_outside_the_record(store: Store, start: int, end: int | None) -> None:
    with pytest.raises(ValueError, match="<= 4 in record two, got"):
        store.codes("two", start, end)


def test_unknown_record_names_the_nearest(store: Store) -> None:
    with pytest.raises(InputError, match=r"no record 'thre'. Did you mean three\?"):
        store.codes("thre")


def test_pickle_carries_no_codes(store: Store) -> None:
    store.codes("one")
    sent = pickle.dumps(store)
    assert b"codes.bin" not in sent
    received = pickle.loads(sent)  # noqa: S301
    assert (received.digest, received.species, received.assembly) == (store.digest, "Pan", "pan1")
    assert received.records == store.records
    assert received.codes("one").tolist() == store.codes("one").tolist()


def test_other_version_says_both_and_how_to_rebuild(store: Store) -> None:
    edit_manifest(store, version=7)
    with pytest.raises(InputError) as refusal:
        Store.open(store.path)
    message = str(refusal.value)
    assert "format version 7" in message
    assert "reads version 1 and 2" in message
    source = store.manifest.sources[0].path
    command = f"genomamba prepare encode '{source}' --output {store.path} --species Pan"
    assert f"{command} --assembly pan1 --force" in message


def test_other_version_that_names_no_sources(store: Store) -> None:
    edit_manifest(store, version=3, sources=None)
    with pytest.raises(InputError, match=r"genomamba prepare encode FASTA\.\.\. --output"):
        Store.open(store.path)


def test_codes_of_another_size(store: Store) -> None:
    with open(store.path / "codes.bin", "ab") as file:
        file.write(b"\x00")
    with pytest.raises(InputError, match=r"has 16 bytes, the manifest says 15 bytes. Rebuild it"):
        Store.open(store.path)
    (store.path / "codes.bin").unlink()
    with pytest.raises(InputError, match=r"codes\.bin is missing, the manifest says 15"):
        Store.open(store.path)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": "other"}', '{"format": "genomamba-store"}', "\x00\x01"],
)
def test_damaged_manifest(store: Store, content: str) -> None:
    (store.path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match="not the manifest of a genomamba store"):
        Store.open(store.path)


def test_manifest_that_lacks_a_field(store: Store) -> None:
    edit_manifest(store, records=[{"name": "one"}])
    with pytest.raises(InputError, match=r"manifest was edited.*--force"):
        Store.open(store.path)


def test_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Store.open(tmp_path / "none")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: not a store: it has no manifest")):
        Store.open(tmp_path)
    (tmp_path / "x.fa").write_text(">a\nA\n")
    with pytest.raises(InputError, match="not a store"):
        Store.open(tmp_path / "x.fa")
