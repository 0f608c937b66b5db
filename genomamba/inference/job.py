"""What a job is, as plain values: kept in its folder, compared when it goes on, read to merge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genomamba.inference.inputs import Source
from genomamba.inference.options import Options
from genomamba.inference.plan import Plan, make_plan
from genomamba.inference.scan import Record, Scan

DIGEST_DIGITS = 16  # of the checkpoint's SHA-256, in tables


@dataclass(frozen=True)
class Job:
    """All that decides the output's bytes.

    Attributes:
        options: how it is done.
        sources: the files; only sample, name and label count.
        digests: SHA-256 of each file.
        plan: records and shards.
        checkpoint: SHA-256 of the checkpoint file.
        classes: its classes.
        outputs: names of the further tables by kind: windows, track.
    """

    options: Options
    sources: Sequence[Source]
    digests: Sequence[str]
    plan: Plan
    checkpoint: str
    classes: Sequence[str]
    outputs: dict[str, str]

    @classmethod
    def of(
        cls,
        options: Options,
        sources: Sequence[Source],
        found: Scan,
        checkpoint: Path,
        classes: Sequence[str],
        outputs: dict[str, str],
    ) -> Job:
        """The job of a command line."""
        with checkpoint.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        plan = make_plan(found.records, options)
        return cls(options, sources, found.digests, plan, digest, classes, outputs)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        inputs = [
            {"sample": s.sample, "file": s.name, "label": s.label, "sha256": digest}
            for s, digest in zip(self.sources, self.digests, strict=True)
        ]
        return {
            "genomamba": version("genomamba"),
            "checkpoint sha256": self.checkpoint,
            "classes": list(self.classes),
            "option": asdict(self.options),
            "output": self.outputs,
            "input": inputs,
            "record": [astuple(record) for record in self.plan.records],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Job:
        """The inverse of ``as_dict``, whose sources cannot be read."""
        options = Options(**values["option"])
        inputs = values["input"]
        return cls(
            options=options,
            sources=[Source(i["sample"], i["file"], Path(i["file"]), i["label"]) for i in inputs],
            digests=[i["sha256"] for i in inputs],
            plan=make_plan([Record(*fields) for fields in values["record"]], options),
            checkpoint=values["checkpoint sha256"],
            classes=values["classes"],
            outputs=values["output"],
        )
