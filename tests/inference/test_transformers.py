"""Hugging Face transformers loads what we export and computes the same; we load what it saves."""

from __future__ import annotations

import ast
import os
import runpy
from pathlib import Path
from types import ModuleType

import pytest
import torch

from genomamba.cli import main
from genomamba.models import MambaConfig, MambaForPretraining
from genomamba.training.checkpoint import load_model
from genomamba_data_prep.codes import decode

CONFIG = MambaConfig(
    d_model=12, n_layer=3, d_state=5, d_conv=3, dt_rank=2, expand=3, norm_epsilon=1e-2
)


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    os.environ["HF_HUB_OFFLINE"] = "1"  # read at import: nothing is looked up on the network
    return pytest.importorskip(
        "transformers", reason="transformers is absent: pip install 'genomamba[dev]'"
    )


def _save(path: Path, config: MambaConfig) -> Path:
    torch.manual_seed(1)
    model = MambaForPretraining(config)
    with torch.no_grad():  # far from the start, where a wrong field would not show
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    meta = {"format": 1, "task": "pretraining", "config": config.as_dict(), "length": 64}
    meta |= {"vocabulary": list("ACGTN"), "data": {}}
    torch.save({"state_dict": weights, "genomamba": meta}, path)
    return path


def _tokens() -> torch.Tensor:
    return torch.randint(0, 5, (2, 100), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("fields", [{}, {"tie_embeddings": False, "bias": True}], ids=str)
def test_causal_model(tmp_path: Path, transformers: ModuleType, fields: dict) -> None:
    config = MambaConfig.from_dict(CONFIG.as_dict() | fields)
    checkpoint, folder = _save(tmp_path / "a.ckpt", config), tmp_path / "out"
    assert main(["export", str(checkpoint), "--to", "hf", "--output", str(folder)]) == 0
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values())
    assert theirs.config.layer_norm_epsilon == 1e-2
    ours, meta = load_model(checkpoint)
    with torch.no_grad():
        expected, found = ours(_tokens()), theirs(_tokens()).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)

    theirs.save_pretrained(tmp_path / "saved")  # and back, with what the checkpoint recorded
    assert main(["import", str(tmp_path / "saved"), "--output", str(tmp_path / "b.ckpt")]) == 0
    back, meta_back = load_model(tmp_path / "b.ckpt")
    assert meta_back == meta
    assert torch.equal(back(_tokens()), ours(_tokens()))


@pytest.mark.parametrize("tied", [True, False])
def test_model_that_transformers_made(tmp_path: Path, transformers: ModuleType, tied: bool) -> None:
    torch.manual_seed(3)
    config = transformers.MambaConfig(
        vocab_size=5,
        hidden_size=16,
        state_size=4,
        num_hidden_layers=2,
        layer_norm_epsilon=1e-3,
        tie_word_embeddings=tied,
        residual_in_fp32=False,
    )
    theirs = transformers.MambaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path / "saved", max_shard_size="5KB")  # in several files
    assert main(["import", str(tmp_path / "saved"), "--output", str(tmp_path / "a.ckpt")]) == 0
    ours, meta = load_model(tmp_path / "a.ckpt")
    shape = {"d_model": 16, "n_layer": 2, "d_state": 4, "norm_epsilon": 1e-3}
    shape |= {"tie_embeddings": tied, "residual_in_fp32": False}
    assert MambaConfig.from_dict(meta["config"]) == MambaConfig(**shape)  # no padding to set
    with torch.no_grad():
        expected, found = theirs(_tokens()).logits, ours(_tokens())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_tokenizer(tmp_path: Path, transformers: ModuleType) -> None:
    checkpoint, folder = _save(tmp_path / "a.ckpt", CONFIG), tmp_path / "out"
    assert main(["export", str(checkpoint), "--to", "hf", "--output", str(folder)]) == 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer("ACGTN acgtn\nUuRx").input_ids == [0, 1, 2, 3, 4] * 2 + [3, 3, 4, 4]
    codes = _tokens()[0].to(torch.uint8).numpy()
    text = decode(codes).decode()
    assert tokenizer(text).input_ids == codes.tolist()
    assert tokenizer.decode(codes.tolist(), skip_special_tokens=True) == text
    assert len(tokenizer) == 5


def test_generation_config_keeps_n_out(tmp_path: Path, transformers: ModuleType) -> None:
    checkpoint, folder = _save(tmp_path / "a.ckpt", CONFIG), tmp_path / "out"
    assert main(["export", str(checkpoint), "--to", "hf", "--output", str(folder)]) == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(0)
    found = model.generate(_tokens()[:, :3], max_new_tokens=40)
    assert found.shape == (2, 43)  # no end token: 0, their default one, is A
    assert (found[:, 3:] < 4).all()


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_classifier_by_the_example_in_its_card(
    tmp_path: Path, transformers: ModuleType, checkpoint: Path, pooling: str, monkeypatch, capsys
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["genomamba"] |= {"pooling": pooling, "temperature": 1.5}
    torch.save(content, checkpoint)
    folder = tmp_path / "out"
    assert main(["export", str(checkpoint), "--to", "hf", "--output", str(folder)]) == 0
    card = (folder / "README.md").read_text()
    example = card.split("```python\n")[1].split("```")[0]
    assert len(example.splitlines()) == 10
    (folder / "example.py").write_text(example)
    monkeypatch.chdir(folder)
    capsys.readouterr()
    runpy.run_path("example.py")
    model, meta = load_model(checkpoint)
    tokens = torch.tensor([[0, 1, 2, 3, 3, 2, 1, 0] * 16])  # the example's ACGTTGCA
    with torch.no_grad():
        expected = (model(tokens)[0] / 1.5).softmax(-1).tolist()
    found = ast.literal_eval(capsys.readouterr().out)
    assert list(found) == meta["classes"]
    assert list(found.values()) == pytest.approx(expected, abs=1e-5)
