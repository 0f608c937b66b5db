"""``genomamba export``: a checkpoint's network as a folder that other programs load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from genomamba.inference.publishing import huggingface, mamba_ssm
from genomamba.inference.publishing.card import find_metrics, model_card
from genomamba.inference.publishing.tokenizer import tokenizer_files
from genomamba.models import MambaConfig
from genomamba.training.checkpoint import META_KEY, model_of, read_checkpoint
from genomamba_data_prep.atomic import atomic_directory
from genomamba_data_prep.codes import N
from genomamba_data_prep.errors import InputError

RECORD = "genomamba.json"  # what the checkpoint says of itself, where config.json cannot hold it
WEIGHTS = "model.safetensors"
CLASSIFIER = "classifier.safetensors"
PUBLISHED = "published"  # in the record: of what file it was made


def export_checkpoint(checkpoint_path: Path, layout: str, output: Path) -> None:
    """Write the folder ``output``, whole or not at all.

    Args:
        checkpoint_path: of ``genomamba fit`` or ``import``.
        layout: "safetensors" (our names, every bit), "hf" or "mamba-ssm".
        output: a folder that does not exist yet.

    Raises:
        InputError: no checkpoint of ours, or one that the layout cannot hold.
        FileExistsError: the folder exists.
    """
    if not output.absolute().parent.is_dir():
        raise InputError("its folder does not exist", file=output, fix=f"mkdir -p {output.parent}")
    checkpoint = read_checkpoint(checkpoint_path)
    weights = model_of(checkpoint, checkpoint_path).state_dict()
    meta, step = checkpoint[META_KEY], checkpoint.get("global_step")
    published = {
        "checkpoint_sha256": _sha256(checkpoint_path),
        "step": step,
        "genomamba": version("genomamba"),
    }
    record = {**meta, PUBLISHED: published}
    with atomic_directory(output) as folder:
        try:
            _LAYOUTS[layout](folder, weights, record)
        except ValueError as error:
            raise InputError(
                f"{layout} cannot hold this model: {error}",
                file=checkpoint_path,
                fix="Export it --to safetensors, or a Mamba model --to hf",
            ) from error
        metrics = find_metrics(checkpoint_path, step)
        card = model_card(layout, meta, published, metrics)
        (folder / "README.md").write_text(card, encoding="utf-8")
        for path in folder.iterdir():  # safetensors makes files that nobody else may read
            path.chmod((folder / "README.md").stat().st_mode)


def _export_safetensors(folder: Path, weights: dict[str, torch.Tensor], record: Any) -> None:
    config = MambaConfig.from_dict(record["config"])
    if record["task"] == "pretraining" and config.tie_embeddings:
        del weights["head.weight"]  # the embedding's
    save_file(weights, folder / WEIGHTS)
    _write_json(folder / RECORD, record)


def _export_hf(folder: Path, weights: dict[str, torch.Tensor], record: Any) -> None:
    config, task = MambaConfig.from_dict(record["config"]), record["task"]
    _check_mamba(config)
    if record.get("readout_lengths"):
        raise ValueError("it judges each of several lengths by a map of its own, expected one map")
    if record.get("pooling") == "errors":
        raise ValueError("it pools errors of prediction, expected hidden vectors")
    model, classifier = huggingface.weights_out(weights, config, task)
    save_file(model, folder / WEIGHTS, metadata={"format": "pt"})
    dtype = str(weights["backbone.embedding.weight"].dtype).removeprefix("torch.")
    # In config.json, not in a file of its own, the record survives transformers' save_pretrained.
    fields = huggingface.config_fields(config, task) | {"dtype": dtype, "genomamba": record}
    _write_json(folder / "config.json", fields)
    for name, content in tokenizer_files().items():
        _write_json(folder / name, content)
    if task == "classification":
        save_file(classifier, folder / CLASSIFIER, metadata={"format": "pt"})
    else:
        generation = {"do_sample": True, "top_k": 0, "suppress_tokens": [N]}
        _write_json(folder / "generation_config.json", generation)


def _export_mamba_ssm(folder: Path, weights: dict[str, torch.Tensor], record: Any) -> None:
    if record["task"] != "pretraining":
        raise ValueError("it is a classifier, and mamba-ssm has none")
    config = MambaConfig.from_dict(record["config"])
    _check_mamba(config)
    _write_json(folder / "config.json", mamba_ssm.config_fields(config))
    torch.save(mamba_ssm.weights_out(weights, config), folder / mamba_ssm.WEIGHTS)
    _write_json(folder / RECORD, record)


def _check_mamba(config: MambaConfig) -> None:
    if config.mixer != "mamba":
        raise ValueError(f"its mixer is {config.mixer}, expected mamba")


_LAYOUTS = {
    "safetensors": _export_safetensors,
    "hf": _export_hf,
    "mamba-ssm": _export_mamba_ssm,
}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
