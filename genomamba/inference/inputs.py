"""What ``classify`` reads: files, folders, patterns, standard input, or a sample sheet of them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import BinaryIO

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.tables import read_table

FASTA_SUFFIXES = (".fa", ".fasta", ".fna", ".fas", ".ffn")
ZIPPED_SUFFIXES = ("", ".gz", ".bgz")
STDIN = "-"
STAT_FIELDS = ("st_size", "st_mtime_ns", "st_ino")


@dataclass(frozen=True, slots=True)
class Source:
    """One FASTA file of one sample.

    Attributes:
        sample: the sample's name; the file's own name without FASTA suffixes where no sheet says.
        name: the file as the user wrote it, for tables and messages.
        path: what to open: the file, or a copy of what came through a pipe.
        label: the true class if the sheet says it, else "".
    """

    sample: str
    name: str
    path: Path
    label: str = ""

    def signature(self) -> tuple[int, ...]:
        """Size, time of change and inode: when they change, the file has.

        Raises:
            InputError: there is no such file.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", file=self.name) from error
        return tuple(getattr(found, field) for field in STAT_FIELDS)


def sample_name(path: str) -> str:
    """A file's name without its FASTA suffixes: the sample's, where no sheet names it."""
    name = Path(path).name
    for zipped in ZIPPED_SUFFIXES[1:]:
        name = name.removesuffix(zipped)
    return Path(name).stem if name.endswith(FASTA_SUFFIXES) else name


def find_sources(given: Iterable[str], sheet: Path | None) -> list[Source]:
    """The files of the command line's arguments and of the sample sheet, in order.

    A folder stands for its FASTA files and a pattern for what it matches, sorted by name.

    Raises:
        InputError: nothing to read, a folder or pattern without FASTA files, a file given twice, a
            sheet that is no table of samples.
    """
    sources = [Source(sample_name(n), n, Path(n)) for name in given for n in _expand(name)]
    if sheet is not None:
        for _, row in read_table(sheet, ("sample", "path"), ("label",)):
            for name in _expand(str(sheet.parent / row["path"])):
                sources.append(Source(row["sample"], name, Path(name), row["label"]))
    if not sources:
        raise InputError("no FASTA file to classify", fix="Name files or give --samples SHEET.tsv")
    seen: set[Path] = set()
    for source in sources:
        resolved = source.path.resolve() if source.name != STDIN else source.path
        if resolved in seen:
            raise InputError("is given more than once", file=source.name)
        seen.add(resolved)
    return sources


def _expand(name: str) -> list[str]:
    if name == STDIN:
        return [name]
    endings = tuple(fasta + zipped for fasta in FASTA_SUFFIXES for zipped in ZIPPED_SUFFIXES)
    if os.path.isdir(name):
        found = sorted(entry for entry in os.listdir(name) if entry.endswith(endings))
        what = f"the folder has no FASTA file: none ends in {' '.join(FASTA_SUFFIXES)}[.gz|.bgz]"
        found = [os.path.join(name, entry) for entry in found]
    elif any(letter in name for letter in "*?[") and not os.path.exists(name):
        found, what = sorted(glob(name, recursive=True)), "the pattern matches no file"
    else:
        return [name]
    if not found:
        raise InputError(what, file=name, fix="Check the path")
    return found


def spool_pipes(sources: list[Source], folder: Path, stack: ExitStack) -> list[Source]:
    """The sources, with copies in place of pipes: input is read twice, to check and to classify.

    The copy is a file without a name in ``folder``, so that nothing is left of it when the process
    ends in whatever way.
    """
    return [source if _is_file(source) else _spooled(source, folder, stack) for source in sources]


def _is_file(source: Source) -> bool:
    return source.name != STDIN and (source.path.is_file() or not source.path.exists())


def _spooled(source: Source, folder: Path, stack: ExitStack) -> Source:
    copy = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
    with ExitStack() as opened:
        pipe: BinaryIO = (
            sys.stdin.buffer
            if source.name == STDIN
            else opened.enter_context(source.path.open("rb"))
        )
        shutil.copyfileobj(pipe, copy)
    copy.flush()
    return Source(source.sample, source.name, Path(f"/proc/self/fd/{copy.fileno()}"), source.label)


def source_names(sources: Iterable[Source]) -> Iterator[str]:
    """Names of pipes among the sources: what another process cannot read again."""
    return (source.name for source in sources if not _is_file(source))
