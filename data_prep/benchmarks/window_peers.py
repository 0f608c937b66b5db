"""The ways to read windows that `windows.py` compares with, on the same windows of one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pyfaidx import Fasta

COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "a": "t", "c": "g", "g": "c", "t": "a"}
VOCABULARY = {"A": 7, "C": 8, "G": 9, "T": 10, "N": 11}
UNKNOWN = 6


class DictionaryTokeniser:
    """pyfaidx, then Python letter by letter: HyenaDNA's dataset and character tokeniser.

    As in HazyResearch/hyena-dna, src/dataloaders/datasets/hg38_dataset.py (FastaInterval) and
    hg38_char_tokenizer.py, without padding and special tokens; the other strand by a list and not,
    as there, by adding letter to letter, which is slower.
    """

    def __init__(self, fasta: Path) -> None:
        self.fasta = Fasta(str(fasta))

    def read(self, record: str, start: int, end: int, reverse: bool) -> torch.Tensor:
        letters = str(self.fasta[record][start:end])
        if reverse:
            letters = "".join([COMPLEMENT.get(letter, letter) for letter in reversed(letters)])
        letters = letters.upper()
        return torch.LongTensor([VOCABULARY.get(letter, UNKNOWN) for letter in list(letters)])


class NumpyEncoding:
    """pyfaidx, then one table look-up over the whole window."""

    def __init__(self, fasta: Path) -> None:
        self.fasta = Fasta(str(fasta), as_raw=True)
        table = np.full(256, 4, dtype=np.uint8)
        for code, letter in enumerate("ACGT"):
            table[ord(letter)], table[ord(letter.lower())] = code, code | 8
        self.table = table
        self.complement = np.array([3, 2, 1, 0, 4, 0, 0, 0, 11, 10, 9, 8, 12], dtype=np.uint8)

    def read(self, record: str, start: int, end: int, reverse: bool) -> torch.Tensor:
        letters = self.fasta[record][start:end].encode()
        codes = self.table[np.frombuffer(letters, dtype=np.uint8)]
        if reverse:
            codes = self.complement[codes][::-1].copy()
        return torch.from_numpy(codes)


class MapCopy:
    """A bare copy out of a memory map, whatever the strand: no loader can be faster."""

    def __init__(self, codes: Path) -> None:
        self.codes = np.asarray(np.memmap(codes, dtype=np.uint8, mode="r"))

    def read(self, record: str, start: int, end: int, reverse: bool) -> torch.Tensor:
        return torch.from_numpy(self.codes[start:end].copy())
