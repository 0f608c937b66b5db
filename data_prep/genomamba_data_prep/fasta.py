"""Reads FASTA in blocks, strictly: what is not a nucleotide FASTA is an error with its place.

Plain, gzip or bgzip; lines of any width, ``\\n`` or ``\\r\\n``, with or without a last line end;
blank lines are skipped. Lower case is the soft mask, U is read as T, IUPAC letters of several bases
are read as N, and both are counted. A record's name is the first word of its header.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from genomamba_data_prep.codes import AMBIGUOUS, ENCODE_TABLE, ILLEGAL, Codes
from genomamba_data_prep.compression import decompressed, raw_blocks
from genomamba_data_prep.errors import InputError

Path = str | os.PathLike[str]

HEADER_BYTES = 1 << 20  # a longer header line is a file that is not FASTA, not to be held in memory

# Two bits above the codes mark letters that a code alone does not tell, until they are counted.
_URACIL_BIT, _AMBIGUOUS_BIT = 0x10, 0x20
_CODE_BITS = np.uint8(0x0F)


def _reading_table() -> bytes:
    table = bytearray(ENCODE_TABLE)
    for letter in b"Uu":
        table[letter] |= _URACIL_BIT
    for letter in (AMBIGUOUS + AMBIGUOUS.lower()).encode():
        table[letter] |= _AMBIGUOUS_BIT
    return bytes(table)


_TABLE = _reading_table()

# What users hand over instead of FASTA, by its first bytes, with what to do.
_FOREIGN_STARTS = {
    b"@": ("it looks like FASTQ or SAM", "Convert it to FASTA (samtools fasta)"),
    b"BAM\x01": ("it is BAM", "Convert it to FASTA (samtools fasta)"),
    b"##gff": ("it is GFF", "Give the sequence file"),
    b"LOCUS": ("it is GenBank", "Convert it to FASTA"),
    b"\xef\xbb\xbf": ("it starts with a byte order mark", "Save it as plain ASCII"),
    b"\x28\xb5\x2f\xfd": ("it is zstd", "Decompress it (zstd -d)"),
    b"\xfd7zXZ\x00": ("it is xz", "Decompress it (xz -d)"),
    b"BZh": ("it is bzip2", "Decompress it (bzip2 -d)"),
    b"PK\x03\x04": ("it is zip", "Decompress it (unzip)"),
    b"\x43\x27\x41\x1a": ("it is 2bit", "Convert it to FASTA (twoBitToFa)"),
}


class Piece(NamedTuple):
    """Consecutive bases of one record, at least one.

    Attributes:
        name: the record's name.
        is_first: whether the record begins here.
        codes: the bases' codes, read-only.
        ambiguous: IUPAC letters of several bases among them, read as N.
        uracil: letters U among them, read as T.
    """

    name: str
    is_first: bool
    codes: Codes
    ambiguous: int
    uracil: int


class FastaRecord(NamedTuple):
    """A record's name and all its codes, shape (length,)."""

    name: str
    codes: Codes


def read_fasta(path: Path) -> Iterator[FastaRecord]:
    """A FASTA file's records with all their bases, one record in memory at a time.

    Raises:
        InputError: the file cannot be read or is not nucleotide FASTA; says where and what to do.
    """
    name, codes = "", bytearray()
    for piece in read_pieces(decompressed(raw_blocks(path), path), path):
        if piece.is_first and codes:
            yield FastaRecord(name, np.frombuffer(codes, dtype=np.uint8))
            codes = bytearray()
        name = piece.name
        codes += piece.codes.data
    yield FastaRecord(name, np.frombuffer(codes, dtype=np.uint8))


def read_pieces(
    blocks: Iterable[bytes], path: Path, seen: dict[str, Path] | None = None
) -> Iterator[Piece]:
    """The bases of a FASTA file in pieces of at most a block, checked as they pass.

    Args:
        blocks: the file's content, decompressed, in blocks of any size.
        path: the file to name in errors.
        seen: names of records read before and their files; grows, so that passing the same
            dictionary for several files refuses a name that two of them have.

    Raises:
        InputError: not FASTA, no record, an empty record, one without a name or with one that was
            seen, a letter that stands for no nucleotide; with record, line and position.
    """
    place = _Place(path, {} if seen is None else seen)
    rest = b""  # an unfinished header line, or \r that waits for \n
    for block in blocks:
        data = rest + block if rest else block
        rest = b""
        at = 0
        while at < len(data):
            if place.at_line_start and data.startswith(b">", at):
                end = data.find(b"\n", at)
                if end < 0:
                    rest = data[at:]
                    if len(rest) > HEADER_BYTES:
                        raise place.error("the header line does not end: expected FASTA")
                    break
                place.start_record(data[at + 1 : end])
                at = end + 1
                continue
            end = _next_header(data, at)
            letters = data[at:end]
            if end == len(data) and letters.endswith(b"\r"):
                letters, rest = letters[:-1], b"\r"
            at = end
            if b"\r" in letters:
                letters = letters.replace(b"\r\n", b"\n")
            yield from place.read_letters(letters)
    if rest.startswith(b">"):  # the file ends within a header
        place.start_record(rest[1:])
    else:
        yield from place.read_letters(rest)
    place.finish()


def _next_header(data: bytes, start: int) -> int:
    """Index of the next > that begins a line after ``start``, or the end of the data."""
    at = data.find(b">", start + 1)
    while at >= 0 and data[at - 1] != ord("\n"):
        at = data.find(b">", at + 1)  # within a line: left to be reported as an illegal letter
    return at if at >= 0 else len(data)


@dataclass
class _Place:
    """Where the reader is, and the checks that need to know it.

    Lines are counted at no cost: they are the bytes that translation deletes.
    """

    path: Path
    seen: dict[str, Path]
    record: str | None = None
    header_line: int = 0  # of the current record
    line: int = 1
    column: int = 0  # bytes of the current line that are already read
    bases: int = 0  # of the current record

    @property
    def at_line_start(self) -> bool:
        return self.column == 0

    def error(self, what: str, fix: str | None = None, **place: int) -> InputError:
        place.setdefault("line", self.line)
        return InputError(what, file=self.path, record=self.record, fix=fix, **place)

    def _skip_blank_lines(self, letters: bytes) -> None:
        """Before the first record: anything but line ends is refused."""
        text = letters.lstrip(b"\n")
        self.line += len(letters) - len(text)
        if not text:
            return
        kind, fix = "expected > and a name", "The first line of a FASTA file is a header"
        for start, (foreign, conversion) in _FOREIGN_STARTS.items():
            if text.startswith(start):
                kind, fix = foreign, conversion
                break
        else:
            if b"\x00" in text[:1024]:
                kind = "it is binary"
        raise self.error(f"not FASTA: text before the first header, {kind}", fix)

    def start_record(self, header: bytes) -> None:
        """Take a header line, without > and line end, as the beginning of a record."""
        self._end_record()
        words = header.split(None, 1)
        self.record = None
        if not words:
            raise self.error("the record has no name", "Write a name directly after the >")
        if b"\r" in header.rstrip():
            raise self.error(
                "a carriage return within a line", "Convert the line ends to \\n (tr '\\r' '\\n')"
            )
        try:
            name = words[0].decode()
        except UnicodeDecodeError:
            name = ""
        if not name.isprintable() or not name:
            raise self.error(f"the record's name is not text: {words[0]!r}", "Rename the record")
        self.record = name
        if name in self.seen:
            other = self.seen[name]
            where = "in this file" if other == self.path else f"in {os.fspath(other)}"
            raise self.error(f"the name occurs twice, first {where}", "Rename one of the records")
        self.seen[name] = self.path
        self.bases, self.header_line, self.line = 0, self.line, self.line + 1

    def _end_record(self) -> None:
        if self.record is not None and not self.bases:
            raise self.error(
                "the record is empty: no sequence before the next header or the file's end",
                "Remove the record or supply its sequence",
                line=self.header_line,
            )

    def finish(self) -> None:
        """Check, at the end of the file, that it held records and that the last has bases."""
        self._end_record()
        if self.record is None:
            raise InputError(
                "the file is empty: expected FASTA records", file=self.path, fix="Check the path"
            )

    def read_letters(self, letters: bytes) -> Iterator[Piece]:
        """The current record's next bases from its text, which has \\n for every line end."""
        if self.record is None:
            self._skip_blank_lines(letters)
            return
        translated = letters.translate(_TABLE, b"\n")
        codes = np.frombuffer(translated, dtype=np.uint8)
        ambiguous = uracil = 0
        highest = codes.max(initial=0)
        if highest > _CODE_BITS:
            if highest == ILLEGAL:
                raise self._illegal_letter(letters)
            ambiguous = int(np.count_nonzero(codes & _AMBIGUOUS_BIT))
            uracil = int(np.count_nonzero(codes & _URACIL_BIT))
            codes = codes & _CODE_BITS
        lines = len(letters) - len(codes)
        self.line += lines
        self.column = len(letters) - letters.rfind(b"\n") - 1 + (0 if lines else self.column)
        if len(codes):
            yield Piece(self.record, self.bases == 0, codes, ambiguous, uracil)
            self.bases += len(codes)

    def _illegal_letter(self, letters: bytes) -> InputError:
        legal = bytes(byte for byte in range(256) if _TABLE[byte] != ILLEGAL) + b"\n"
        at = len(letters) - len(letters.lstrip(legal))
        line_start = letters.rfind(b"\n", 0, at) + 1
        letter = chr(letters[at])
        if letter in "-.":
            fix = "Remove the alignment's gaps"
        elif letter.upper() in "EFILJOPQXZ*":
            fix = "Is this protein? Give nucleotides, with N for an unknown base"
        elif letter == "\r":
            fix = "Convert the line ends to \\n or \\r\\n"
        elif letter in " \t":
            fix = "Remove the white space"
        else:
            fix = "Remove it, or write N for an unknown base"
        return self.error(
            f"{letter!r} is no nucleotide: expected ACGTUN or one of {AMBIGUOUS}",
            fix,
            line=self.line + letters.count(b"\n", 0, at),
            position=at - line_start + 1 + (self.column if line_start == 0 else 0),
        )
