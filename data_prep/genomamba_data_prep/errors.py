"""The one error that a user's input can raise."""

from __future__ import annotations

import os


class InputError(ValueError):
    """Bad input: what is wrong, where, what was expected and what to do.

    The command line prints it as one message and exits with code 2; a library caller catches it.

    Args:
        what: what is wrong, with what was expected.
        file: the file it is in.
        record: the FASTA record or table row's name.
        line: line number, from 1.
        position: position in that line or record, from 1, as an editor counts.
        fix: what the user can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        file: str | os.PathLike[str] | None = None,
        record: str | None = None,
        line: int | None = None,
        position: int | None = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.file, self.record = what, file, record
        self.line, self.position, self.fix = line, position, fix
        places = [
            f"{name} {value}"
            for name, value in (("record", record), ("line", line), ("position", position))
            if value is not None
        ]
        where = ", ".join(([os.fspath(file)] if file is not None else []) + places)
        message = f"{where}: {what}" if where else what
        super().__init__(f"{message}. {fix}" if fix else message)
