"""Species sets: class order, common names, and every refusal with its place."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.species_set import SpeciesSet

WriteSet = Callable[..., Path]
GENOMES = {"human": {"chr1": "ACGT" * 5, "chr2": "AC"}, "chimp": {"1": "ACGT" * 4, "2A": "GG"}}


@pytest.fixture
def path(write_species_set: WriteSet) -> Path:
    return write_species_set(GENOMES)


def with_names(path: Path, names: str) -> Path:
    """The set whose chimp records are renamed."""
    (path.parent / "names.tsv").write_text("record\tname\n" + names)
    path.write_text("species\tstore\trecord_names\nhuman\thuman\t\nchimp\tchimp\tnames.tsv\n")
    return path


def test_row_order_is_class_order(path: Path) -> None:
    species_set = SpeciesSet.read(path)
    assert species_set.classes == ("human", "chimp")
    assert dict(species_set.records("chimp")) == {"1": "1", "2A": "2A"}
    assert species_set.length("human", "chr1") == 20


def test_records_get_the_sets_names(path: Path) -> None:
    species_set = SpeciesSet.read(with_names(path, "1\tchr1\n"))
    assert dict(species_set.records("chimp")) == {"chr1": "1", "2A": "2A"}
    assert species_set.length("chimp", "chr1") == 16


def test_the_digest_is_of_the_data_not_of_the_place(path: Path, tmp_path: Path) -> None:
    digest = SpeciesSet.read(path).digest
    moved = tmp_path / "elsewhere.tsv"
    moved.write_text("store\tspecies\n./human\thuman\n./chimp\tchimp\n")
    assert SpeciesSet.read(moved).digest == digest
    moved.write_text("species\tstore\nchimp\tchimp\nhuman\thuman\n")
    assert SpeciesSet.read(moved).digest != digest
    assert SpeciesSet.read(with_names(path, "1\tchr1\n")).digest != digest


def test_a_store_is_a_set_of_one(path: Path) -> None:
    one = SpeciesSet.open(path.parent / "human")
    assert one.classes == ("human",)
    assert dict(one.records("human")) == {"chr1": "chr1", "chr2": "chr2"}


def test_pickling_keeps_everything(path: Path) -> None:
    species_set = SpeciesSet.read(path)
    copy = pickle.loads(pickle.dumps(species_set))  # noqa: S301
    assert (copy.classes, copy.digest) == (species_set.classes, species_set.digest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected a header .* got nothing"),
        ("species\tpath\nhuman\thuman\n", "line 1: expected a header .* species store"),
        ("species\tstore\n", "no rows"),
        ("species\tstore\nhuman\n", "line 2: expected 2 tab-separated fields, got 1"),
        ("species\tstore\nhuman\t\n", "line 2: the column store is empty"),
        ("species\tstore\nhuman\thuman\n\nhuman\tchimp\n", "line 4: the species 'human' .* twice"),
        ("species\tstore\nhuman\tnowhere\n", "nowhere: not a store"),
        ("species\tstore\nhuman\tnowhere\n", "tsv, line 2: .*relative to the set's folder"),
    ],
)
def test_refusals(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        SpeciesSet.read(path)


def test_not_text(path: Path) -> None:
    path.write_bytes(b"species\tstore\n\xff\xfe\n")
    with pytest.raises(InputError, match="UTF-8"):
        SpeciesSet.read(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("2B\tchr2\n", r"names.tsv, line 2: .* no record '2B'\. Did you mean 2A"),
        ("1\tchr1\n1\tchr2\n", "names.tsv, line 3: the record '1' is named twice"),
        ("1\tchr\n2A\tchr\n", "species.tsv, line 3: the records '1' and '2A' .* common name 'chr'"),
        ("1\t2A\n", "same common name '2A'"),
    ],
)
def test_refused_names(path: Path, names: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SpeciesSet.read(with_names(path, names))
