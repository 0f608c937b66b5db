"""Checks a .fai index beside a FASTA file: readers that trust a stale one return wrong bases.

A .fai has a line for each record: name, bases, byte offset of the first base, bases in a line,
bytes in a line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from genomamba_data_prep.compression import GZIP_MAGIC
from genomamba_data_prep.errors import InputError

# A last base and what follows it, in the 2 bytes at the end of a line, the 4 at that of a record.
_LINE_END = re.compile(rb"[^\r\n][\r\n]?")
_RECORD_END = re.compile(rb"[^\r\n](\r?\n([>\r\n].*)?)?", re.DOTALL)


def index_path(fasta: str | os.PathLike[str]) -> Path:
    """Where samtools and pyfaidx keep a FASTA file's index."""
    return Path(os.fspath(fasta) + ".fai")


def check_index(fasta: str | os.PathLike[str], records: Sequence[tuple[str, int]]) -> None:
    """Check the index beside ``fasta``, if there is one, against the file's records.

    Names and lengths are compared with all records; where the file is plain, the index must also
    lead to the start of each record, the end of its first line and its end.

    Args:
        fasta: the FASTA file.
        records: the name and the number of bases of each of its records, in file order.

    Raises:
        InputError: the index belongs to another version of the file, or is damaged.
    """
    path = index_path(fasta)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        raise _stale(path, 1, "it is not text") from None
    for number, (line, (name, length)) in enumerate(zip(lines, records, strict=False), 1):
        if line.split("\t")[:2] != [name, str(length)]:
            raise _stale(path, number, f"the FASTA has {name} of {length} bases here", name)
    if len(lines) != len(records):
        number = min(len(lines), len(records)) + 1
        found = f"it lists {len(lines)} records, the FASTA has {len(records)}"
        raise _stale(path, number, found)
    _check_layout(path, fasta, lines)


def _check_layout(path: Path, fasta: str | os.PathLike[str], lines: Sequence[str]) -> None:
    with open(fasta, "rb") as file:
        if file.read(2) == GZIP_MAGIC:
            return
        for number, line in enumerate(lines, 1):
            name, *fields = line.split("\t")
            try:
                length, offset, line_bases, line_bytes = (int(field) for field in fields)
                full_lines, last_bases = divmod(length - 1, line_bases)
                file.seek(offset - 1)
                before = file.read(1)
                file.seek(offset + min(line_bases, length) - 1)
                line_end = file.read(2)
                file.seek(offset + full_lines * line_bytes + last_bases)
                record_end = file.read(4)
            except (ValueError, ZeroDivisionError, OSError):
                raise _stale(path, number, "the line is damaged", name) from None
            ends_match = _LINE_END.fullmatch(line_end) and _RECORD_END.fullmatch(record_end)
            if before != b"\n" or not ends_match:
                raise _stale(path, number, "the lines of the FASTA are elsewhere", name)


def _stale(path: Path, line: int, found: str, record: str | None = None) -> InputError:
    return InputError(
        f"stale index: {found}",
        file=path,
        record=record,
        line=line,
        fix=f"Delete it, or make it again with `samtools faidx {path.with_suffix('')}`",
    )
