"""The FASTA reader: the same bases as Biopython, and every refusal with its place."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from Bio import SeqIO, bgzf
from hypothesis import given, settings
from hypothesis import strategies as st

from genomamba_data_prep.bgzip import BGZIP_EOF
from genomamba_data_prep.codes import SOFT_MASK, decode
from genomamba_data_prep.compression import BLOCK_BYTES, decompressed, raw_blocks
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.fasta import read_fasta, read_pieces

IUPAC = "ACGTUNRYSWKMBDHV"


def expected_codes(letters: str) -> list[int]:
    """The codes of letters, said one by one."""
    codes = []
    for letter in letters:
        base = {"U": "T"}.get(letter.upper(), letter.upper())
        code = "ACGT".index(base) if base in "ACGT" else 4
        codes.append(code | SOFT_MASK if letter.islower() else code)
    return codes


def bgzip(content: bytes) -> bytes:
    """Content in bgzip blocks of 500 bytes, with the EOF block."""
    buffer = io.BytesIO()
    writer = bgzf.BgzfWriter(fileobj=buffer)
    for start in range(0, len(content), 500):
        writer.write(content[start : start + 500])
        writer.flush()
    return buffer.getvalue() + BGZIP_EOF


def gzip_members(content: bytes) -> bytes:
    middle = len(content) // 3
    return gzip.compress(content[:middle]) + gzip.compress(content[middle:])


COMPRESSIONS = {"plain": bytes, "gzip": gzip.compress, "members": gzip_members, "bgzip": bgzip}


class Text(NamedTuple):
    """A FASTA file's content and what it says."""

    content: bytes
    letters: dict[str, str]


@st.composite
def fasta_texts(draw: st.DrawFn) -> Text:
    names = draw(
        st.lists(st.text("abcXYZ019._|:-é>", min_size=1, max_size=6), min_size=1, unique=True)
    )
    letters = {
        name: draw(st.text(IUPAC + IUPAC.lower(), min_size=1, max_size=200)) for name in names
    }
    line_end = draw(st.sampled_from(["\n", "\r\n"]))
    lines = []
    for name in names:
        lines.append(f">{name}" + draw(st.sampled_from(["", " a > b", "\tchromosome 1"])))
        width = draw(st.integers(1, 80))
        ragged = draw(st.integers(0, 3))
        rest = letters[name]
        while rest:
            lines.append(rest[:width])
            rest, width = rest[width:], max(1, width - ragged)
        lines += [""] * draw(st.integers(0, 1))
    ending = draw(st.sampled_from([0, 1, 3])) * line_end
    return Text((line_end.join(lines) + ending).encode(), letters)


@settings(max_examples=150, deadline=None)
@given(text=fasta_texts(), compression=st.sampled_from(list(COMPRESSIONS)))
def test_reads_what_biopython_reads(
    tmp_path_factory: pytest.TempPathFactory, text: Text, compression: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "records.fa"
    path.write_bytes(COMPRESSIONS[compression](text.content))
    records = [(record.name, record.codes.tolist()) for record in read_fasta(path)]
    peer = SeqIO.parse(io.StringIO(text.content.decode()), "fasta")
    assert records == [(record.id, expected_codes(str(record.seq))) for record in peer]
    assert dict(records) == {name: expected_codes(seq) for name, seq in text.letters.items()}


@settings(max_examples=150, deadline=None)
@given(text=fasta_texts(), size=st.integers(1, 40))
def test_blocks_may_end_anywhere(text: Text, size: int) -> None:
    content = text.content
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    letters: dict[str, str] = {}
    counted = 0
    for piece in read_pieces(blocks, "x"):
        assert piece.is_first == (piece.name not in letters)
        assert len(piece.codes)
        letters[piece.name] = letters.get(piece.name, "") + decode(piece.codes).decode()
        counted += piece.ambiguous + 1000 * piece.uracil
    everything = "".join(text.letters.values()).upper()
    assert [expected_codes(seq) for seq in letters.values()] == [
        expected_codes(seq) for seq in text.letters.values()
    ]
    ambiguous = sum(everything.count(letter) for letter in "RYSWKMBDHV")
    assert counted == ambiguous + 1000 * everything.count("U")


class Bad(NamedTuple):
    """Content that must be refused, and the place and words of the message."""

    content: bytes
    record: str | None
    line: int | None
    position: int | None
    says: str


BAD: dict[str, Bad] = {
    "empty file": Bad(b"", None, None, None, "file is empty"),
    "blank lines only": Bad(b"\n\r\n\n", None, None, None, "file is empty"),
    "no header": Bad(b"ACGT\n", None, 1, None, "before the first header"),
    "text before the header": Bad(b"\n\nhello\n>a\nACGT\n", None, 3, None, "before the first"),
    "fastq": Bad(b"@r1\nACGT\n+\nIIII\n", None, 1, None, "FASTQ"),
    "bam": Bad(b"BAM\x01\x00\x00", None, 1, None, "BAM"),
    "zip": Bad(b"PK\x03\x04\x14\x00", None, 1, None, "zip"),
    "byte order mark": Bad(b"\xef\xbb\xbf>a\nACGT\n", None, 1, None, "byte order mark"),
    "binary": Bad(bytes(range(1, 256)) + b"\x00" * 9, None, 1, None, "not FASTA"),
    "utf-16": Bad(">a\nACGT\n".encode("utf-16"), None, 1, None, "binary"),
    "empty record": Bad(b">a\nAC\n>b\n\n>c\nAC\n", "b", 3, None, "empty"),
    "empty last record": Bad(b">a\nAC\n>b\n", "b", 3, None, "empty"),
    "empty last record, unfinished line": Bad(b">a\nAC\n>b", "b", 3, None, "empty"),
    "no name": Bad(b">a\nAC\n>\nAC\n", None, 3, None, "no name"),
    "no name but spaces": Bad(b">  \nAC\n", None, 1, None, "no name"),
    "name is not text": Bad(b">a\nAC\n>\xff\xfe b\nAC\n", None, 3, None, "not text"),
    "duplicate name": Bad(b">a x\nAC\n>b\nA\n>a y\nAC\n", "a", 5, None, "occurs twice"),
    "old Macintosh lines": Bad(b">a\rACGT\r", None, 1, None, "carriage return"),
    "lone carriage return": Bad(b">a\nAC\rGT\n", "a", 2, 3, "'\\r'"),
    "carriage return at the end": Bad(b">a\nAC\r", "a", 2, 3, "'\\r'"),
    "space within": Bad(b">a\nACGT\nAC GT\n", "a", 3, 3, "white space"),
    "trailing space": Bad(b">a\nACGT \n", "a", 2, 5, "white space"),
    "tab": Bad(b">a\nAC\tGT\n", "a", 2, 3, "white space"),
    "header within a line": Bad(b">a\nACGT>b\nACGT\n", "a", 2, 5, "'>'"),
    "carriage returns do not shift": Bad(b">a\r\nACGT\r\nAC*T\r\n", "a", 3, 3, "'*'"),
    "non-ASCII letter": Bad(">a\nACGTé\n".encode(), "a", 2, 5, "no nucleotide"),
    "NUL": Bad(b">a\nAC\x00GT\n", "a", 2, 3, "'\\x00'"),
    "comment": Bad(b">a\nAC\n;note\nGT\n", "a", 3, 1, "';'"),
} | {
    f"letter {letter}": Bad(f">a\nAC\n>b\nACGT\nAC{letter}T\n".encode(), "b", 5, 3, repr(letter))
    for letter in "EFIJLOPQXZefijlopqxz*-.07!?"
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_refusal_says_where(case: Bad, size: int) -> None:
    blocks = [case.content[start : start + size] for start in range(0, len(case.content), size)]
    with pytest.raises(InputError) as refusal:
        list(read_pieces(blocks, "x.fa"))
    error = refusal.value
    assert error.file == "x.fa"
    assert (error.record, error.line, error.position) == (case.record, case.line, case.position)
    if size >= 5:  # a file's kind is told by its first bytes, which come in one block
        assert case.says in str(error)
    assert error.fix


@settings(max_examples=100, deadline=None)
@given(text=fasta_texts(), data=st.data())
def test_illegal_letter_is_found_anywhere(text: Text, data: st.DataObject) -> None:
    lines = text.content.decode().split("\n")
    rows = [i for i, line in enumerate(lines) if line.strip() and not line.startswith(">")]
    row = data.draw(st.sampled_from(rows))
    at = data.draw(st.integers(0, len(lines[row].rstrip("\r")) - 1))
    lines[row] = lines[row][:at] + "!" + lines[row][at + 1 :]
    size = data.draw(st.integers(1, 50))
    content = "\n".join(lines).encode()
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    with pytest.raises(InputError) as refusal:
        list(read_pieces(blocks, "x.fa"))
    assert (refusal.value.line, refusal.value.position) == (row + 1, at + 1)


def test_names_are_checked_across_files() -> None:
    seen: dict[str, object] = {}
    list(read_pieces([b">a\nAC\n"], "one.fa", seen))
    with pytest.raises(InputError, match=r"two\.fa, record a, line 1: .*first in one\.fa"):
        list(read_pieces([b">a\nAC\n"], "two.fa", seen))


def test_endless_header_is_refused() -> None:
    with pytest.raises(InputError, match="does not end"):
        list(read_pieces([b">"] + [b"A" * BLOCK_BYTES] * 100, "x.fa"))


CONTENT = b">a\n" + b"ACGTNacgtn" * 200 + b"\n"


@pytest.mark.parametrize("compress", [gzip.compress, bgzip])
def test_cut_anywhere_is_refused(tmp_path: Path, compress) -> None:
    whole = compress(CONTENT)
    path = tmp_path / "cut.fa.gz"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as refusal:
            list(read_fasta(path))
        assert refusal.value.file == path


def test_bgzip_without_its_last_block(tmp_path: Path) -> None:
    path = tmp_path / "x.fa.gz"
    path.write_bytes(bgzip(CONTENT)[: -len(BGZIP_EOF)])
    with pytest.raises(InputError, match="no EOF block"):
        list(read_fasta(path))


@pytest.mark.parametrize("compress", [gzip.compress, bgzip])
def test_damaged_gzip(tmp_path: Path, compress) -> None:
    path = tmp_path / "x.fa.gz"
    whole = bytearray(compress(CONTENT))
    middle = len(whole) // 2
    whole[middle] ^= 0x55
    path.write_bytes(whole)
    with pytest.raises(InputError):
        list(read_fasta(path))
    path.write_bytes(compress(CONTENT) + b"more")
    with pytest.raises(InputError, match=r"damaged gzip|no EOF block"):
        list(read_fasta(path))


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.fa: cannot be read: No such file"):
        list(read_fasta(tmp_path / "none.fa"))
    with pytest.raises(InputError, match="Is a directory"):
        list(read_fasta(tmp_path))


def test_compressed_blocks_stay_small(tmp_path: Path) -> None:
    """A run of N compresses a thousandfold; it must not be decompressed at once."""
    path = tmp_path / "n.fa.gz"
    path.write_bytes(gzip.compress(b">a\n" + b"N" * 20_000_000))
    pieces = read_pieces(decompressed(raw_blocks(path), path), path)
    lengths = [len(piece.codes) for piece in pieces]
    assert sum(lengths) == 20_000_000
    assert max(lengths) <= BLOCK_BYTES


def test_codes_are_a_plain_array(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b">a\nACGTN\n>b\nacgtn\n")
    records = list(read_fasta(path))
    assert [record.codes.dtype for record in records] == [np.uint8] * 2
    assert [record.codes.tolist() for record in records] == [[0, 1, 2, 3, 4], [8, 9, 10, 11, 12]]
