"""Names in common for the apes' chromosomes."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from genomamba_data_prep.ape_chromosomes import HOMOLOGUES, common_names
from genomamba_data_prep.cli import main as prepare
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.naming import chromosome
from genomamba_data_prep.species_set import SpeciesSet

TAIL = "NHGRI_mPanTro3-v2.0_pri, whole genome shotgun sequence"


def test_each_order_is_a_permutation_of_humans() -> None:
    human = {*map(str, range(1, 23)), "2A", "2B"} - {"2"}
    for species, order in HOMOLOGUES.items():
        fused = {"17x5": "5", "5x17": "17"} if species == "gorilla" else {}
        assert {fused.get(number, number) for number in order} == human
        assert len(order) == 23


@pytest.mark.parametrize(
    ("species", "pairs"),
    [
        # Sequence names of the assemblies at genomeark.org.
        ("chimpanzee", "2:3 3:4 5:6 7:8 11:9 13:2B 20:19 21:20"),
        ("bonobo", "1:1 4:5 8:10 9:11 10:12 11:9 12:2A 13:2B 15:14 17:18 18:16 23:22"),
        ("gorilla", "4:17x5 5:6 11:2B 12:2A 13:9 17:18 18:16 19:5x17 20:19 22:21 23:22"),
        ("orangutan", "2:3 8:10 9:11 10:12 11:2B 12:2A 13:9 14:13 17:18 18:16 19:17 23:22"),
    ],
)
def test_orders(species: str, pairs: str) -> None:
    headers = [(f"NC_{n}.2", f"Pan chromosome {n}, {TAIL}") for n in [*range(1, 24), "X", "Y"]]
    names = common_names(headers, species)
    for own, human in (pair.split(":") for pair in pairs.split()):
        assert names[f"NC_{own}.2"] == f"chr{human}"
    assert (names["NC_X.2"], names["NC_Y.2"]) == ("chrX", "chrY")
    with pytest.raises(InputError, match="Say whose they are: --species chimpanzee or bonobo"):
        common_names(headers)


def test_a_part_of_an_apes_assembly_does_not_tell_the_order() -> None:
    headers = [(f"NC_{n}.2", f"Pan chromosome {n}, {TAIL}") for n in (1, 2, 3)]
    with pytest.raises(InputError, match=r"chimpanzee .* cannot be told.* whole assembly"):
        common_names(headers, "chimpanzee")
    assert common_names(headers, "human")["NC_3.2"] == "chr3"
    older = [*headers[:1], ("NC_2A.2", f"Pan chromosome 2A, {TAIL}"), *headers[2:]]
    assert common_names(older, "chimpanzee")["NC_3.2"] == "chr3"


def test_headers_of_other_kinds() -> None:
    names = common_names(
        [
            ("chr2_pat_hsa3", ""),
            ("chr12_hap1_hsa2a", ""),
            ("chr4_pat_hsa17x5", ""),
            ("chrX_hap1_hsaX", ""),
            ("chr18_hap1_hsa16_random_utig4-1074", ""),
            ("NC_1", "Homo sapiens chromosome 1, GRCh38.p14 Primary Assembly"),
            ("NT_1", "Homo sapiens chromosome 5 unlocalized genomic scaffold, GRCh38.p14"),
            ("NW_1", "Homo sapiens chromosome 6 genomic patch of type FIX, GRCh38.p14"),
            ("CM_1", "Pan troglodytes chromosome 2B"),
            ("NC_012920.1", "Homo sapiens mitochondrion, complete genome"),
            ("un", "unplaced"),
        ]
    )
    assert names == {
        "chr2_pat_hsa3": "chr3",
        "chr12_hap1_hsa2a": "chr2A",
        "chr4_pat_hsa17x5": "chr17x5",
        "chrX_hap1_hsaX": "chrX",
        "NC_1": "chr1",
        "CM_1": "chr2B",
        "NC_012920.1": "chrM",
    }
    with pytest.raises(InputError, match="chr2_mat_hsa3 and chr2_pat_hsa3 are both chr3"):
        common_names([("chr2_mat_hsa3", ""), ("chr2_pat_hsa3", "")])
    # Numbered like human, 23 or not.
    headers = [(f"n{n}", f"chromosome {n}, x") for n in ("2A", "2B", "3", "23")]
    assert common_names(headers)["n3"] == "chr3"


def test_fused_chromosomes_are_on_no_side() -> None:
    assert chromosome("chr17x5") is None
    assert [chromosome(n) for n in ("chr2A", "2b", "chrX", "Y", "22", "MT", "chr3A")] == [
        *("2", "2", "X", "Y", "22", None, None)
    ]


@pytest.mark.parametrize("block", [16, 31, 1 << 17])
def test_the_command(
    tmp_path: Path,
    write_species_set: Callable[..., Path],
    block: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from genomamba_data_prep import compression

    monkeypatch.setattr(compression, "BLOCK_BYTES", block)
    path = write_species_set({"chimp": {"NC_2": "AC", "NW_9": "GT", "NC_M": "A"}})
    fasta = tmp_path / "chimp.fna.gz"
    text = b">NC_2 Pan chromosome 2B, v1\nAC\nGT\n>NW_9 scaffold > 5\nAC>\n>NC_M mitochondrion"
    fasta.write_bytes(gzip.compress(text))
    command = ["names", str(fasta), "--output", str(tmp_path / "names.tsv")]
    assert prepare(["prepare", *command][1:]) == 0
    assert (tmp_path / "names.tsv").read_text() == "record\tname\nNC_2\tchr2B\nNC_M\tchrM\n"
    assert "2 of 3 records" in capsys.readouterr().err
    path.write_text("species\tstore\trecord_names\nchimp\tchimp\tnames.tsv\n")
    assert dict(SpeciesSet.read(path).records("chimp")) == {
        "chr2B": "NC_2",
        "NW_9": "NW_9",
        "chrM": "NC_M",
    }
    fasta.write_bytes(b">a b\nAC\n")
    with pytest.raises(InputError, match="no header names a chromosome"):
        prepare(command)
