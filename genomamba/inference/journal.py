"""What a job did, one JSON object a line, each on the disk before the next begins."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Journal:
    """Appends entries to a file that one process writes.

    A line that a kill cut short is dropped when the file is opened again.

    Attributes:
        entries: those of earlier runs.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab+")
        self._file.seek(0)
        whole = self._file.read().rfind(b"\n") + 1
        self._file.truncate(whole)
        self.entries = list(read_journal(path))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: str, **what: Any) -> None:
        """Append an entry with the time, and flush it to the disk."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        who = {"pid": os.getpid(), "host": socket.gethostname()} if event == "start" else {}
        entry = {"event": event, "time": now} | who | what
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_journal(path: Path) -> Iterator[Entry]:
    """The whole lines of a journal."""
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)
