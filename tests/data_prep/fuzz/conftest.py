"""Mutated files: each is read correctly, as Biopython reads it, or refused as the contract says.

Refused means: exit code 2, one message, nothing on stdout, no traceback, no hang, and the folder as
it was. The mutations are seeded; a failure names its kind and number. More of them:

    GENOMAMBA_FUZZ_CASES=10000 pytest tests/data_prep/fuzz -rP
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from genomamba.cli import main
from genomamba_data_prep.encode import encode_fasta

CASES = int(os.environ.get("GENOMAMBA_FUZZ_CASES", "400"))
SEED = int(os.environ.get("GENOMAMBA_FUZZ_SEED", "0"))
SECONDS = 20.0  # a case that takes longer hangs

Rng = np.random.Generator


LENGTHS = {"human": {"chr1": 300, "chr2": 120, "chrM": 30}, "chimp": {"chr1": 280, "chr3": 90}}


class Hang(BaseException):
    """Not an Exception: no handler of ours may swallow it."""


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Fuzz:
    """Runs cases and keeps their outcomes: whether the input was accepted."""

    def __init__(self) -> None:
        self.outcomes: list[bool] = []

    def cases(self, kind: str, share: float, run: Callable[[Rng], None]) -> None:
        """Run a share of the cases, each with random numbers of its own; both outcomes occur."""
        for case in range(round(CASES * share)):
            rng = np.random.default_rng([SEED, sum(kind.encode()), case])
            try:
                with no_hang():
                    run(rng)
            except BaseException as error:
                error.add_note(f"{kind}, case {case}, seed {SEED}")
                raise
        print(f"{kind}: {len(self.outcomes)} cases, {sum(self.outcomes)} accepted")
        assert set(self.outcomes) == {False, True}

    def accepted(self, folder: Path, *arguments: str) -> bool:
        """Run ``genomamba prepare``; checks the contract of a refusal."""
        before = snapshot(folder)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["prepare", *arguments])
        self.outcomes.append(code == 0)
        if code == 0:
            return True
        message = err.getvalue()
        assert code == 2, message
        assert message.startswith("genomamba: error: "), message
        assert message.count("\n") == 1, message
        assert not out.getvalue()
        assert snapshot(folder) == before, message
        return False

    @staticmethod
    def mutated(rng: Rng, data: bytes, tokens: list[bytes]) -> bytes:
        """One random edit, sometimes a few more."""
        for _ in range(1 if rng.random() < 0.6 else int(rng.integers(2, 5))):
            data = _edited(rng, data, tokens)
        return data


@pytest.fixture
def fuzz() -> Fuzz:
    return Fuzz()


def snapshot(folder: Path) -> dict[str, str]:
    """Every file of a folder with a hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _edited(rng: Rng, data: bytes, tokens: list[bytes]) -> bytes:
    a, b = sorted(int(x) for x in rng.integers(0, len(data) + 1, 2))
    b = min(b, a + int(rng.integers(1, 60)))
    lines = data.splitlines(keepends=True) or [b""]
    one, two = (int(x) for x in rng.integers(0, len(lines), 2))
    token = tokens[int(rng.integers(len(tokens)))]
    byte = bytes([int(rng.integers(256))])
    edits: list[Callable[[], bytes]] = [
        lambda: data[:a] + byte + data[a + 1 :],
        lambda: data[:a] + byte + data[a:],
        lambda: data[:a] + data[b:],
        lambda: data[:b] + data[a:b] + data[b:],
        lambda: data[:a],
        lambda: data[a:],
        lambda: data[:a] + token + data[a:],
        lambda: data[:a] + token + data[b:],
        lambda: b"".join(lines[:one] + lines[one + 1 :]),
        lambda: b"".join([*lines[:one], lines[two], *lines[one:]]),
        lambda: data.replace(b"\n", [b"\r\n", b"\r", b"\n\n", b"\n "][int(rng.integers(4))]),
        lambda: data + token,
        lambda: data.swapcase(),
    ]
    return edits[int(rng.integers(len(edits)))]()


@pytest.fixture(scope="module")
def genomes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A species set and splits, with dates in the past, so that what is edited is newer."""
    folder = tmp_path_factory.mktemp("genomes")
    rng = np.random.default_rng(0)
    for species, records in LENGTHS.items():
        letters = {name: rng.choice(list("ACGTN"), length) for name, length in records.items()}
        text = "".join(f">{name}\n{''.join(s)}\n" for name, s in letters.items())
        (folder / f"{species}.fa").write_text(text)
        encode_fasta([folder / f"{species}.fa"], folder / species)
    (folder / "set.tsv").write_text("species\tstore\nhuman\thuman\nchimp\tchimp\n")
    rows = ["species\trecord\tstart\tend\tsplit", "human\tchr1\t0\t300\ttest"]
    rows += ["human\tchr2\t0\t120\ttrain", "chimp\tchr1\t5\t250\ttest", "chimp\tchr3\t0\t90\tvalid"]
    (folder / "splits.tsv").write_text("\n".join(rows) + "\n")
    for path in folder.rglob("*"):
        os.utime(path, (10**9, 10**9))
    return folder
