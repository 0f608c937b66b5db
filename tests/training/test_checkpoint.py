"""Checkpoints: whole or not there, plain values only, and one message for each thing wrong."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genomamba.models import MambaConfig, MambaForClassification, MambaForPretraining
from genomamba.training.checkpoint import check_classes, load_model, read_checkpoint
from genomamba.training.checkpoint_io import AtomicCheckpointIO
from genomamba.training.pretraining import PretrainingTask
from genomamba_data_prep.errors import InputError

CONFIG = MambaConfig(d_model=8, n_layer=1, d_state=2)
CLASSES = ("human", "chimp")


def content(model: torch.nn.Module | None = None, **changed: Any) -> dict[str, Any]:
    model = model or MambaForClassification(CONFIG, 2)
    meta = {
        "format": 1,
        "task": "classification",
        "config": CONFIG.as_dict(),
        "vocabulary": list("ACGTN"),
        "length": 64,
        "data": {},
        "classes": list(CLASSES),
        "pooling": "mean",
    }
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    return {"state_dict": weights, "genomamba": meta | changed}


@pytest.mark.parametrize("task", ["classification", "pretraining"])
def test_a_saved_model_comes_back_for_evaluation(tmp_path: Path, task: str) -> None:
    model = (
        MambaForClassification(CONFIG, 2)
        if task == "classification"
        else MambaForPretraining(CONFIG)
    )
    tokens = torch.randint(0, 5, (3, 20))
    model(tokens)
    path = tmp_path / "deep" / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint(content(model, task=task), path)
    loaded, meta = load_model(path)
    assert not loaded.training
    assert meta["length"] == 64
    assert torch.equal(loaded(tokens), model.eval()(tokens))
    assert [p.name for p in path.parent.iterdir()] == ["x.ckpt"]


class Harmful:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.touch, (Path("harmed"),)  # type: ignore[return-value]


def _write(path: Path, value: Any) -> None:
    torch.save(value, path)


def _cut(path: Path) -> None:
    _write(path, content())
    path.write_bytes(path.read_bytes()[:-2000])


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "no such checkpoint"),
    "a folder": (lambda path: path.mkdir(), "no such checkpoint"),
    "empty": (lambda path: path.touch(), "not a checkpoint, or damaged"),
    "FASTA": (lambda path: path.write_text(">chr1\nACGT\n"), "not a checkpoint, or damaged"),
    "cut": (_cut, "not a checkpoint, or damaged"),
    "code": (lambda path: _write(path, {"genomamba": Harmful()}), "not a checkpoint"),
    "pickle": (
        lambda path: path.write_bytes(pickle.dumps(content(), protocol=2)),
        "not a checkpoint",
    ),
    "a tensor": (lambda path: _write(path, torch.ones(2)), "of another program"),
    "foreign": (lambda path: _write(path, {"state_dict": {}}), "of another program"),
    "older": (
        lambda path: _write(path, content(format=0)),
        "format version 0, this genomamba reads 1",
    ),
    "protein": (
        lambda path: _write(path, content(vocabulary=list("ARND"))),
        "vocabulary is A R N D, expected A C G T N",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_checkpoint_is_named_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = WRONG[case]
    path = tmp_path / "x.ckpt"
    make(path)
    for read in (read_checkpoint, load_model, AtomicCheckpointIO().load_checkpoint):
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert caught.value.fix
    assert not (tmp_path / "harmed").exists()


def test_weights_of_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    _write(path, content(classes=["a", "b", "c"]))
    with pytest.raises(InputError, match="the weights do not fit the config"):
        load_model(path)


@pytest.mark.parametrize("classes", [("chimp", "human"), ("human",), ("human", "bonobo")])
def test_another_class_set(classes: tuple[str, ...]) -> None:
    check_classes(content()["genomamba"], CLASSES)
    with pytest.raises(
        InputError, match=r"classes are human, chimp; the data's are .*order counts"
    ):
        check_classes(content()["genomamba"], classes)


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, writer = tmp_path / "last.ckpt", AtomicCheckpointIO()
    writer.save_checkpoint(content(length=1), path)

    def fails(_: Any, target: Path) -> None:
        Path(target).write_bytes(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="No space left"):
        writer.save_checkpoint(content(length=2), path)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(path)["genomamba"]["length"] == 1


def test_how_a_model_runs_may_differ_from_its_pretraining(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    source = MambaForPretraining(CONFIG)
    AtomicCheckpointIO().save_checkpoint(content(source, task="pretraining"), path)
    config = dataclasses.replace(CONFIG, recompute="block", segment_length=8, backend="reference")
    task = PretrainingTask(config, pretrained=path)
    task.configure_model()
    assert task.model is not None
    for a, b in zip(task.model.parameters(), source.parameters(), strict=True):
        assert torch.equal(a, b)
    task = PretrainingTask(dataclasses.replace(CONFIG, d_state=4), pretrained=path)
    with pytest.raises(InputError, match="d_state 2 there, 4 here"):
        task.configure_model()
