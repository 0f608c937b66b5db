"""``genomamba import``: a folder in one of the exported layouts as a checkpoint."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad

from genomamba.data.tokens import VOCABULARY
from genomamba.inference.publishing import huggingface, mamba_ssm
from genomamba.inference.publishing.exporting import CLASSIFIER, PUBLISHED, RECORD, WEIGHTS
from genomamba.models import MambaConfig
from genomamba.models.config import BASELINE_FIELDS, RUN_FIELDS
from genomamba.training.checkpoint import FORMAT_VERSION, META_KEY, MODEL_PREFIX, load_model
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"  # of weights in several files


def import_folder(folder: Path, output: Path) -> dict[str, Any]:
    """Write the checkpoint ``output``, whole or not at all; returns its ``genomamba`` dictionary.

    It serves what opens a checkpoint for its network: classify, embed, generate, fine-tuning with
    ``model.init_args.pretrained``. It holds no optimiser, so that training cannot resume from it.

    Raises:
        InputError: the folder is in no layout we know, is damaged, or contradicts itself.
    """
    if not folder.is_dir():
        raise InputError("no such folder", file=folder, fix="Give the folder of config.json")
    if not output.absolute().parent.is_dir():
        raise InputError("its folder does not exist", file=output, fix=f"mkdir -p {output.parent}")
    config, record, weights = _read(folder)
    meta = _meta(config, record, folder / CONFIG)
    weights = _fit_rows(weights, config, MambaConfig.from_dict(meta["config"]), folder)
    checkpoint = {
        "state_dict": {MODEL_PREFIX + name: value for name, value in weights.items()},
        META_KEY: meta,
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": version("lightning"),
    }
    with atomic_file(output) as temporary:
        torch.save(checkpoint, temporary)
        try:
            load_model(temporary)  # all that is checked when a checkpoint is opened
        except (KeyError, TypeError, ValueError) as error:
            what = error.what if isinstance(error, InputError) else f"damaged record: {error!r}"
            raise InputError(what, file=folder, fix="Export it or copy it again") from error
    return meta


def _read(folder: Path) -> tuple[MambaConfig, dict[str, Any] | None, dict[str, Tensor]]:
    """Config, with the padding of the vocabulary that the weights have, record, and weights."""
    fields = _read_json(folder / CONFIG) if (folder / CONFIG).exists() else None
    record = _read_json(folder / RECORD) if (folder / RECORD).exists() else None
    try:
        if fields is None and record is not None:
            return MambaConfig.from_dict(record["config"]), record, _safetensors(folder)
        if fields is not None and fields.get("model_type") == huggingface.MODEL_TYPE:
            config, record = huggingface.read_config(fields), fields.get("genomamba")
            model = _safetensors(folder)
            classifier = _load(folder / CLASSIFIER) if _is_classifier(record) else None
            return config, record, huggingface.weights_in(model, classifier)
        if fields is not None and {"d_model", "n_layer"} <= set(fields):
            model = _load(folder / mamba_ssm.WEIGHTS)
            return mamba_ssm.read_config(fields), record, mamba_ssm.weights_in(model)
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        file = folder / (CONFIG if fields is not None else RECORD)
        raise InputError(f"not a Mamba model of ours: {error}", file=file) from error
    raise InputError(
        "the folder holds no Mamba model: expected config.json of transformers "
        f"(model_type mamba) or mamba-ssm (d_model, n_layer), or our {RECORD}",
        file=folder,
        fix="Give a folder of `genomamba export`, or of save_pretrained of a Mamba (1) model",
    )


def _is_classifier(record: Any) -> bool:
    return isinstance(record, dict) and record.get("task") == "classification"


def _meta(config: MambaConfig, record: Any, path: Path) -> dict[str, Any]:
    """The checkpoint's dictionary: the record's, if its config is the model's."""
    if config.vocab_size != len(VOCABULARY):
        raise InputError(
            f"the model's vocabulary has {config.vocab_size:,} tokens, expected the "
            f"{len(VOCABULARY)} of DNA, {' '.join(VOCABULARY)}, in this order",
            file=path,
            fix="Import a DNA model; of one whose rows are padded, set vocab_size and leave out "
            "the padding",
        )
    if record is None:
        default = MambaConfig()  # so that a shipped config describes the model, for fine-tuning
        config = replace(config, pad_vocab_size_multiple=default.pad_vocab_size_multiple)
        if replace(config, dt_rank="auto").rank == config.rank:
            config = replace(config, dt_rank="auto")
        return {
            "format": FORMAT_VERSION,
            "task": "pretraining",
            "config": config.as_dict(),
            "vocabulary": list(VOCABULARY),
            "length": None,
            "data": {},
        }
    try:
        recorded = MambaConfig.from_dict(record["config"])
        task, names, form = record["task"], record["vocabulary"], record["format"]
        classes = record["classes"] if task == "classification" else None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the genomamba record is damaged: {error!r}", file=path) from error
    if task not in huggingface.CLASSES or form != FORMAT_VERSION or names != list(VOCABULARY):
        raise InputError(
            f"the genomamba record is of another program: task {task!r}, format {form!r}, "
            f"vocabulary {names!r}",
            file=path,
            fix="Use the genomamba version that wrote it",
        )
    if task == "classification" and not (isinstance(classes, list) and len(classes) > 1):
        raise InputError(f"expected a list of classes, got {classes!r}", file=path)
    differing = [
        f"{name} {there!r} in the record, {here!r} beside it"
        for name, here, there in _differences(config, recorded)
    ]
    if differing:
        raise InputError(
            f"the folder contradicts itself: {'; '.join(differing)}",
            file=path,
            fix="Undo the change, or remove the genomamba record to import without it",
        )
    return {name: value for name, value in record.items() if name != PUBLISHED}


def _differences(config: MambaConfig, recorded: MambaConfig) -> list[tuple[str, Any, Any]]:
    here, there = (replace(one, dt_rank=one.rank).as_dict() for one in (config, recorded))
    # Layouts that hold Mamba alone cannot say the baselines' fields, which change nothing in it.
    free = (*RUN_FIELDS, *BASELINE_FIELDS, "pad_vocab_size_multiple")
    return [(n, here[n], there[n]) for n in here if n not in free and here[n] != there[n]]


def _fit_rows(
    weights: dict[str, Tensor], there: MambaConfig, config: MambaConfig, folder: Path
) -> dict[str, Tensor]:
    """The weights with the tied head and the padding of ``config``; zero where it is not theirs."""
    embedding = weights.get("backbone.embedding.weight")
    if embedding is None:
        raise InputError(
            f"the weights have no embedding; they begin with {', '.join(sorted(weights)[:3])}",
            file=folder,
            fix="Save a whole MambaForCausalLM; a bare MambaModel has no head",
        )
    head = weights.get("head.weight")
    tied = config.tie_embeddings and "head.out_proj.weight" not in weights
    if tied and head is not None and not torch.equal(head, embedding):
        raise InputError(
            "lm_head.weight differs from the embedding, but the config says that they are tied",
            file=folder,
            fix="Set tie_word_embeddings (of mamba-ssm: tie_embeddings) to false",
        )
    if tied:
        weights = weights | {"head.weight": embedding}
    fitted = {}
    for name, value in weights.items():
        rows, differ = there.padded_vocab_size, there.padded_vocab_size != config.padded_vocab_size
        embeds = name in ("backbone.embedding.weight", "head.weight")
        if embeds and differ and value.ndim == 2 and len(value) == rows:  # else found out later
            missing = config.padded_vocab_size - config.vocab_size
            value = pad(value[: config.vocab_size], (0, 0, 0, missing))
        # Half types widen without loss; the checkpoint's model is at least float32.
        half = value.dtype in (torch.float16, torch.bfloat16)
        fitted[name] = value.float() if half else value
    return fitted


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"not JSON: {error}", file=path) from error
    if not isinstance(content, dict):
        raise InputError(f"expected a JSON object, got {type(content).__name__}", file=path)
    return content


def _safetensors(folder: Path) -> dict[str, Tensor]:
    """The weights of ``model.safetensors``, or of the files that its index names."""
    if not (folder / INDEX).exists():
        return _load(folder / WEIGHTS)
    files = _read_json(folder / INDEX).get("weight_map")
    names = list(files.values()) if isinstance(files, dict) else []
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise InputError("expected weight_map to name files of this folder", file=folder / INDEX)
    weights: dict[str, Tensor] = {}
    for name in dict.fromkeys(names):
        weights |= _load(folder / name)
    return weights


def _load(path: Path) -> dict[str, Tensor]:
    """A file's tensors; nothing in it is run."""
    if not path.is_file():
        raise InputError(
            "no such file beside config.json", file=path, fix="Save the weights as safetensors"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(
            "damaged, or it holds more than weights", file=path, fix="Copy or save it again"
        ) from error
    if not (isinstance(content, dict) and all(isinstance(v, Tensor) for v in content.values())):
        raise InputError("expected a dictionary of tensors", file=path)
    return content
