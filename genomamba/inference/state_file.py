"""A model's state between two positions as a safetensors file: where a stream stopped.

The file holds the tensors under their names in `MambaState.tensors`, in their own types, and in its
header the format version and how many positions the state stands for.
"""

from __future__ import annotations

import os

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from genomamba.models import MambaConfig, MambaState
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError

FORMAT = "genomamba state 1"


def save_state(path: str | os.PathLike[str], state: MambaState, position: int) -> None:
    """Write a state, whole or not at all.

    Args:
        path: by convention ``NAME.safetensors``.
        state: after ``position`` positions, on any device.
        position: how many the model has read, in every row.
    """
    tensors = {name: t.detach().cpu().clone() for name, t in state.tensors().items()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"format": FORMAT, "position": str(position)})


def load_state(path: str | os.PathLike[str], config: MambaConfig) -> tuple[MambaState, int]:
    """A state on the CPU, and how many positions it stands for.

    Args:
        path: a file of `save_state`.
        config: of the model that is to go on from it.

    Raises:
        InputError: no such file, of another kind or format version, damaged, or of a model of
            another shape.
    """
    if not os.path.isfile(path):
        raise InputError("no such state", file=path, fix="Check the path")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"not a state, or damaged: {error}", file=path) from error
    position = header.get("position", "")
    if header.get("format") != FORMAT or not position.isdecimal():
        raise InputError(
            f"expected the format {FORMAT!r}, got {header.get('format')!r}",
            file=path,
            fix="Use a file that this version's save_state wrote",
        )
    expected = {
        n: list(t.shape[1:]) for n, t in MambaState.zeros(config, batch=1).tensors().items()
    }
    found = {name: list(tensor.shape[1:]) for name, tensor in tensors.items()}
    if found != expected or len({len(tensor) for tensor in tensors.values()}) != 1:
        raise InputError(
            f"the state is of another model: expected {_shapes(expected)}, got {_shapes(found)}",
            file=path,
            fix="Use the checkpoint that it was made with",
        )
    return MambaState.from_tensors(tensors), int(position)


def _shapes(shapes: dict[str, list[int]]) -> str:
    """In short: the first layer's, and how many there are."""
    first = ", ".join(f"{n} (B, {', '.join(map(str, s))})" for n, s in sorted(shapes.items())[:2])
    return f"{len(shapes)} tensors, {first}"
