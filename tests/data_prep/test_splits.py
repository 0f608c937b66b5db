"""Splits: three ways to make them, one file, and every refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from genomamba_data_prep import split_rules, splits
from genomamba_data_prep.cli import main as prepare
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval, Splits

HEADER = "species\trecord\tstart\tend\tsplit\n"


@pytest.fixture
def path(write_species_set: Callable[..., Path]) -> Path:
    lengths = {"chr1": 100, "chr2": 80, "chr3": 60, "chr4": 40, "chr5": 20}
    human = {name: "A" * length for name, length in lengths.items()}
    chimp = {name: "C" * (length + 10) for name, length in lengths.items() if name != "chr5"}
    return write_species_set({"human": human, "chimp": chimp})


@pytest.fixture
def species_set(path: Path) -> SpeciesSet:
    return SpeciesSet.read(path)


def split(path: Path, *options: str) -> str:
    """What `genomamba prepare split` writes."""
    output = path.parent / "splits.tsv"
    assert prepare(["split", str(path), "--output", str(output), *options]) == 0
    return output.read_text()


def test_by_name(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = split(path, "--train", "chr2,chr1", "--test", "chr5")
    assert text == HEADER + (
        "human\tchr1\t0\t100\ttrain\nhuman\tchr2\t0\t80\ttrain\nhuman\tchr5\t0\t20\ttest\n"
        "chimp\tchr1\t0\t110\ttrain\nchimp\tchr2\t0\t90\ttrain\n"
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "left out: 2 of 5 record(s) of human" in captured.err
    assert "left out: 2 of 4 record(s) of chimp" in captured.err
    assert "train human: 180 bases in 2 interval(s) of 2 record(s)" in captured.err


def test_what_is_written_reads_back(path: Path, species_set: SpeciesSet) -> None:
    text = split(path, "--fractions", "0.6,0.2,0.2", "--seed", "3")
    again = splits.read(path.parent / "splits.tsv", species_set)
    assert again.text() == text
    assert {i.split for i in again.intervals()} == {"train", "valid", "test"}


@pytest.mark.parametrize("seed", range(5))
def test_fractions_give_every_split_whole_records(species_set: SpeciesSet, seed: int) -> None:
    intervals = split_rules.by_fractions(species_set, (0.5, 0.25, 0.25), seed)
    result = Splits(species_set, intervals)  # checks the sides
    assert len(result.intervals()) == 9
    assert all(i.start == 0 for i in intervals)
    assert {i.split for i in intervals} == {"train", "valid", "test"}
    assert intervals == split_rules.by_fractions(species_set, (0.5, 0.25, 0.25), seed)


def test_seeds_differ(species_set: SpeciesSet) -> None:
    made = {
        Splits(species_set, split_rules.by_fractions(species_set, (0.5, 0.25, 0.25), seed)).digest
        for seed in range(10)
    }
    assert len(made) > 3


def test_a_fraction_of_zero_gives_nothing(species_set: SpeciesSet) -> None:
    intervals = split_rules.by_fractions(species_set, (0.8, 0.0, 0.2), 0)
    assert {i.split for i in intervals} == {"train", "test"}


def test_pieces_of_every_record_cover_it(species_set: SpeciesSet) -> None:
    intervals = split_rules.by_fractions(species_set, (0.5, 0.25, 0.25), 0, within_records=True)
    result = Splits(species_set, intervals)
    assert [i[2:] for i in result.intervals() if i[:2] == ("human", "chr1")] == [
        (0, 50, "train"),
        (50, 75, "valid"),
        (75, 100, "test"),
    ]
    assert sum(i.end - i.start for i in intervals) == 300 + 320


def test_bed_joins_overlaps_and_keeps_neighbours(path: Path) -> None:
    bed = path.parent / "own.bed"
    bed.write_text(
        "track name=x\n#comment\nchr1\t0\t20\ttrain\nchr1\t10\t30\ttrain\tmore\n"
        "chr1\t30\t40\ttrain\nchr1\t50\t60\ttest\n"
    )
    text = split(path, "--bed", f"human={bed}")
    assert text == HEADER + (
        "human\tchr1\t0\t30\ttrain\nhuman\tchr1\t30\t40\ttrain\nhuman\tchr1\t50\t60\ttest\n"
    )
    assert split(path, "--bed", str(bed), "--force").count("chimp\tchr1") == 3


def test_the_same_command_twice_writes_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split(path, "--train", "chr1")
    split(path, "--train", "chr1")
    assert "already up to date" in capsys.readouterr().err
    with pytest.raises(InputError, match="exists, and this command would write something else"):
        split(path, "--train", "chr2")
    assert "chr2" in split(path, "--train", "chr2", "--force")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected one of"),
        (("--train", "chr1", "--fractions", "1,0,0"), "expected one of"),
        (("--train", "chr1", "--valid", "Chr2"), r"'Chr2', which is in no species.*Did you mean"),
        (("--train", "chr1", "--valid", "chr1"), "'chr1' is in train and in valid"),
        (("--fractions", "a,b,c"), "expected --fractions like"),
        (("--fractions", "0.5,0.2,0.2"), "sum 1"),
        (("--fractions", "1.2,-0.2,0"), "sum 1"),
        (("--fractions", "1,0,0", "--seed", "-1"), "seed"),
        (("--train", "1", "--valid", "chr2"), r"'1', which is in no .*Did you mean chr1\?$"),
        (("--train", "chr1", "--within-records"), "--within-records is for --fractions"),
        (("--bed", "gorilla=x.bed"), "species 'gorilla'"),
        (("--bed", "human=nosuch.bed"), "nosuch.bed: cannot be read: No such file"),
    ],
)
def test_refused_options(path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(path, *options)
    assert not (path.parent / "splits.tsv").exists()


def test_one_genome_under_two_names_is_noted(
    write_species_set: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    genome = {"chr1": "ACGT", "chr2": "CCGT"}
    split(write_species_set({"human": genome, "chimp": genome}), "--train", "chr1")
    assert "note: human and chimp are the same sequences" in capsys.readouterr().err


def test_names_of_one_species_only_are_noted(
    write_species_set: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    genomes = {"human": {"chr1": "ACGT", "a": "ACG"}, "chimp": {"chr1": "ACGA", "b": "ACG"}}
    path = write_species_set(genomes)
    split(path, "--train", "chr1")
    assert "note:" not in capsys.readouterr().err
    split(path, "--train", "chr1,a,b", "--force")
    assert "note: 2 of 3 record names are of one species only" in capsys.readouterr().err


def test_too_few_records(write_species_set: Callable[..., Path]) -> None:
    species_set = SpeciesSet.read(write_species_set({"human": {"MT": "ACGT"}}))
    with pytest.raises(InputError, match=r"too few for 2 splits.*--within-records"):
        split_rules.by_fractions(species_set, (0.5, 0.5, 0), 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr1\t0\t10", "columns record, start, end, split"),
        ("chr1\t-1\t10\ttrain", "start '-1' is not a whole number"),
        ("chr1\t5\t5\ttrain", "start < end <= 100"),
        ("chr1\t0\t101\ttrain", "end 101"),
        ("chr1\t0\t10\tdev", "expected train, valid or test, got 'dev'"),
        ("1\t0\t10\ttrain", "no species of .* has a record '1'"),
    ],
)
def test_refused_bed(path: Path, line: str, message: str) -> None:
    bed = path.parent / "bad.bed"
    bed.write_text(f"chr2\t0\t10\ttrain\n{line}\n")
    with pytest.raises(InputError, match=f"bad.bed, line 2: .*{message}"):
        split(path, "--bed", str(bed))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("gorilla\tchr1\t0\t9\ttrain\n", "line 2: .* no species 'gorilla'"),
        ("human\tchr9\t0\t9\ttrain\n", "line 2: the species human has no record 'chr9'"),
        ("chimp\tchr5\t0\t9\ttrain\n", "line 2: the species chimp has no record 'chr5'"),
        (
            "human\tchr1\t0\t50\ttrain\nhuman\tchr1\t49\t60\ttest\n",
            r"0-50 \(train\) and 49-60 \(test\) overlap",
        ),
        (
            "human\tchr1\t0\t50\ttrain\nchimp\tchr1\t0\t50\ttest\n",
            "chr1 is in train in human, but in test in chimp",
        ),
        (
            "human\tchr1\t0\t9\ttrain\nhuman\tchr1\t9\t19\tvalid\nchimp\tchr1\t0\t9\ttrain\n",
            "in train and valid in human, but in train in chimp",
        ),
    ],
)
def test_refused_files(path: Path, species_set: SpeciesSet, rows: str, message: str) -> None:
    file = path.parent / "splits.tsv"
    file.write_text(HEADER + rows)
    with pytest.raises(InputError, match=f"splits.tsv.*{message}"):
        splits.read(file, species_set)


def test_a_record_may_be_on_several_sides_if_it_is_in_all_species(species_set: SpeciesSet) -> None:
    rows = [
        Interval(species, "chr1", start, start + 10, side)
        for species in ("human", "chimp")
        for start, side in ((0, "train"), (20, "test"))
    ]
    assert len(Splits(species_set, rows).intervals("test")) == 2
