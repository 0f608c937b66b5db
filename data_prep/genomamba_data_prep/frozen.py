"""Files that are written once: a second run that would write the same does nothing."""

from __future__ import annotations

from pathlib import Path

from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError


def write_once(path: str | Path, content: bytes, *, force: bool = False) -> bool:
    """Write a file atomically, unless it already has this content.

    Returns:
        Whether it was written.

    Raises:
        InputError: the file exists with other content and ``force`` is not set.
    """
    path = Path(path)
    if path.exists():
        if path.read_bytes() == content:
            return False
        if not force:
            raise other_content(path)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return True


def other_content(path: Path) -> InputError:
    """The error that says that a file is there and this run would change it."""
    return InputError(
        "exists, and this command would write something else; what was trained or measured with "
        "it would no longer be reproducible",
        file=path,
        fix="Choose another --output, or replace it with --force",
    )
