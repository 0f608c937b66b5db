"""FASTA to store: the same bases and counts, written whole or not at all, done once."""

from __future__ import annotations

import errno
import gzip
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from genomamba.cli import main
from genomamba_data_prep.codes import AMBIGUOUS, decode
from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.store import Manifest, Store

SMALL = b">one x\nACGTNR\nacgtu\n>two\nGGGG\n"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "small.fa"
    path.write_bytes(SMALL)
    return path


def random_fasta(seed: int) -> tuple[bytes, dict[str, bytes]]:
    """Records of IUPAC letters of both cases, longer than a block, and their letters."""
    rng = np.random.default_rng(seed)
    alphabet = np.frombuffer(b"ACGT" * 20 + b"acgt" * 10 + b"NnRYuUkm", dtype=np.uint8)
    records = {}
    lines = []
    for number, length in enumerate((1, 300_000, 59, 60, 61, 150_001)):
        letters = rng.choice(alphabet, length).tobytes()
        records[f"r{number}"] = letters
        lines.append(b">r%d" % number)
        lines += [letters[start : start + 60] for start in range(0, length, 60)]
    return b"\n".join(lines) + b"\n", records


@pytest.mark.parametrize("seed", range(3))
def test_store_holds_the_bases_and_their_counts(tmp_path: Path, seed: int) -> None:
    content, records = random_fasta(seed)
    fasta = tmp_path / "x.fa"
    fasta.write_bytes(content)
    store = encode_fasta([fasta], tmp_path / "store")
    assert list(store.records) == list(records)
    for name, letters in records.items():
        record = store.records[name]
        table = bytes.maketrans(b"uUkmRY", b"tTnnNN")
        assert decode(store.codes(name)) == letters.translate(table)
        upper = letters.upper().decode()
        assert record.length == len(letters)
        assert record.gc == upper.count("G") + upper.count("C")
        assert record.ambiguous == sum(upper.count(letter) for letter in AMBIGUOUS)
        assert record.n == upper.count("N") + record.ambiguous
        assert record.uracil == upper.count("U")
        assert record.soft_masked == sum(letter.islower() for letter in letters.decode())


def test_digest_is_of_the_sequence(tmp_path: Path) -> None:
    """Wrapping, compression and descriptions do not change it; a base, its case or a name does."""

    def digest(content: bytes) -> str:
        path = tmp_path / "x.fa"
        path.write_bytes(content)
        return encode_fasta([path], tmp_path / "store", force=True).digest

    same = [SMALL, gzip.compress(SMALL), SMALL.replace(b"\n", b"\r\n"), SMALL.replace(b" x", b"")]
    same.append(SMALL.replace(b"NR\nac", b"NRac"))
    assert len({digest(content) for content in same}) == 1
    other = [SMALL.replace(b"GGGG", b"GGGA"), SMALL.replace(b"GGGG", b"GGGg")]
    other += [SMALL.replace(b"two", b"too"), SMALL.replace(b">two\n", b"")]
    assert len({digest(content) for content in [SMALL, *other]}) == 5


def test_several_files_make_one_store(tmp_path: Path, fasta: Path) -> None:
    second = tmp_path / "second.fa.gz"
    second.write_bytes(gzip.compress(b">three\nTTT\n"))
    store = encode_fasta([fasta, second], tmp_path / "store")
    assert list(store.records) == ["one", "two", "three"]
    assert store.codes("three").tolist() == [3, 3, 3]
    assert [source.path for source in store.manifest.sources] == [str(fasta), str(second)]
    with pytest.raises(InputError, match=f"record one, line 1: .* first in {fasta}"):
        twice = tmp_path / "twice.fa"
        twice.write_bytes(SMALL)
        encode_fasta([fasta, twice], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_names_default_to_the_folder_and_the_file(tmp_path: Path) -> None:
    fasta = tmp_path / "hg38.analysis.fa"
    fasta.write_bytes(SMALL)
    store = encode_fasta(fasta, tmp_path / "human")
    assert (store.species, store.assembly) == ("human", "hg38")


def encode(*arguments: object) -> int:
    return main(["prepare", "encode", *map(str, arguments)])


def test_second_run_does_nothing_and_says_so(
    tmp_path: Path, fasta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "store"
    assert encode(fasta, "--output", output, "--species", "Pan") == 0
    assert "2 records, 15 bases, 2 of them N (1 ambiguous" in capsys.readouterr().err
    before = [(path, path.stat()) for path in sorted(output.iterdir())]
    assert encode(fasta, "--output", output) == 0
    captured = capsys.readouterr()
    assert "up to date" in captured.err
    assert not captured.out
    assert before == [(path, path.stat()) for path in sorted(output.iterdir())]


def test_edited_source_is_noticed_whatever_its_date(
    tmp_path: Path, fasta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "store"
    encode(fasta, "--output", output)
    date = fasta.stat().st_mtime_ns
    fasta.write_bytes(SMALL.replace(b"GGGG", b"GGGA"))
    os.utime(fasta, ns=(date, date))
    assert encode(fasta, "--output", output) == 2
    assert "edited since. Rebuild it with --force" in capsys.readouterr().err
    assert Store.open(output).codes("two").tolist() == [2, 2, 2, 2]
    assert encode(fasta, "--output", output, "--force") == 0
    assert Store.open(output).codes("two").tolist() == [2, 2, 2, 0]


def test_store_of_another_species_is_refused(tmp_path: Path, fasta: Path) -> None:
    encode_fasta([fasta], tmp_path / "store", species="Pan")
    with pytest.raises(InputError, match="store of species 'Pan', assembly 'small'"):
        encode_fasta([fasta], tmp_path / "store", species="Homo")


def test_store_of_another_version_is_rebuilt_only_by_force(tmp_path: Path, fasta: Path) -> None:
    store = encode_fasta([fasta], tmp_path / "store")
    manifest = store.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 2', '"version": 0'))
    with pytest.raises(InputError, match="format version 0"):
        encode_fasta([fasta], store.path)
    assert encode_fasta([fasta], store.path, force=True).digest == store.digest


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_store_is_never_replaced(tmp_path: Path, fasta: Path, force: bool) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    (folder / "thesis.tex").write_text("years of work")
    for output in (folder, fasta, tmp_path):
        with pytest.raises(InputError, match="exists and is not a store"):
            encode_fasta([fasta], output, force=force)
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert fasta.read_bytes() == SMALL


REFUSED = {
    "protein": (b">a\nMKLE\n", "record a, line 2, position 3: 'L' is no nucleotide"),
    "empty": (b"", "the file is empty"),
    "text": (b"hello\n", "line 1: not FASTA"),
    "empty record": (b">a\nAC\n>b\n", "record b, line 3: the record is empty"),
    "duplicate": (b">a\nAC\n>a\nAC\n", "record a, line 3: the name occurs twice"),
    "cut gzip": (gzip.compress(SMALL)[:-3], "the gzip file is cut short"),
    "late": (b">a\n" + b"ACGT\n" * 100_000 + b"AC-T\n", "line 100002, position 3: '-'"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refusal_leaves_nothing(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fasta = tmp_path / "bad.fa"
    fasta.write_bytes(content)
    assert encode(fasta, "--output", tmp_path / "new" / "folder" / "store") == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert str(fasta) in captured.err
    assert message in captured.err
    assert not captured.out
    assert list(tmp_path.iterdir()) == [fasta]


@pytest.mark.parametrize("species", ["", " ", "a\tb", "a\nb"])
def test_a_species_is_a_column_of_tables(
    tmp_path: Path, fasta: Path, species: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encode(fasta, "--output", tmp_path / "store", "--species", species) == 2
    assert "expected a species name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [fasta]


def test_a_file_among_the_folders(
    tmp_path: Path, fasta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encode(fasta, "--output", fasta / "new" / "store") == 2
    assert f"cannot be written: {fasta} is a file" in capsys.readouterr().err


def test_refusal_by_force_keeps_the_old_store(tmp_path: Path, fasta: Path) -> None:
    digest = encode_fasta([fasta], tmp_path / "store").digest
    fasta.write_bytes(b">a\nAC!\n")
    with pytest.raises(InputError):
        encode_fasta([fasta], tmp_path / "store", force=True)
    assert Store.open(tmp_path / "store").digest == digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.fa", "store"]


def test_missing_file_and_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, message in ((tmp_path / "none.fa", "No such file"), (tmp_path, "Is a directory")):
        assert encode(source, "--output", tmp_path / "store") == 2
        assert f"{source}: cannot be read: {message}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 100 kB: the system's own refusal, in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    fasta = tmp_path / "x.fa"
    fasta.write_bytes(random_fasta(0)[0])
    request.getfixturevalue("full_disk")
    assert encode(fasta, "--output", tmp_path / "a" / "store") == 2
    assert "cannot write the store: File too large" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [fasta]


def test_disk_that_fills_up_last(
    tmp_path: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Manifest, "write", fail)
    with pytest.raises(InputError, match=r"No space left on device\. Nothing was left there"):
        encode_fasta([fasta], tmp_path / "store")
    assert list(tmp_path.iterdir()) == [fasta]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle(tmp_path: Path, number: signal.Signals) -> None:
    """The source is a pipe that never ends, so that the middle is certain."""
    pipe, output = tmp_path / "pipe", tmp_path / "store"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "genomamba", "prepare", "encode", pipe, "--output", output]

    def take_signals() -> None:  # a test run in the background hands down that SIGINT is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=take_signals)
    with process, open(pipe, "wb", buffering=0) as file:
        file.write(b">a\n" + b"ACGT\n" * 200_000)
        deadline = time.monotonic() + 20
        while not any(path.stat().st_size for path in tmp_path.glob(".store.*/codes.bin")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        with pytest.raises(BrokenPipeError):
            while True:
                file.write(b"ACGT\n" * 10_000)
        assert process.stderr is not None
        message = process.stderr.read().decode()
    assert not output.exists()
    if number == signal.SIGINT:
        assert (process.returncode, message) == (130, "genomamba: interrupted\n")
        assert list(tmp_path.iterdir()) == [pipe]
    fasta = tmp_path / "x.fa"
    fasta.write_bytes(SMALL)
    assert list(encode_fasta([fasta], output).records) == ["one", "two"]


def test_memory_does_not_grow_with_the_genome(tmp_path: Path) -> None:
    """200 Mbp on one line: neither the file nor the codes may ever be in memory at once."""
    fasta = tmp_path / "x.fa"
    with open(fasta, "wb") as file:
        file.write(b">a\n")
        for _ in range(200):
            file.write(b"ACGTacgtNN" * 100_000)
    # Measured by a small process: a child's peak counts its parent's memory at the fork.
    measure = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    measure += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [sys.executable, "-m", "genomamba", "prepare", "encode", fasta]
    command = [sys.executable, "-c", measure, *command, "--output", tmp_path / "store"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert int(done.stdout) * 1024 < 150e6
    assert Store.open(tmp_path / "store").records["a"].length == 200_000_000
    (tmp_path / "store" / "codes.bin").unlink()
    fasta.unlink()
