"""A stream's state on disk: whole, of this model, and as good as the one in memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from genomamba.inference.state_file import load_state, save_state
from genomamba.models import MambaBackbone, MambaConfig, MambaState
from genomamba_data_prep.errors import InputError

CONFIG = MambaConfig(d_model=12, n_layer=2, d_state=3, d_conv=3)


@pytest.mark.parametrize("autocast", [False, True])
def test_streaming_goes_on_bit_for_bit(tmp_path: Path, autocast: bool) -> None:
    backbone, tokens = MambaBackbone(CONFIG), torch.randint(0, 5, (2, 40))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        _, state = backbone(tokens[:, :23], return_state=True)
        save_state(tmp_path / "s.safetensors", state, 23)
        loaded, position = load_state(tmp_path / "s.safetensors", CONFIG)
        assert position == 23
        assert loaded.equal(state)
        expected = backbone(tokens[:, 23:], state=state)
        assert torch.equal(backbone(tokens[:, 23:], state=loaded), expected)


def test_the_state_before_the_first_position_and_one_with_gradients(tmp_path: Path) -> None:
    zeros = MambaState.zeros(CONFIG, batch=2)
    _, after = MambaBackbone(CONFIG)(torch.zeros(2, 5, dtype=torch.uint8), return_state=True)
    for state in (zeros, after):
        save_state(tmp_path / "s.safetensors", state, 5)
        assert load_state(tmp_path / "s.safetensors", CONFIG)[0].equal(state)
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


def absent(path: Path) -> None:
    pass


def text(path: Path) -> None:
    path.write_text("layers.0.conv")


def cut(path: Path) -> None:
    save_state(path, MambaState.zeros(CONFIG, batch=1), 5)
    path.write_bytes(path.read_bytes()[:-8])


def weights(path: Path) -> None:
    save_file(MambaBackbone(CONFIG).state_dict(), path, metadata={"format": "pt"})


def deeper(path: Path) -> None:
    other = MambaConfig(d_model=12, n_layer=3, d_state=3, d_conv=3)
    save_state(path, MambaState.zeros(other, batch=1), 5)


def wider(path: Path) -> None:
    other = MambaConfig(d_model=14, n_layer=2, d_state=3, d_conv=3)
    save_state(path, MambaState.zeros(other, batch=1), 5)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (absent, "no such state"),
        (text, "not a state, or damaged"),
        (cut, "not a state, or damaged"),
        (weights, "expected the format 'genomamba state 1', got 'pt'"),
        (deeper, "expected 4 tensors, .*, got 6 tensors"),
        (wider, r"layers.0.conv \(B, 2, 24\), .*got .*layers.0.conv \(B, 2, 28\)"),
    ],
)
def test_what_is_no_state_of_the_model(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "s.safetensors"
    write(path)
    with pytest.raises(InputError, match=f"{re.escape(str(path))}: .*{message}"):
        load_state(path, CONFIG)
