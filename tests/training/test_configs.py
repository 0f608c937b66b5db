"""Every shipped config trains, as an overlay on each base that it is made for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from genomamba.assets import config_names, find_config
from genomamba.training.checkpoint import load_model

BASES = ("species/base", "pretraining/base")
LENGTHS = [name for name in config_names() if name.startswith("length/")]
OTHERS = [name for name in config_names() if name not in (*BASES, *LENGTHS, "demo")]
SHORT = ("--trainer.max_steps=2", "--trainer.val_check_interval=2", "--data.init_args.length=64")
NARROW = ("--model.init_args.backbone", '{"d_model": 16, "n_layer": 1, "d_state": 2}')


@pytest.mark.parametrize(
    ("base", "overlay"),
    [*((base, overlay) for base in BASES for overlay in OTHERS), ("species/base", "demo")],
)
def test_a_shipped_combination_trains(
    genomamba: Callable[..., int], base: str, overlay: str
) -> None:
    """Two steps on the tests' data; a config that is not about the network gets a small one."""
    shape = () if overlay.startswith("model/") else NARROW
    length = ("--data.init_args.length=1024",) if overlay == "train/length_warmup" else ()
    arguments = ("--config", overlay, *SHORT, *shape, *length, "--run", "r")
    assert genomamba("fit", *arguments, base=base) == 0
    _, meta = load_model("r/checkpoints/last.ckpt")
    config = yaml.safe_load(find_config(overlay).read_text())
    wanted = yaml.safe_load(shape[1]) if shape else config["model"]["init_args"]["backbone"]
    assert {name: meta["config"][name] for name in wanted} == wanted


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("overlay", LENGTHS)
def test_a_length_is_understood(
    genomamba: Callable[..., int], base: str, overlay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Windows longer than the tests' genomes, so the whole config is printed and not run."""
    with pytest.raises(SystemExit, match="0"):
        genomamba("fit", "--config", overlay, "--print_config", base=base)
    printed = yaml.safe_load(capsys.readouterr().out)
    config = yaml.safe_load(find_config(overlay).read_text())
    assert printed["data"]["init_args"]["length"] == config["data"]["init_args"]["length"]
    assert printed["model"]["init_args"]["backbone"]["d_model"] == 16  # the tests' overlay
