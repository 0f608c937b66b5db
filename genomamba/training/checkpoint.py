"""Checkpoints: read without unpickling code, checked when opened; no Lightning, to start fast.

A checkpoint is Lightning's file. Under the key ``genomamba`` it carries a plain dictionary that
says what the weights are: format, task, config, vocabulary, window length and data; of a
classifier, classes and pooling too, and of a calibrated one its temperature, which divides the
logits (`genomamba evaluate --fit-temperature`); without it that is 1.
"""

from __future__ import annotations

import math
import os
import pickle
from typing import Any

import torch
from torch import nn

from genomamba.data.tokens import VOCABULARY
from genomamba.models import MambaConfig, MambaForClassification, MambaForPretraining
from genomamba.models.heads import EXPANSION
from genomamba_data_prep.errors import InputError

META_KEY = "genomamba"
FORMAT_VERSION = 1
MODEL_PREFIX = "model."  # a task's network is its attribute `model`

Path = str | os.PathLike[str]


def read_checkpoint(
    path: Path, map_location: Any = "cpu", vocabulary: tuple[str, ...] | None = VOCABULARY
) -> dict[str, Any]:
    """A checkpoint's content, after the checks that need no data.

    Args:
        path: the file.
        map_location: where to put the tensors.
        vocabulary: that the model must have; None is any.

    Raises:
        InputError: no file, not a genomamba checkpoint, damaged, of another format version or with
            another vocabulary.
    """
    if not os.path.isfile(path):
        last = os.path.join(path, "checkpoints", "last.ckpt")
        raise InputError(
            "no such checkpoint" + (": it is a folder" if os.path.isdir(path) else ""),
            file=path,
            fix=f"The run's is {last}" if os.path.isfile(last) else "Check the path",
        )
    with open(path, "rb") as file:  # what cannot be opened is the system's to say
        try:
            checkpoint = torch.load(file, map_location=map_location, weights_only=True)
        except (
            pickle.UnpicklingError,
            OSError,
            RuntimeError,
            EOFError,
            ValueError,
            KeyError,
        ) as error:
            raise InputError(
                "not a checkpoint, or damaged, or it holds more than weights and plain values",
                file=path,
                fix="Use a .ckpt file that `genomamba fit` wrote",
            ) from error
    meta = checkpoint.get(META_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict):
        raise InputError(
            "a checkpoint of another program: it has no genomamba entry",
            file=path,
            fix="Use a .ckpt file that `genomamba fit` wrote",
        )
    if meta.get("format") != FORMAT_VERSION:
        raise InputError(
            f"the checkpoint has format version {meta.get('format')}, this genomamba reads "
            f"{FORMAT_VERSION}",
            file=path,
            fix="Use the genomamba version that wrote it",
        )
    if vocabulary is not None:
        check_vocabulary(meta, vocabulary, path)
    temperature = meta.get("temperature", 1.0)
    if not isinstance(temperature, float) or not 0 < temperature < math.inf:
        raise InputError(
            f"the checkpoint's temperature is {temperature!r}, expected a positive number",
            file=path,
            fix="Fit it again: genomamba evaluate --fit-temperature",
        )
    return checkpoint


def check_vocabulary(
    meta: dict[str, Any], vocabulary: tuple[str, ...], path: Path | None = None
) -> None:
    """That a model's tokens are these.

    Raises:
        InputError: they are not.
    """
    if tuple(meta["vocabulary"]) != vocabulary:
        raise InputError(
            f"the checkpoint's vocabulary is {' '.join(meta['vocabulary'])}, expected "
            f"{' '.join(vocabulary)}",
            file=path,
            fix="Use a checkpoint of a DNA model that this genomamba trained"
            if vocabulary == VOCABULARY
            else "Use a checkpoint of the same task",
        )


def check_classes(meta: dict[str, Any], classes: tuple[str, ...], path: Path | None = None) -> None:
    """That a classifier's classes are the data's, in the same order.

    Raises:
        InputError: they are not.
    """
    if tuple(meta.get("classes") or ()) != classes:
        raise InputError(
            f"the checkpoint's classes are {', '.join(meta.get('classes') or ('none',))}; the "
            f"data's are {', '.join(classes)}; the order counts",
            file=path,
            fix="Use the species set it was trained on, or order its rows alike",
        )


def load_model(
    path: Path, map_location: Any = "cpu", vocabulary: tuple[str, ...] | None = VOCABULARY
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint, in evaluation mode, and what the checkpoint says of it.

    Args:
        path: the file.
        map_location: where to put the tensors.
        vocabulary: that the model must have; None is any.

    Returns:
        ``MambaForClassification`` or ``MambaForPretraining``, and the ``genomamba`` dictionary.

    Raises:
        InputError: as `read_checkpoint`; or the weights do not fit the config.
    """
    checkpoint = read_checkpoint(path, map_location, vocabulary)
    return model_of(checkpoint, path), checkpoint[META_KEY]


def check_streams(config: MambaConfig, path: Path) -> None:
    """That a model packs short sequences and reads long ones piece by piece, as commands do.

    Raises:
        InputError: its mixer does not.
    """
    if not (config.can("packing") and config.can("state")):
        raise InputError(
            f"its mixer, {config.mixer}, reads one whole sequence a row and carries no state on; "
            "this command packs short sequences and reads long ones in pieces",
            file=path,
            fix="Use `genomamba validate` or `test`, or a checkpoint of mixer mamba or s4d",
        )


def model_of(checkpoint: dict[str, Any], path: Path) -> nn.Module:
    """The network of a checkpoint's content, in evaluation mode; ``path`` is for messages."""
    meta = checkpoint[META_KEY]
    config = MambaConfig.from_dict(meta["config"])
    model: nn.Module
    if meta["task"] == "classification":
        lengths = meta.get("readout_lengths", ())  # both are written where they are not the default
        expansion = meta.get("expansion", EXPANSION)
        n_classes, pooling = len(meta["classes"]), meta["pooling"]
        model = MambaForClassification(config, n_classes, pooling, lengths, expansion)
    else:
        model = MambaForPretraining(config)
    weights = {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(MODEL_PREFIX)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"the weights do not fit the config: {error}", file=path) from error
    return model.eval()
