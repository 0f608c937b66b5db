"""Out to each layout and back: the same weights, or an error that says what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genomamba.cli import main
from genomamba.data.tokens import VOCABULARY
from genomamba.inference.publishing import huggingface, mamba_ssm
from genomamba.models import MambaConfig, MambaForPretraining
from genomamba.models.config import BASELINE_FIELDS
from genomamba.training.checkpoint import load_model, read_checkpoint

LAYOUTS = ("safetensors", "hf", "mamba-ssm")
SHAPE = {"d_model": 12, "n_layer": 2, "d_state": 3, "d_conv": 3, "dt_rank": 2}


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., Path]:
    """A pretraining checkpoint of random weights; keywords are config fields."""

    def save(name: str = "model.ckpt", **fields: object) -> Path:
        torch.manual_seed(0)
        config = MambaConfig.from_dict(SHAPE | fields)
        weights = MambaForPretraining(config).state_dict()
        meta = {
            "format": 1,
            "task": "pretraining",
            "config": config.as_dict(),
            "vocabulary": list(VOCABULARY),
            "length": 1024,
            "data": {"set_digest": "ab12", "seed": 3},
        }
        content = {"state_dict": {f"model.{name}": value for name, value in weights.items()}}
        torch.save(content | {"genomamba": meta, "global_step": 7}, tmp_path / name)
        return tmp_path / name

    return save


def _export(checkpoint: Path, layout: str, folder: Path) -> Path:
    arguments = ["export", str(checkpoint), "--to", layout, "--output", str(folder)]
    assert main(arguments) == 0
    return folder


def _import(folder: Path, output: Path) -> int:
    return main(["import", str(folder), "--output", str(output)])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("fields", [{}, {"bias": True, "conv_bias": False, "dt_rank": "auto"}])
def test_there_and_back(tmp_path: Path, save_model, layout: str, tied: bool, fields) -> None:
    checkpoint = save_model(tie_embeddings=tied, residual_in_fp32=False, **fields)
    folder = _export(checkpoint, layout, tmp_path / "out")
    assert _import(folder, tmp_path / "back.ckpt") == 0
    model, meta = load_model(checkpoint)
    back, meta_back = load_model(tmp_path / "back.ckpt")
    assert meta_back == meta
    tokens = torch.randint(0, 5, (2, 40))
    assert torch.equal(model(tokens), back(tokens))


def test_classifier_there_and_back(tmp_path: Path, checkpoint: Path) -> None:
    for layout in ("safetensors", "hf"):
        folder = _export(checkpoint, layout, tmp_path / layout)
        assert _import(folder, tmp_path / "back.ckpt") == 0
        model, meta = load_model(checkpoint)
        back, meta_back = load_model(tmp_path / "back.ckpt")
        assert meta_back == meta
        tokens = torch.randint(0, 5, (2, 64))
        assert torch.equal(model(tokens), back(tokens))


def test_names_of_hugging_face(tmp_path: Path, save_model) -> None:
    """As in transformers' modeling_mamba.py and configuration_mamba.py."""
    checkpoint = save_model(norm_epsilon=1e-6, tie_embeddings=False)
    folder = _export(checkpoint, "hf", tmp_path / "out")
    weights, config = load_file(folder / "model.safetensors"), _json(folder / "config.json")
    assert weights["backbone.embeddings.weight"].shape == (5, 12)
    assert weights["lm_head.weight"].shape == (5, 12)
    assert weights["backbone.layers.1.mixer.x_proj.weight"].shape == (2 + 2 * 3, 24)
    assert weights["backbone.layers.1.mixer.conv1d.weight"].shape == (24, 1, 3)
    assert "backbone.norm_f.weight" in weights
    assert config["layer_norm_epsilon"] == 1e-6
    assert config["time_step_rank"] == 2
    assert config["tie_word_embeddings"] is False
    assert config["vocab_size"] == 5
    assert config["eos_token_id"] is None
    assert config["genomamba"]["config"]["pad_vocab_size_multiple"] == 8


def test_names_of_mamba_ssm(tmp_path: Path, save_model) -> None:
    """As in mamba_ssm/models/{mixer_seq_simple,config_mamba}.py and modules/mamba_simple.py."""
    folder = _export(save_model(), "mamba-ssm", tmp_path / "out")
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    mixer = {
        "A_log": (24, 3),
        "D": (24,),
        "in_proj.weight": (48, 12),
        "conv1d.weight": (24, 1, 3),
        "conv1d.bias": (24,),
        "x_proj.weight": (8, 24),
        "dt_proj.weight": (24, 2),
        "dt_proj.bias": (24,),
        "out_proj.weight": (12, 24),
    }
    expected = {"backbone.embedding.weight": (5, 12), "backbone.norm_f.weight": (12,)}
    expected["lm_head.weight"] = (5, 12)
    for i in range(2):
        expected[f"backbone.layers.{i}.norm.weight"] = (12,)
        expected |= {f"backbone.layers.{i}.mixer.{name}": shape for name, shape in mixer.items()}
    assert {name: tuple(value.shape) for name, value in weights.items()} == expected
    config = _json(folder / "config.json")
    # Its config is a dataclass: a field of another name is a TypeError there.
    assert set(config) <= {
        *("d_model", "d_intermediate", "n_layer", "vocab_size", "ssm_cfg", "attn_layer_idx"),
        *("attn_cfg", "rms_norm", "residual_in_fp32", "fused_add_norm"),
        *("pad_vocab_size_multiple", "tie_embeddings"),
    }
    assert config["ssm_cfg"]["dt_rank"] == 2


def test_padded_rows_of_mamba_ssm_are_kept(tmp_path: Path, save_model) -> None:
    checkpoint = save_model()
    folder = _export(checkpoint, "mamba-ssm", tmp_path / "out")
    (folder / "genomamba.json").unlink()
    _edit(folder / "config.json", pad_vocab_size_multiple=8)
    model, _ = load_model(checkpoint)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    for name in ("backbone.embedding.weight", "lm_head.weight"):
        weights[name] = model.state_dict()["backbone.embedding.weight"]
    torch.save(weights, folder / "pytorch_model.bin")
    assert _import(folder, tmp_path / "back.ckpt") == 0
    back, meta = load_model(tmp_path / "back.ckpt")
    assert meta["config"]["pad_vocab_size_multiple"] == 8
    tokens = torch.randint(0, 5, (1, 9))
    assert torch.equal(model(tokens), back(tokens))


def test_card_tells_what_the_run_recorded(tmp_path: Path, checkpoint: Path, save_model) -> None:
    metrics = {"step": 7, "checkpoint": None, "accuracy": 0.75, "examples": 40}
    (tmp_path / "valid.json").write_text(json.dumps(metrics))
    folder = _export(save_model(), "hf", tmp_path / "out")
    card = (folder / "README.md").read_text()
    for text in ("ab12", "1024", "0.75", "validation split", "checkpoint_sha256"):
        assert text in card
    (tmp_path / "valid.json").write_text(json.dumps(metrics | {"step": 8}))
    other = _export(save_model(), "mamba-ssm", tmp_path / "other")
    assert "None were recorded" in (other / "README.md").read_text()
    metrics = {"step": 7, "checkpoint": None, "perplexity": 3.5, "bits_per_base": 1.8074}
    (tmp_path / "valid.json").write_text(json.dumps(metrics))
    card = (_export(save_model(), "hf", tmp_path / "next") / "README.md").read_text()
    assert "| perplexity | 3.5 |\n| bits a base | 1.8074 |" in card
    classes = (_export(checkpoint, "hf", tmp_path / "classifier") / "README.md").read_text()
    assert "ape, bear, cat" in classes
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 1  # what the umask says, not what safetensors does


def test_what_mamba_ssm_cannot_hold(tmp_path: Path, checkpoint: Path, save_model, capsys) -> None:
    arguments = ["--to", "mamba-ssm", "--output", str(tmp_path / "out")]
    assert main(["export", str(checkpoint), *arguments]) == 2
    assert "it is a classifier" in capsys.readouterr().err
    assert main(["export", str(save_model(norm_epsilon=1e-6)), *arguments]) == 2
    assert "norm_epsilon: expected 1e-05" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_left_alone(tmp_path: Path, save_model, capsys) -> None:
    (tmp_path / "out").mkdir()
    arguments = ["export", str(save_model()), "--to", "hf", "--output", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "already exists" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def _json(path: Path) -> dict:
    return json.loads(path.read_text())


def _edit(path: Path, **changes: object) -> None:
    content = _json(path) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "absent"}))


def _edit_weights(path: Path, change: Callable[[dict], object]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def _config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: _edit(folder / "config.json", **changes)


def _weights(change: Callable[[dict], object]) -> Callable[[Path], None]:
    return lambda folder: _edit_weights(folder / "model.safetensors", change)


MISTAKES = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "holds no Mamba model"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "not JSON"),
    "another model": (_config(model_type="mamba2"), "holds no Mamba model"),
    "no epsilon": (_config(layer_norm_epsilon="absent"), "layer_norm_epsilon"),
    "another activation": (_config(hidden_act="gelu"), "hidden_act"),
    "changed": (_config(layer_norm_epsilon=1e-3), "contradicts itself: norm_epsilon"),
    "words": (_config(vocab_size=50280, genomamba="absent"), "50,280 tokens"),
    "a record of another": (_config(genomamba={"task": "x"}), "record is damaged"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no such file"),
    "damaged": (lambda folder: (folder / "model.safetensors").write_bytes(b"0" * 99), "damaged"),
    "a missing weight": (
        _weights(lambda weights: weights.pop("backbone.norm_f.weight")),
        "do not fit",
    ),
    "a foreign weight": (_weights(lambda weights: weights.update(x=torch.ones(1))), "do not fit"),
    "rows": (
        _weights(lambda w: w.update({"backbone.embeddings.weight": torch.ones(6, 12)})),
        "do not fit",
    ),
    "two heads": (
        _weights(lambda weights: weights.update({"lm_head.weight": torch.ones(5, 12)})),
        "differs from the embedding",
    ),
    "away": (
        lambda folder: (folder / "model.safetensors.index.json").write_text(
            '{"weight_map": {"x": "../model.ckpt"}}'
        ),
        "weight_map",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_foreign_and_inconsistent_folders(tmp_path: Path, save_model, capsys, mistake) -> None:
    folder = _export(save_model(), "hf", tmp_path / "out")
    spoil, expected = MISTAKES[mistake]
    spoil(folder)
    capsys.readouterr()
    assert _import(folder, tmp_path / "back.ckpt") == 2
    message = capsys.readouterr().err
    assert expected in message
    assert str(folder) in message
    assert not (tmp_path / "back.ckpt").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("pooling", "max"), ("pooling", "absent"), ("temperature", "hot")]
)
def test_damaged_records_of_classifiers(
    tmp_path: Path, checkpoint: Path, capsys, name: str, value: str
) -> None:
    folder = _export(checkpoint, "hf", tmp_path / "out")
    record = _json(folder / "config.json")["genomamba"] | {name: value}
    record = {key: value for key, value in record.items() if value != "absent"}
    _edit(folder / "config.json", genomamba=record)
    capsys.readouterr()
    assert _import(folder, tmp_path / "back.ckpt") == 2
    message = capsys.readouterr().err
    assert name in message
    assert str(folder) in message
    assert not (tmp_path / "back.ckpt").exists()


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, save_model, capsys) -> None:
    folder = _export(save_model(), "mamba-ssm", tmp_path / "out")
    torch.save({"x": Path("x")}, folder / "pytorch_model.bin")
    assert _import(folder, tmp_path / "back.ckpt") == 2
    assert "more than weights" in capsys.readouterr().err


def test_half_weights_widen(tmp_path: Path, save_model) -> None:
    folder = _export(save_model(), "hf", tmp_path / "out")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v.bfloat16() for k, v in weights.items()}, folder / "model.safetensors")
    assert _import(folder, tmp_path / "back.ckpt") == 0
    found = read_checkpoint(tmp_path / "back.ckpt")["state_dict"]["model.backbone.norm_f.weight"]
    assert found.dtype == torch.float32


@pytest.mark.parametrize("layout", ["hf", "mamba-ssm"])
def test_another_mixer_is_no_mamba_of_theirs(
    layout: str, tmp_path: Path, save_model, capsys
) -> None:
    checkpoint = save_model(mixer="attention", n_heads=2)
    assert main(["export", str(checkpoint), "--to", layout, "--output", str(tmp_path / "o")]) == 2
    assert "its mixer is attention, expected mamba" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    back = tmp_path / "back.ckpt"
    assert _import(_export(checkpoint, "safetensors", tmp_path / "out"), back) == 0
    assert read_checkpoint(back)["genomamba"]["config"]["n_heads"] == 2


def test_every_field_of_the_config_is_mapped() -> None:
    run = {"backend", "recompute", "segment_length", "pad_vocab_size_multiple", "tie_embeddings"}
    ours = set(MambaConfig.__dataclass_fields__) - run - set(BASELINE_FIELDS)
    assert ours == set(huggingface.FUNCTION_FIELDS | huggingface.START_FIELDS)
    there = {*mamba_ssm.MODEL_FIELDS, *mamba_ssm.MIXER_FIELDS, "norm_epsilon"}
    assert ours | {"tie_embeddings"} == there
