"""What a training run left in its folder: config, checkpoint, metrics."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from genomamba.inference.report.training import Curve, read_curves
from genomamba.training.checkpoint import META_KEY, model_of, read_checkpoint
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.progress import Progress

LAST = Path("checkpoints") / "last.ckpt"
CHUNK = 1 << 24  # bytes
FIX = "Give --run the folder that `genomamba fit --run` wrote"


@dataclass(frozen=True)
class RunRecord:
    """A training run.

    Attributes:
        checkpoint: the file that the figures are of.
        sha256: its digest.
        meta: what it says of the model and its data.
        steps: optimiser steps that it has made; None if the file does not say.
        parameters: numbers in the model.
        seed: of all that is random but the data; None if the config does not say.
        config: the text of the run's config.yaml.
        curves: what was logged, by metric.
    """

    checkpoint: Path
    sha256: str
    meta: dict[str, Any]
    steps: int | None
    parameters: int
    seed: int | None
    config: str
    curves: dict[str, Curve]


def read_run(run: Path, checkpoint: Path | None = None) -> RunRecord:
    """Read a run's folder.

    Args:
        run: the folder.
        checkpoint: of the run; without one its last.

    Raises:
        InputError: no such folder, a file of it missing or damaged, or no classifier.
    """
    if not run.is_dir():
        raise InputError("expected the folder of a training run", file=run, fix=FIX)
    curves = read_curves(run / "metrics.csv")
    config, seed = _config(run / "config.yaml")
    checkpoint = run / LAST if checkpoint is None else checkpoint
    content = read_checkpoint(checkpoint)
    meta = content[META_KEY]
    if not meta.get("classes"):
        raise InputError(
            f"expected a classifier's checkpoint, got one of {meta.get('task')}",
            file=checkpoint,
            fix="The report is of a run that `genomamba fit --config species/base` made",
        )
    return RunRecord(
        checkpoint=checkpoint,
        sha256=_sha256(checkpoint),
        meta=meta,
        steps=content.get("global_step"),
        parameters=sum(p.numel() for p in model_of(content, checkpoint).parameters()),
        seed=seed,
        config=config,
        curves=curves,
    )


def _config(path: Path) -> tuple[str, int | None]:
    """The text, and the seed in it."""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise InputError(
            f"the run's config cannot be read: {error.strerror}", file=path, fix=FIX
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"expected a run's config as YAML: {what}", file=path, fix=FIX) from None
    seed = content.get("seed_everything") if isinstance(content, dict) else None
    return text, seed if isinstance(seed, int) else None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file, Progress("hashing the checkpoint", path.stat().st_size) as bar:
        while block := file.read(CHUNK):
            digest.update(block)
            bar.advance(len(block))
    return digest.hexdigest()
