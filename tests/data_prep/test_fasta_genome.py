"""A FASTA read in place: the windows of its encoded store, bit for bit, and its refusals."""

from __future__ import annotations

import gzip
import os
import pickle
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from Bio.bgzf import BgzfWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.fasta_genome import FastaGenome
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval
from genomamba_data_prep.windows import WindowSampler

records = st.lists(st.text("ACGTUNRYacgtnry", min_size=1, max_size=120), min_size=1, max_size=4)


def fasta(texts: list[str], width: int, end: str, last: bool = True) -> bytes:
    lines = []
    for number, text in enumerate(texts):
        lines.append(f">r{number} a description")
        lines += [text[start : start + width] for start in range(0, len(text), width)]
    return (end.join(lines) + (end if last else "")).encode()


def write_bgzip(path: Path, content: bytes, block: int) -> Path:
    with BgzfWriter(str(path), "wb") as file:
        for start in range(0, len(content), block):
            file.write(content[start : start + block])
            file.flush()  # ends the block
    return path


def assert_same_genome(genome: FastaGenome, folder: Path) -> None:
    store = encode_fasta([genome.path], folder)
    assert genome.digest == store.digest
    assert dict(genome.records) == dict(store.records)
    for name, record in store.records.items():
        whole = store.codes(name)
        assert np.array_equal(genome.codes(name), whole)
        for start in range(0, record.length, 7):
            end = min(start + 1 + start % 40, record.length)
            assert np.array_equal(genome.codes(name, start, end), whole[start:end])
            assert np.array_equal(genome.view(name)[start:end], whole[start:end])
    assert genome.codes(name, 1, 1).shape == (0,)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records, st.integers(1, 70), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_plain(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], width: int, end: str, last: bool
) -> None:
    folder = tmp_path_factory.mktemp("g")
    (folder / "x.fa").write_bytes(fasta(texts, width, end, last))
    assert_same_genome(FastaGenome.open(folder / "x.fa"), folder / "store")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records, st.integers(1, 70), st.integers(1, 90), st.sampled_from(["\n", "\r\n"]))
def test_bgzip(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], width: int, block: int, end: str
) -> None:
    folder = tmp_path_factory.mktemp("g")
    path = write_bgzip(folder / "x.fa.gz", fasta(texts, width, end), block)
    assert_same_genome(FastaGenome.open(path), folder / "store")


def test_bgzip_blocks_of_the_largest_size(tmp_path: Path) -> None:
    """A fetch that begins where a block of 2^16 bytes ends."""
    text = "ACGTTGCAAN" * 20_000
    content = f">r0\n{text}\n".encode()
    path = write_bgzip(tmp_path / "x.fa.gz", content, 1 << 16)
    genome = FastaGenome.open(path)
    codes = encode_fasta([path], tmp_path / "store").codes("r0")
    for border in (1 << 16, 2 << 16):
        for start in range(border - 4 - 2, border - 4 + 3):
            assert np.array_equal(genome.codes("r0", start, start + 9), codes[start : start + 9])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGTacgtNR"), n)) for n in (2000, 900)]
    path = tmp_path / "x.fa"
    path.write_bytes(fasta([*texts, "N" * 300], 60, "\n"))
    return path


def both(path: Path) -> tuple[SpeciesSet, SpeciesSet]:
    """A species set with the file and one with its store."""
    encode_fasta([path], path.parent / "store")
    sets = []
    for store in (path.name, "store"):
        table = path.with_name(f"{store}.tsv")
        table.write_text(f"species\tstore\nhuman\t{store}\n")
        sets.append(SpeciesSet.open(table))
    return sets[0], sets[1]


def test_the_same_windows(path: Path) -> None:
    direct, encoded = both(path)
    assert direct.digest == encoded.digest
    drawn = []
    for species_set in (direct, encoded):
        intervals = [
            Interval("human", name, 0, record.length, "train")
            for name, record in species_set.stores["human"].records.items()
        ]
        sampler = WindowSampler(species_set, intervals, 100, seed=0, max_n_fraction=0.12)
        assert sampler.dropped == {"in a record of N only": 1}
        windows = sampler.draw(np.arange(500))
        assert windows.attempts.max() > 0
        drawn.append((*windows, sampler.codes(windows)))
    for a, b in zip(*drawn, strict=True):
        assert np.array_equal(a, b)


def _first_bases(genome: FastaGenome) -> list[int]:
    return genome.codes("r1", 5, 25).tolist()


def test_processes_open_the_file_for_themselves(path: Path) -> None:
    genome = FastaGenome.open(path)
    expected = _first_bases(genome)
    with get_context("fork").Pool(2) as pool:
        assert pool.map(_first_bases, [genome] * 4) == [expected] * 4
    assert len(pickle.dumps(genome)) < 4000
    assert _first_bases(pickle.loads(pickle.dumps(genome))) == expected  # noqa: S301


def test_the_index_is_made_once_and_again_after_an_edit(path: Path) -> None:
    index = path.with_name("x.fa.genomamba")
    first = FastaGenome.open(path)
    assert first.index == index
    before = (index / "manifest.json").stat()
    os.utime(path)  # newer than its index, and the same
    assert FastaGenome.open(path).digest == first.digest
    assert (index / "manifest.json").stat() == before
    path.write_bytes(path.read_bytes().replace(b"A", b"C", 1))
    assert FastaGenome.open(path).digest != first.digest
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["x.fa", "x.fa.genomamba"]


def test_an_index_that_cannot_lie_beside_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    access = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: p != path.parent and access(p, mode))
    genome = FastaGenome.open(path)
    assert genome.index.is_relative_to(tmp_path / "cache")
    assert not path.with_name("x.fa.genomamba").exists()
    assert FastaGenome.open(path).index == genome.index


def test_a_fasta_stands_where_a_set_can(path: Path) -> None:
    assert SpeciesSet.open(path).classes == ("x",)


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    content = b">a\nACGT\nAC\nACGT\n>b\nAC\n"
    cases = {
        "ragged.fa": (content, "line 3.*lines of a record but the last"),
        "protein.fa": (b">a\nMKVL\n", r"line 2, position 3|line 2, position 4|no nucleotide"),
        "packed.fa.gz": (gzip.compress(content), "bgzip packed|Compress it with bgzip"),
        "named.fa.gz": (b">a\nACGT\n", "is not compressed, and its name says otherwise"),
        "empty.fa": (b"", "empty"),
    }
    for name, (text, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(text)
        with pytest.raises(InputError, match=message):
            FastaGenome.open(path)
    cut = write_bgzip(tmp_path / "cut.fa.gz", b">a\n" + b"ACGT" * 500, 100)
    cut.write_bytes(cut.read_bytes()[:-28])
    with pytest.raises(InputError, match="no EOF block"):
        FastaGenome.open(cut)
    with pytest.raises(InputError, match="cannot be read"):
        FastaGenome.open(tmp_path / "none.fa")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*cases, "cut.fa.gz"])
