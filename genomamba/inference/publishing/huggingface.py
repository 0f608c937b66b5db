"""The names of Hugging Face transformers: ``MambaForCausalLM``, ``MambaModel``, ``MambaConfig``.

A folder of theirs holds ``config.json`` and ``model.safetensors``. The names of
``MambaModel`` lack "backbone." in front. A tied ``lm_head.weight`` is not stored. Their
``vocab_size`` is the embedding's number of rows, so that padded rows are left out on the way there
and made anew on the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from genomamba.models import MambaConfig

MODEL_TYPE = "mamba"
CLASSES = {"pretraining": "MambaForCausalLM", "classification": "MambaModel"}  # by task
BACKBONE, HEAD = "backbone.", "head."

# Ours and theirs. The first ones shape the function; the others only fresh weights.
FUNCTION_FIELDS = {
    "d_model": "hidden_size",
    "n_layer": "num_hidden_layers",
    "vocab_size": "vocab_size",
    "d_state": "state_size",
    "d_conv": "conv_kernel",
    "expand": "expand",
    "dt_rank": "time_step_rank",
    "conv_bias": "use_conv_bias",
    "bias": "use_bias",
    "norm_epsilon": "layer_norm_epsilon",
    "residual_in_fp32": "residual_in_fp32",
}
START_FIELDS = {
    "dt_min": "time_step_min",
    "dt_max": "time_step_max",
    "dt_init": "time_step_init_scheme",
    "dt_scale": "time_step_scale",
    "dt_init_floor": "time_step_floor",
}
TIED = "tie_word_embeddings"  # left out of older files where it is true


def config_fields(config: MambaConfig, task: str) -> dict[str, Any]:
    """What ``config.json`` says of a model."""
    ours = config.as_dict() | {"dt_rank": config.rank}
    return {
        "architectures": [CLASSES[task]],
        "model_type": MODEL_TYPE,
        **{theirs: ours[name] for name, theirs in (FUNCTION_FIELDS | START_FIELDS).items()},
        TIED: config.tie_embeddings,
        "intermediate_size": config.d_inner,
        "hidden_act": "silu",
        # Their default is 0, which is A: generation would end at the first A.
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "use_cache": True,
    }


def read_config(fields: Mapping[str, Any]) -> MambaConfig:
    """The inverse of ``config_fields``, without padding of the vocabulary.

    Raises:
        ValueError: a field is missing, out of range, or says what no Mamba model of ours does.
    """
    missing = [name for name in FUNCTION_FIELDS.values() if name not in fields]
    if missing:
        raise ValueError(f"config.json: expected the fields {', '.join(missing)}, got none")
    if fields.get("hidden_act", "silu") not in ("silu", "swish"):
        raise ValueError(f"hidden_act: expected 'silu', got {fields['hidden_act']!r}")
    ours = {name: fields[theirs] for name, theirs in FUNCTION_FIELDS.items()}
    ours |= {name: fields[theirs] for name, theirs in START_FIELDS.items() if theirs in fields}
    config = MambaConfig(**ours, tie_embeddings=fields.get(TIED, True), pad_vocab_size_multiple=1)
    if fields.get("intermediate_size", config.d_inner) != config.d_inner:
        raise ValueError(
            f"intermediate_size: expected expand * hidden_size = {config.d_inner}, "
            f"got {fields['intermediate_size']!r}"
        )
    return config


def weights_out(
    weights: Mapping[str, Tensor], config: MambaConfig, task: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of ``model.safetensors`` and, of a classifier, of ``classifier.safetensors``."""
    model, classifier = {}, {}
    for name, value in weights.items():
        if name == "backbone.embedding.weight":
            name, value = "backbone.embeddings.weight", value[: config.vocab_size]
        if task == "classification":
            if name.startswith(HEAD):
                classifier[name.removeprefix(HEAD)] = value.contiguous()
            else:
                model[name.removeprefix(BACKBONE)] = value.contiguous()
        elif name != "head.weight":
            model[name] = value.contiguous()
        elif not config.tie_embeddings:
            model["lm_head.weight"] = value[: config.vocab_size].contiguous()
    return model, classifier


def weights_in(
    model: Mapping[str, Tensor], classifier: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """The inverse of ``weights_out``; of a causal model ``classifier`` is None."""
    if classifier is not None:
        model = {BACKBONE + name: value for name, value in model.items()}
        model |= {HEAD + name: value for name, value in classifier.items()}
    ours = {"backbone.embeddings.weight": "backbone.embedding.weight"}
    ours |= {"lm_head.weight": "head.weight"}
    return {ours.get(name, name): value for name, value in model.items()}
