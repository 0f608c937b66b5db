"""The model card (README.md of an exported folder), from what the checkpoint says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genomamba.models import MambaConfig

_CAUSAL_EXAMPLE = """\
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
logits = model(**tokenizer("ACGTTGCA", return_tensors="pt")).logits  # A, C, G, T, N
print(logits[0, -1].softmax(-1).tolist())
"""

# ClassificationHead, in ten lines; pooling "last" leaves out the mean and the factor of length.
_CLASSIFIER_EXAMPLE = """\
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer
model, tokenizer = AutoModel.from_pretrained("."), AutoTokenizer.from_pretrained(".")
head, info = load_file("classifier.safetensors"), model.config.genomamba
hidden = model(**tokenizer("ACGTTGCA" * 16, return_tensors="pt")).last_hidden_state
a, g = (hidden @ head["gate_proj.weight"].T).chunk(2, dim=-1)
pooled = (a.sigmoid() * a * g)POOL
z = (pooled - head["running_mean"]) / (head["running_var"] + 1e-12).sqrt()FACTOR
logits = (z @ head["out_proj.weight"].T + head["out_proj.bias"]) / info.get("temperature", 1)
print(dict(zip(info["classes"], logits[0].softmax(-1).tolist())))
"""
_POOLING = {
    "mean": (".mean(1)", ' * (hidden.shape[1] / head["running_length"])'),
    "last": ("[:, -1]", ""),
}

_SSM_EXAMPLE = """\
from mamba_ssm import MambaLMHeadModel

model = MambaLMHeadModel.from_pretrained(".", device="cuda")
"""


def loading_example(layout: str, meta: Mapping[str, Any]) -> str:
    """Python that loads the folder it lies in and computes something."""
    if layout == "mamba-ssm":
        return _SSM_EXAMPLE
    if meta["task"] == "pretraining":
        return _CAUSAL_EXAMPLE
    pool, factor = _POOLING[meta["pooling"]]
    return _CLASSIFIER_EXAMPLE.replace("POOL", pool).replace("FACTOR", factor)


def find_metrics(path: Path, step: int | None) -> tuple[str, dict[str, Any]] | None:
    """A run's ``test.json`` or ``valid.json`` that is about this checkpoint, with the file's name.

    ``test.json`` names the checkpoint it tested; ``valid.json``, written during training, its step.
    """
    path = path.resolve()
    for name in ("test.json", "valid.json"):
        for folder in (path.parent, path.parent.parent):
            try:
                found = json.loads((folder / name).read_text(encoding="utf-8"))
                if found["step"] is not None:  # what training began with is in "checkpoint"
                    about = found["step"] == step
                else:
                    about = Path(found["checkpoint"]).resolve() == path
                if about:
                    return name, found
            except (OSError, ValueError, KeyError, TypeError):
                continue  # no such file, or another program's
    return None


def model_card(
    layout: str,
    meta: Mapping[str, Any],
    published: Mapping[str, Any],
    metrics: tuple[str, dict[str, Any]] | None,
) -> str:
    """The text of README.md.

    Args:
        layout: "hf", "mamba-ssm" or "safetensors".
        meta: a checkpoint's ``genomamba`` dictionary.
        published: of what checkpoint, by which version: see ``exporting``.
        metrics: see ``find_metrics``.
    """
    config = MambaConfig.from_dict(meta["config"])
    classifier = meta["task"] == "classification"
    head = ["---", "tags:", "- dna", "- genomics", "- mamba"]
    head += ["library_name: transformers"] if layout == "hf" else []
    kind = "sequence classifier" if classifier else "next-base model"
    lines = [*head, "---", "", f"# Mamba {kind} of DNA", ""]
    lines += [
        f"Width {config.d_model}, depth {config.n_layer}, state {config.d_state}. One token a "
        "base: A, C, G, T, N are 0 to 4. Causal: it reads one strand, left to right.",
        "",
    ]
    if layout == "safetensors":
        lines += ["Back to a checkpoint: `genomamba import DIR --output CHECKPOINT`.", ""]
    else:
        lines += ["```python", loading_example(layout, meta).rstrip(), "```", ""]
    lines += ["## Training", ""]
    length = meta.get("length")
    lines += _table("", {"task": meta["task"], "length of windows, bp": length, **published})
    lines += _table("data", _data(meta.get("data") or {}))
    if classifier:
        lines += ["Classes, in the order of the logits: " + ", ".join(meta["classes"]) + ".", ""]
    lines += ["## Results", "", *_results(metrics)]
    lines += ["## Shape", "", *_table("field", config.as_dict())]
    lines += ["## Limits", "", *_limits(layout, classifier, length)]
    return "\n".join(lines)


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in ("classes", "length")}


def _table(name: str, rows: Mapping[str, Any]) -> list[str]:
    """Rows whose value is unknown are left out."""
    known = {key: value for key, value in rows.items() if value is not None}
    if not known:
        return []
    cells = [f"| {key} | {_cell(value)} |" for key, value in known.items()]
    return [f"| {name} | |", "| --- | --- |", *cells, ""]


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.replace("|", "\\|").split())


def _results(metrics: tuple[str, dict[str, Any]] | None) -> list[str]:
    if metrics is None:
        return ["None were recorded beside the checkpoint.", ""]
    name, found = metrics
    split = "test" if name.startswith("test") else "validation"
    by_class = {f"of {name}": v for name, v in (found.get("accuracy_by_class") or {}).items()}
    rows = {"accuracy": found.get("accuracy"), "windows": found.get("examples")}
    rows |= {"perplexity": found.get("perplexity"), "bits a base": found.get("bits_per_base")}
    return _table(f"{split} split ({name})", rows | by_class)


def _limits(layout: str, classifier: bool, length: int | None) -> list[str]:
    limits = []
    if length:
        limits.append(f"- Trained on windows of {length:,} bp; other lengths are extrapolation.")
    if classifier:
        limits.append("- Every sequence gets one of the classes, whatever it is from.")
    if layout == "hf":
        limits += [
            "- There is no padding token: rows of a batch have one length.",
            "- The tokenizer reads every letter but A, C, G, T, U as N and drops white space.",
        ]
    return [*limits, ""]
