"""Plans of the scan in a JSON file, which GENOMAMBA_BLOCKS names.

    {"blocks": [{"device": "NVIDIA H200", "dtype": "bfloat16", "states": 16,
                 "tile": 8, "interval": 16,
                 "forward": {"width": 64, "registers": 128, "resident": 16},
                 "backward": {"width": 64, "registers": null, "resident": 8}}],
     "measured": whatever the writer wants to remember}

A row's key is that of plan_table.py; what its values mean, and which are allowed, see Plan, Blocks
and below. Letters as in triton_forward.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from genomamba_kernels.backends import EnvironmentVariableError
from genomamba_kernels.selective_scan.plan_table import Key
from genomamba_kernels.selective_scan.triton_plan import DEFAULT_PLAN, Blocks, Plan

VARIABLE = "GENOMAMBA_BLOCKS"
DTYPES = ("bfloat16", "float16", "float32")
ROW_KEYS = ("device", "dtype", "states", "tile", "interval", "forward", "backward")
BLOCK_KEYS = ("width", "registers", "resident")


class PlanFileError(EnvironmentVariableError):
    """A file of plans that cannot be used: which, where in it, what was expected and got."""


def read_plans(path: Path) -> dict[Key, Plan]:
    """The plans of a file.

    Raises:
        PlanFileError: the file cannot be read, or is not as described above.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # of the text's encoding, too
        raise PlanFileError(
            f"{VARIABLE}={path}: expected a JSON file as kernels/benchmarks/tune.py writes it: "
            f"{error}. Correct the variable, or unset it: the kernels come with plans"
        ) from error
    top = _At(path, "", document)
    top.keys(("blocks",), optional=("measured",))
    rows = document["blocks"]
    if not isinstance(rows, list):
        top.refuse("blocks", "a list of rows", rows)
    plans: dict[Key, Plan] = {}
    for i, row in enumerate(rows):
        at = _At(path, f"blocks[{i}]", row)
        key, plan = _read_row(at)
        if key in plans:
            at.refuse("", "a device, dtype and states that no other row has", list(key))
        plans[key] = plan
    return plans


def plan_row(key: Key, plan: Plan) -> dict[str, Any]:
    """A row of a file."""
    device, dtype, states = key
    return {
        "device": device,
        "dtype": dtype,
        "states": states,
        "tile": plan.tile,
        "interval": plan.interval,
        **{
            name: {part: getattr(blocks, part) for part in BLOCK_KEYS}
            for name, blocks in (("forward", plan.forward), ("backward", plan.backward))
        },
    }


class _At(NamedTuple):
    """A JSON object, and where it is."""

    path: Path
    where: str
    value: Any

    def refuse(self, key: str, expected: str, got: Any) -> None:
        place = ".".join(part for part in (self.where, key) if part)
        raise PlanFileError(
            f"{VARIABLE}={self.path}: {place or 'the file'}: expected {expected}, got "
            f"{json.dumps(got)}. Correct it, or write the file anew: kernels/benchmarks/tune.py"
        )

    def keys(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
        if not isinstance(self.value, dict):
            self.refuse("", f"an object with the keys {', '.join(required)}", self.value)
        for key in required:
            if key not in self.value:
                self.refuse("", f"the key {key!r}", list(self.value))
        for key in self.value:
            if key not in (*required, *optional):
                self.refuse(key, f"one of the keys {', '.join((*required, *optional))}", key)

    def text(self, key: str, allowed: Iterable[str] = ()) -> str:
        value = self.value[key]
        if allowed and value not in allowed:
            self.refuse(key, f"one of {', '.join(allowed)}", value)
        if not isinstance(value, str) or not value:
            self.refuse(key, "a text that is not empty", value)
        return value

    def number(self, key: str, least: int, most: int, *, power: bool = False) -> int:
        value = self.value[key]
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if not is_integer or not least <= value <= most or (power and value & (value - 1)):
            self.refuse(
                key, f"{'a power of two' if power else 'an integer'} from {least} to {most}", value
            )
        return value


def _read_row(at: _At) -> tuple[Key, Plan]:
    at.keys(ROW_KEYS)
    key = (at.text("device"), at.text("dtype", DTYPES), at.number("states", 2, 1024, power=True))
    tile = at.number("tile", 8, 16, power=True)
    interval = at.number("interval", tile, 64, power=True)
    forward, backward = (
        _read_blocks(_At(at.path, f"{at.where}.{name}", at.value[name]), of_default)
        for name, of_default in (
            ("forward", DEFAULT_PLAN.forward),
            ("backward", DEFAULT_PLAN.backward),
        )
    )
    return key, Plan(tile, interval, forward, backward)


def _read_blocks(at: _At, default: Blocks) -> Blocks:
    at.keys(BLOCK_KEYS)
    registers = None if at.value["registers"] is None else at.number("registers", 32, 255)
    resident = at.number("resident", 1, 64)
    return default._replace(
        width=at.number("width", 32, 256, power=True), registers=registers, resident=resident
    )
