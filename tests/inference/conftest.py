"""A small classifier's checkpoint and FASTA files for the tests of ``genomamba classify``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from genomamba.data.tokens import VOCABULARY
from genomamba.models import MambaConfig, MambaForClassification, MambaForPretraining
from genomamba_data_prep.codes import decode

CLASSES = ["ape", "bear", "cat"]
WINDOW = 64


def _meta(task: str, config: MambaConfig) -> dict:
    meta = {"format": 1, "task": task, "config": config.as_dict(), "vocabulary": list(VOCABULARY)}
    return meta | {"classes": CLASSES, "pooling": "mean", "length": WINDOW, "data": {}}


@pytest.fixture(scope="session")
def model() -> MambaForClassification:
    torch.manual_seed(0)
    model = MambaForClassification(MambaConfig(d_model=16, n_layer=2, d_state=4), len(CLASSES))
    model.train()
    with torch.no_grad():  # the head starts at zero: give it statistics and something to say
        model(torch.randint(0, 5, (8, WINDOW)))
        model.head.out_proj.weight.normal_()
    return model.eval()


@pytest.fixture
def checkpoint(tmp_path: Path, model: MambaForClassification) -> Path:
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    path = tmp_path / "classifier.ckpt"
    meta = _meta("classification", model.config)
    torch.save({"state_dict": weights, "genomamba": meta}, path)
    return path


@pytest.fixture
def pretraining_checkpoint(tmp_path: Path) -> Path:
    model = MambaForPretraining(MambaConfig(d_model=16, n_layer=1, d_state=4))
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    path = tmp_path / "pretraining.ckpt"
    meta = _meta("pretraining", model.config) | {"classes": None, "pooling": None}
    torch.save({"state_dict": weights, "genomamba": meta}, path)
    return path


@pytest.fixture
def write_fasta(tmp_path: Path) -> Callable[..., Path]:
    """Writes records {name: length or letters} of seeded random bases."""

    def write(records: dict[str, int | str], name: str = "in.fa", seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        path = tmp_path / name
        with path.open("w") as file:
            for record, content in records.items():
                if isinstance(content, int):
                    content = decode(rng.integers(0, 4, content).astype(np.uint8)).decode()
                file.write(f">{record}\n{content}\n")
        return path

    return write
