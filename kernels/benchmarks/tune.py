"""Times block sizes of the selective scan on this GPU, and writes the best for GENOMAMBA_BLOCKS.

    python kernels/benchmarks/tune.py --output blocks.json [--dtypes bfloat16] [--states 16]
    GENOMAMBA_BLOCKS=blocks.json genomamba fit ...

Nothing is tuned but here: a choice by the clock of every run would make results differ between
runs in their last bits. Each candidate is first held against the default's results; one that is
wrong, or does not compile, is left out and said on stderr. The rest take turns. A candidate must be
2 % faster over all shapes, and at none more than 1 % slower, or the default stays. The file is
written anew after each pair of dtype and N, so that a run that is cut short keeps what it has.
Printed are the rows as plan_table.py has them. Needs a GPU (or TRITON_INTERPRET=1, to see that it
runs).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from candidates import (
    Trial,
    backward_plans,
    best,
    forward_plans,
    make_inputs,
    milliseconds,
    right,
    sizes,
)
from operators import Shape
from records import environment

from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError
from genomamba_kernels.ahead import rehearse
from genomamba_kernels.selective_scan.plan_choice import device_name
from genomamba_kernels.selective_scan.plan_file import DTYPES, plan_row
from genomamba_kernels.selective_scan.plan_table import Key, padded_states
from genomamba_kernels.selective_scan.triton_autograd import TritonScan
from genomamba_kernels.selective_scan.triton_plan import Blocks, Plan

SHAPES = ("1x2^20x256", "16x2^16x256")
CHECK = "2x4096x256"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def compile_all(shape: Shape, dtypes: list[torch.dtype], states: int, device: torch.device) -> None:
    """Begins to compile all candidates, side by side; N hardly matters to the compiler."""
    for dtype in dtypes:
        inputs = make_inputs(shape, states, dtype, device)
        inputs.u.requires_grad_()
        for plan in (*backward_plans(), *forward_plans()):
            rehearse(TritonScan, (None, plan, *inputs))


def tune(
    states: int,
    dtype: torch.dtype,
    check: Shape,
    shapes: list[Shape],
    device: torch.device,
    budget_ms: float,
) -> tuple[Plan, list[dict[str, Any]]]:
    """The best plan, and what was measured: a row a shape, direction and candidate."""
    trial = Trial(check, states, dtype, device)
    plans = {
        "forward": right(forward_plans(), trial),
        "backward": right(backward_plans(), trial),
    }
    times: dict[str, list[dict[Plan, float]]] = {name: [] for name in plans}
    rows = []
    for shape in shapes:
        trial = Trial(shape, states, dtype, device)
        for name, of_direction in plans.items():
            run = trial.forward if name == "forward" else trial.backward
            measured = milliseconds(run, of_direction, device, budget_ms)
            times[name].append(measured)
            for plan, ms in measured.items():
                blocks: Blocks = getattr(plan, name)
                say(f"  {shape} {name}: {sizes(blocks)}: {ms:.3f} ms")
                rows.append(
                    {"shape": str(shape), "direction": name, **blocks._asdict(), "ms": round(ms, 4)}
                )
        del trial
        gc.collect()
    forward, backward = best(times["forward"]).forward, best(times["backward"]).backward
    return forward_plans()[0]._replace(forward=forward, backward=backward), rows


def write(path: Path, plans: dict[Key, Plan], measured: dict[str, Any]) -> None:
    document = {
        "blocks": [plan_row(key, plan) for key, plan in plans.items()],
        "measured": measured,
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def table_row(key: Key, plan: Plan) -> str:
    """A row of plan_table.py."""
    forward, backward = (
        f"Blocks({b.width}, {b.registers}, resident={b.resident}, first_pass={b.first_pass})"
        for b in (plan.forward, plan.backward)
    )
    name, dtype, states = key
    return (
        f'("{name}", "{dtype}", {states}): Plan({plan.tile}, {plan.interval}, {forward}, '
        f"{backward}),"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--output", type=Path, required=True, help="the JSON file to write")
    add("--dtypes", nargs="+", choices=DTYPES, default=["bfloat16"])
    add("--states", nargs="+", type=int, default=[16], help="N, rounded up to a power of two")
    add("--shapes", nargs="+", default=SHAPES, help="BxLxD, that are timed")
    add("--check", default=CHECK, help="BxLxD, at which the candidates are checked")
    add("--budget-ms", type=float, default=150.0, help="time on each candidate and shape")
    add("--seconds", type=float, help="start on no further dtype and N after so long")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        parser.error("expects a GPU, found none: block sizes are chosen by their time on one")
    if min(options.states) < 1:
        parser.error(f"--states: expected at least 1, got {min(options.states)}")
    try:
        shapes = [Shape.parse(text) for text in options.shapes]
        check = Shape.parse(options.check)
    except ValueError as error:
        parser.error(f"--shapes and --check: {error}")
    if not options.output.parent.is_dir():
        parser.error(f"--output: expected a folder that exists, got {options.output.parent}")

    start = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pairs = [(dtype, states) for states in options.states for dtype in options.dtypes]
    pairs = list(dict.fromkeys((dtype, padded_states(states)) for dtype, states in pairs))
    say(f"{device_name(device)}: compiling the candidates")
    dtypes = [getattr(torch, name) for name in options.dtypes]
    compile_all(check, dtypes, pairs[0][1], device)
    plans: dict[Key, Plan] = {}
    measured: dict[str, Any] = {"environment": environment(device), "times": []}
    for done, (dtype, states) in enumerate(pairs):
        passed = time.monotonic() - start
        if options.seconds is not None and passed > options.seconds:
            say(f"out of time after {passed:.0f} s, not measured: {pairs[done:]}")
            break
        say(f"{dtype}, N {states} ({done + 1} of {len(pairs)}, {passed:.0f} s)")
        plan, rows = tune(states, getattr(torch, dtype), check, shapes, device, options.budget_ms)
        key = (device_name(device), dtype, states)
        plans[key] = plan
        measured["times"] += [{"dtype": dtype, "states": states, **row} for row in rows]
        measured["seconds"] = round(time.monotonic() - start, 1)
        try:
            write(options.output, plans, measured)
        except (InputError, OSError) as error:
            say(f"tune.py: {error}")
            return 2
        print(table_row(key, plan), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
