"""Tab-separated tables with a header line, read with the line number of every mistake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from genomamba_data_prep.errors import InputError

Row = dict[str, str]


def read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number, from 1, and tab-separated fields of each line that is not blank.

    Raises:
        InputError: cannot be read, or is not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", file=path, fix="Check the path and its permissions"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError("not a text file in UTF-8", file=path, position=error.start + 1) from None
    # Not str.splitlines, for which form feeds and the like end lines, too.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, [field.strip() for field in line.split("\t")]


def read_table(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> list[tuple[int, Row]]:
    """Rows of a table whose header names ``columns``, in any order, and perhaps ``optional``.

    Returns:
        Line number and fields by column; "" for an optional column that is missing or empty.

    Raises:
        InputError: no header, a column missing, twice or unknown, a row with another number of
            fields or an empty one, no rows at all.
    """
    lines = read_lines(path)
    expected = " ".join(columns) + "".join(f" [{name}]" for name in optional)
    number, header = next(lines, (1, []))
    unknown = [name for name in header if name not in {*columns, *optional}]
    missing = [name for name in columns if name not in header]
    if missing or unknown or len(set(header)) != len(header):
        found = " ".join(header) if header else "nothing"
        raise InputError(
            f"expected a header line with the tab-separated columns {expected}, got {found}",
            file=path,
            line=number,
        )
    rows = []
    for number, fields in lines:
        # An editor that strips trailing blanks also strips the tab before an empty last field.
        fields += [""] * (len(header) - len(fields) if header[-1] in optional else 0)
        if len(fields) != len(header):
            raise InputError(
                f"expected {len(header)} tab-separated fields, got {len(fields)}",
                file=path,
                line=number,
            )
        row = dict.fromkeys(optional, "") | dict(zip(header, fields, strict=True))
        for name in columns:
            if not row[name]:
                raise InputError(f"the column {name} is empty", file=path, line=number)
        rows.append((number, row))
    if not rows:
        raise InputError(f"no rows below the header; expected {expected}", file=path)
    return rows


def read_integer(text: str, name: str, *, file: Path, line: int) -> int:
    """A coordinate or count that is not negative.

    Raises:
        InputError: anything else.
    """
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{name} {text!r} is not a whole number from 0", file=file, line=line)
    return int(text)
