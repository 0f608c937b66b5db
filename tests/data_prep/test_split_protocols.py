"""Interval files, chromosome splits and published protocols, by the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomamba_data_prep import splits
from genomamba_data_prep.cli import main as prepare
from genomamba_data_prep.codes import encode
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.stretches import without_n

HEADER = "species\trecord\tstart\tend\tsplit\n"
Write = Callable[..., Path]


def split(path: Path, *options: str) -> list[tuple[str, str, int, int, str]]:
    """The rows that `genomamba prepare split` writes, read back."""
    output = path.parent / "splits.tsv"
    assert prepare(["split", str(path), "--output", str(output), "--force", *options]) == 0
    species_set = SpeciesSet.open(path)
    return [tuple(row) for row in splits.read(output, species_set).rows()]  # type: ignore[misc]


@pytest.fixture
def human(write_species_set: Write) -> Path:
    return write_species_set({"human": {"1": "A" * 100, "2": "C" * 50, "MT": "G" * 9}})


def bed(path: Path, *lines: str) -> str:
    file = path.parent / "sequences_human.bed"
    file.write_text("".join(line.replace(" ", "\t") + "\n" for line in lines))
    return str(file)


def test_intervals_stay_as_they_are(human: Path) -> None:
    file = bed(
        human, "2 10 20 valid", "1 5 25 train", "1 0 20 train", "1 0 20 train", "1 25 45 test"
    )
    rows = split(human, "--intervals", file)
    assert rows == [
        ("human", "1", 0, 20, "train"),
        ("human", "1", 0, 20, "train"),
        ("human", "1", 5, 25, "train"),
        ("human", "1", 25, 45, "test"),
        ("human", "2", 10, 20, "valid"),
    ]
    species_set = SpeciesSet.open(human)
    read = splits.read(human.parent / "splits.tsv", species_set)
    assert [i[2:4] for i in read.intervals("train")] == [(0, 25)]  # joined for the endless stream
    assert split(human, "--bed", file)[0] == ("human", "1", 0, 25, "train")


def test_intervals_are_of_one_genome(write_species_set: Write) -> None:
    path = write_species_set({"human": {"1": "A" * 50}, "chimp": {"1": "C" * 50}})
    file = bed(path, "1 0 20 train")
    with pytest.raises(InputError, match=r"coordinates of one genome.*--intervals SPECIES="):
        split(path, "--intervals", file)
    assert split(path, "--intervals", f"chimp={file}") == [("chimp", "1", 0, 20, "train")]


def test_chr1_is_1_if_asked(human: Path) -> None:
    file = bed(human, "chr1 0 20 train", "chrM 0 9 train", "2 0 10 test")
    with pytest.raises(InputError, match=r"line 1: .*'chr1'.* calls chr1 is 1 in .*--rename"):
        split(human, "--intervals", file)
    rows = split(human, "--intervals", f"human={file}", "--rename")
    assert [row[1:] for row in rows] == [
        ("1", 0, 20, "train"),
        ("2", 0, 10, "test"),
        ("MT", 0, 9, "train"),
    ]
    output = human.parent / "splits.tsv"
    output.write_text(output.read_text().replace("\t1\t", "\tchr1\t"))
    with pytest.raises(InputError, match=r"splits.tsv, line 2: .*calls chr1 is 1 in .*--rename"):
        splits.read(output, SpeciesSet.open(human))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("1 0 20 train", "1 90 101 train"), r"line 2: expected start < end <= 100, the length"),
        (("1 0 20 train", "1 19 30 valid"), r"0-20 \(train\) and 19-30 \(valid\) overlap"),
        # The overlap is not with the row before it.
        (("1 0 50 train", "1 5 9 train", "1 40 60 test"), r"0-50 \(train\) and 40-60 \(test\)"),
        (("1 0 20 fold3",), "expected train, valid or test, got 'fold3'"),
        (("1 0 20",), "columns record, start, end, split"),
        (("# nothing",), "no intervals"),
        (("chr7 0 20 train",), "no species .* has a record 'chr7'"),
    ],
)
def test_refused_intervals(human: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(human, "--intervals", bed(human, *lines))
    assert not (human.parent / "splits.tsv").exists()


def test_chromosomes_without_their_n(write_species_set: Write) -> None:
    genome = {f"chr{name}": "ACGTNNNACGnACGTT" for name in (1, 2, 14, "X", "Un_1", "M")}
    genome["chr2"] = "N" + "A" * 9
    path = write_species_set({"human": genome})
    rows = split(path, "--by-chromosome", "--valid", "chr2")
    pieces = [(0, 4), (7, 10), (11, 16)]
    assert [row[1:] for row in rows] == [
        *(("chr1", *piece, "train") for piece in pieces),
        ("chr2", 1, 10, "valid"),
        *(("chr14", *piece, "test") for piece in pieces),
        *(("chrX", *piece, "test") for piece in pieces),
    ]
    rows = split(path, "--by-chromosome", "--valid", "2", "--test", "1")
    assert {row[1]: row[4] for row in rows} == {
        "chr1": "test",
        "chr2": "valid",
        "chr14": "train",
        "chrX": "train",
    }


GREAT_APES = {
    "human": dict.fromkeys(["chr1", "chr2", "chr3", "chr5", "chr22", "chrX", "chrM"], "A"),
    "chimp": dict.fromkeys(["1", "2A", "2B", "3", "5", "22", "Y", "un"], "A"),
    "gorilla": dict.fromkeys(["chr1", "chr2a", "chr2b", "chr3", "chr17x5", "chr12", "chrX"], "A"),
}
REST = ["chr7", "chr9", "chr10", "chr11", "chr13", "chr12"]


def test_hyenadnas_protocol(write_species_set: Write) -> None:
    human = GREAT_APES["human"] | dict.fromkeys(REST, "A")
    path = write_species_set(GREAT_APES | {"human": human})
    sides = {(row[0], row[1]): row[4] for row in split(path, "--protocol", "hyenadna")}
    assert {k: v for k, v in sides.items() if v == "train"} == {
        (species, name): "train"
        for species, names in {
            "human": ["chr2", "chr22", "chrX"],
            "chimp": ["2A", "2B", "22", "Y"],
            "gorilla": ["chr2a", "chr2b", "chrX"],
        }.items()
        for name in names
    }
    assert {name for (_, name), side in sides.items() if side == "valid"} == {
        *("chr1", "chr3", "chr12", "chr13", "1", "3")
    }
    assert {name for (_, name), side in sides.items() if side == "test"} == {
        *("chr5", "5", "chr7", "chr9", "chr10", "chr11")
    }
    own = split(path, "--protocol", "hyenadna", "--valid", "2", "--test", "22")
    assert {row[1] for row in own if row[4] == "valid"} == {"chr2", "2A", "2B", "chr2a", "chr2b"}
    assert {row[1] for row in own if row[4] == "test"} == {"chr22", "22"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--by-chromosome",), "needs the validation chromosomes: --valid"),
        (("--by-chromosome", "--valid", "chr3"), "no chromosome '14', which is to be test"),
        (("--by-chromosome", "--valid", "chrM"), "no chromosome 'chrM', .*--valid NAME"),
        (("--protocol", "hyenadna", "--train", "1"), "--train: .* the other chromosomes train"),
        (("--protocol", "hyenadna", "--by-chromosome"), "expected one of"),
        (("--protocol", "hyenadna", "--valid", "1", "--test", "chr1"), "1 is in valid and in test"),
        (("--fractions", "1,0,0", "--rename"), "--rename is for"),
        (("--train", "chr1", "--by-chromosome", "--valid", "3"), "--train: "),
    ],
)
def test_refused_rules(write_species_set: Write, options: tuple[str, ...], message: str) -> None:
    path = write_species_set(GREAT_APES)
    with pytest.raises(InputError, match=message):
        split(path, *options)


def test_the_apes_own_numbers_are_noticed(
    write_species_set: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"chr{n}" for n in range(1, 23)]
    human = dict.fromkeys(names, "A")
    path = write_species_set({"human": human, "chimp": human | {"chr23": "A"}})
    split(path, "--protocol", "hyenadna")
    assert "note: chimp has a chromosome 23" in capsys.readouterr().err
    split(write_species_set({"human": human}), "--protocol", "hyenadna")
    assert "note:" not in capsys.readouterr().err


def test_no_species_has_a_chromosome(write_species_set: Write) -> None:
    with pytest.raises(InputError, match="No record has a chromosome's name"):
        split(write_species_set({"human": {"NC_1.1": "A"}}), "--protocol", "hyenadna")


def test_records_must_be_named_like_chromosomes(write_species_set: Write) -> None:
    names = [f"chr{n}" for n in (1, 3, 12, 13, 5, 7, 9, 10, 11)]
    genomes = {"human": dict.fromkeys(names, "A"), "chimp": {"NC_072398.2": "A"}}
    with pytest.raises(InputError, match=r"no record of chimp .*NC_072398.2.*prepare names"):
        split(write_species_set(genomes), "--protocol", "hyenadna")


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=12), st.integers(1, 12))
def test_stretches_without_n(runs: list[tuple[bool, int]], block: int) -> None:
    from genomamba_data_prep import stretches

    text = "".join(("N" if is_n else "A") * size for is_n, size in runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "BLOCK", block)
        found = without_n(encode(text.encode()), Progress("", 0)) if text else np.empty((0, 2))
    covered = np.zeros(len(text), dtype=bool)
    for start, end in found.tolist():
        assert not covered[max(start - 1, 0) : end].any()  # maximal: they do not touch
        covered[start:end] = True
    assert covered.tolist() == [letter != "N" for letter in text]
