"""The folder in which a job works: OUT.parts/ with job.json, shards, journals and locks.

- ``job.json``: what the job is: inputs, options, checkpoint, records. Written once; whoever comes
  later, with the same command or as another task of the array, must bring the same.
- ``shard-000012.npz``: the results of a shard's windows. Written whole or not at all.
- ``journal.jsonl``, of an array's task ``journal.3-of-8.jsonl``: the shards that are done, with
  SHA-256 and times. A shard without an entry is done again.
- ``lock``: held alone by a run or a merge, shared by the array's tasks, which hold their own too.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from genomamba.inference.journal import Journal, read_journal
from genomamba.inference.lock import locked
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError

JOB, LOCK = "job.json", "lock"
KEYS = ("record", "start", "end", "n_count", "log_probabilities")


class Results(NamedTuple):
    """Windows, or a stream's steps, in order: the rows of a shard.

    Attributes:
        record: (n,) index of the record in the plan.
        start: (n,) first base.
        end: (n,) one past the last.
        n_count: (n,) N among them.
        log_probabilities: (n, strands, classes) float64; NaN where it was not classified.
    """

    record: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    n_count: npt.NDArray[np.int64]
    log_probabilities: npt.NDArray[np.float64]


class Parts:
    """The folder of the job that makes ``output``."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output.with_name(output.name + ".parts")

    @contextmanager
    def open(self, job: dict[str, Any], task: tuple[int, int] | None) -> Iterator[Journal]:
        """Hold the folder for a run; makes it if it is not there.

        Args:
            job: what the job is: plain values.
            task: which of how many tasks of an array; None for the only process.

        Raises:
            InputError: another process holds it, or it is of another job.
        """
        name = "" if task is None else f".{task[0]}-of-{task[1]}"
        self.path.mkdir(exist_ok=True)
        with ExitStack() as held:
            held.enter_context(locked(self.path / LOCK, shared=task is not None))
            if task is not None:
                held.enter_context(locked(self.path / (LOCK + name)))
            self._claim(job)
            yield held.enter_context(Journal(self.path / f"journal{name}.jsonl"))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder against every other process.

        Raises:
            InputError: another process holds it, or there is none.
        """
        if not (self.path / JOB).is_file():
            raise InputError(
                "there are no shards of this output",
                file=self.path,
                fix="Run `genomamba classify --shard i/n` first; a merged job has none",
            )
        with locked(self.path / LOCK):
            yield

    def job(self) -> dict[str, Any]:
        """What the job is."""
        return json.loads((self.path / JOB).read_bytes())

    def _claim(self, job: dict[str, Any]) -> None:
        path, content = self.path / JOB, json.dumps(job, indent=1).encode()
        if not path.exists():
            # Tasks of an array may come here at once: a link is made by one of them only.
            new = self.path / f".{JOB}.{os.getpid()}"
            new.write_bytes(content)
            try:
                os.link(new, path)
            except FileExistsError:
                pass
            finally:
                new.unlink()
        changes = list(differences(self.job(), json.loads(content)))
        if changes:
            raise InputError(
                "this folder is of a run with other inputs or options: " + "; ".join(changes),
                file=self.path,
                fix="Repeat that command, name another --output, or remove the folder",
            )

    def shard(self, index: int) -> Path:
        """A shard's file."""
        return self.path / f"shard-{index:06d}.npz"

    def write(self, index: int, results: Results) -> str:
        """Write a shard; returns its SHA-256."""
        content = io.BytesIO()
        np.savez(content, **dict(zip(KEYS, results, strict=True)))
        with atomic_file(self.shard(index)) as temporary:
            temporary.write_bytes(content.getbuffer())
        return hashlib.sha256(content.getbuffer()).hexdigest()

    def read(self, index: int, digest: str) -> Results:
        """Read a shard.

        Raises:
            InputError: it is not what was written.
        """
        content = self.shard(index).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise InputError("damaged", file=self.shard(index), fix="Remove it and run again")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Results(*(arrays[key] for key in KEYS))

    def journals(self) -> list[Path]:
        """The journals of all tasks."""
        return sorted(self.path.glob("journal*.jsonl"))

    def done(self) -> dict[int, str]:
        """SHA-256 of each shard that is done, by index."""
        entries = [entry for path in self.journals() for entry in read_journal(path)]
        done = {e["shard"]: e["sha256"] for e in entries if e["event"] == "shard"}
        return {index: digest for index, digest in done.items() if self.shard(index).is_file()}

    def remove(self) -> Path:
        """Remove the folder of a job that is complete; the journal stays, beside the output."""
        journal = self.output.with_name(self.output.name + ".journal.jsonl")
        with atomic_file(journal) as temporary:
            temporary.write_bytes(b"".join(path.read_bytes() for path in self.journals()))
        for pattern in ("shard-*.npz", ".shard-*", JOB, f".{JOB}.*", "journal*.jsonl", LOCK + "*"):
            for path in self.path.glob(pattern):
                path.unlink()
        if not any(self.path.iterdir()):
            self.path.rmdir()
        return journal


def differences(then: Any, now: Any, name: str = "") -> Iterator[str]:
    """What differs between two jobs, for people to read."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted(then.keys() | now.keys()):
            yield from differences(then.get(key), now.get(key), f"{name} {key}".strip())
    elif then != now and isinstance(then, list) and isinstance(now, list):
        if len(then) != len(now):
            yield f"{name}: {len(then):,} then, {len(now):,} now"
        else:
            at = next(i for i, pair in enumerate(zip(then, now, strict=True)) if pair[0] != pair[1])
            yield from differences(then[at], now[at], f"{name} {at + 1}")
    elif then != now:
        yield f"{name}: {then} then, {now} now"
