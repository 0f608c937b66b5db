"""Times the operators, ours and the peer's in turn, and appends rows to a results file.

    python kernels/benchmarks/run.py --shapes issue
    python kernels/benchmarks/run.py --shapes lengths --output lengths.csv

Nothing is timed before every backend agrees with the reference in float64 and, at each shape, with
the peer. README.md says what the columns mean and how to build the peer.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gate
import torch
from operators import (
    OPERATORS,
    Operator,
    Outputs,
    Shape,
    Tensors,
    least_bytes,
    run_both,
    run_forward,
)
from records import append_row, environment
from timing import measure, peak_mib

SHAPES = {
    "issue": ["1x2^20x256", "16x2^16x256", "64x2^14x256", "256x2^12x256", "4x2^16x2048"],
    "lengths": [f"1x2^{n}x256" for n in range(9, 23)],
}
MODES = ("forward", "forward+backward")
Calls = dict[str, Callable[[], Any]]


def shapes(names: list[str]) -> list[Shape]:
    return [Shape.parse(text) for name in names for text in SHAPES.get(name, [name])]


def mib(peak: float | None) -> str:
    return "" if peak is None else f"{peak:.1f}"


def time_shape(
    operator: Operator,
    shape: Shape,
    dtype: torch.dtype,
    arguments: argparse.Namespace,
    constant: dict[str, str],
) -> bool:
    """Times one shape in every mode and writes its rows; False if ours and the peer's differ."""
    device = torch.device(arguments.device)
    tensors = operator.inputs(shape, dtype, device)
    functions: dict[str, tuple[Callable[[Tensors], Outputs], Tensors]] = {
        backend: ((lambda t, b=backend: operator.ours(t, b)), tensors)
        for backend in arguments.backends
    }
    if operator.theirs is not None and not arguments.no_peer:
        theirs = {name: operator.to_peer(name, tensor) for name, tensor in tensors.items()}
        functions["peer"] = (operator.theirs, theirs)

    with torch.no_grad():
        outputs = operator.ours(tensors, arguments.backends[0])
    named = dict(zip(operator.outputs, gate.cotangents(outputs), strict=True))
    grads = {name: tuple(named.values()) for name in functions}
    if "peer" in functions:
        grads["peer"] = tuple(operator.to_peer(name, grad) for name, grad in named.items())
    if "peer" in functions:
        ours, peers = (
            gate.results(operator, *functions[name], grads[name])
            for name in (arguments.backends[0], "peer")
        )
        wrong = list(gate.against_peer(operator, ours, peers, dtype))
        del ours, peers
        if wrong:
            print(f"{shape}: " + "\n".join(wrong), file=sys.stderr, flush=True)
            return False

    for mode in arguments.modes:
        calls: Calls = {}
        for name, (function, inputs) in functions.items():
            if mode == "forward":
                calls[name] = run_forward(function, inputs)
            else:
                leaves = {
                    k: t.detach().requires_grad_() for k, t in operator.leaves(inputs).items()
                }
                calls[name] = run_both(function, inputs, leaves, grads[name])
        peaks = {name: peak_mib(call, device) for name, call in calls.items()}
        times = measure(calls, device, budget_ms=arguments.budget_ms, graph=arguments.graph)
        moved = least_bytes(tensors, operator.leaves(tensors), outputs, mode)
        for backend in arguments.backends:
            ms, peer = times[backend], times.get("peer")
            row = {
                **constant,
                "operator": operator.name,
                "backend": backend,
                **dict(zip(("B", "L", "D"), shape, strict=True)),
                "dtype": str(dtype).removeprefix("torch."),
                "mode": mode,
                "timer": "graph" if arguments.graph else "events",
                "ms": f"{ms.median:.4f}",
                "ms_q1": f"{ms.lower:.4f}",
                "ms_q3": f"{ms.upper:.4f}",
                "gb_s": f"{moved / ms.median / 1e6:.0f}",
                "peak_mib": mib(peaks[backend]),
                "peer_ms": f"{peer.median:.4f}" if peer else "",
                "peer_ms_q1": f"{peer.lower:.4f}" if peer else "",
                "peer_ms_q3": f"{peer.upper:.4f}" if peer else "",
                "peer_peak_mib": mib(peaks.get("peer")),
                "speedup": f"{peer.median / ms.median:.2f}" if peer else "",
            }
            append_row(arguments.output, row)
            print(
                f"{operator.name:<15} {backend:<9} {shape!s:<16} {row['dtype']:<9} {mode:<16}"
                f" {ms.median:>9.3f} ms {row['gb_s']:>6} GB/s {row['peak_mib']:>9} MiB"
                f" | peer {row['peer_ms']:>9} ms {row['peer_peak_mib']:>9} MiB"
                f" | x{row['speedup']}",
                flush=True,
            )
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--operators", nargs="+", choices=list(OPERATORS), default=["selective_scan"])
    add(
        "--shapes", nargs="+", default=["issue"], help="issue, lengths, or BxLxD such as 1x2^20x256"
    )
    add("--dtypes", nargs="+", choices=["bfloat16", "float16", "float32"], default=["bfloat16"])
    add("--modes", nargs="+", choices=MODES, default=list(MODES))
    add("--backends", nargs="+", choices=["triton", "torch"], default=["triton"])
    add("--no-peer", action="store_true", help="leave the peer out where it could run")
    add("--graph", action="store_true", help="time replays of a CUDA graph, without the host")
    add("--budget-ms", type=float, default=400.0, help="time on each function and shape")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", type=Path, default=Path(__file__).parent / "results" / "operators.csv")
    arguments = parser.parse_args()
    arguments.no_peer |= torch.device(arguments.device).type != "cuda"  # it runs nowhere else
    wanted = shapes(arguments.shapes)
    device = torch.device(arguments.device)
    constant = environment(device)
    print(", ".join(f"{name} {value}" for name, value in constant.items() if value), flush=True)

    operators = [OPERATORS[name] for name in arguments.operators]
    dtypes = [getattr(torch, name) for name in arguments.dtypes]
    wrong = [
        message
        for operator in operators
        for dtype in dtypes
        for backend in arguments.backends
        for message in gate.against_reference(operator, backend, dtype, device)
    ]
    if wrong:
        print("\n".join([*wrong, "nothing was timed"]), file=sys.stderr)
        return 1
    agreed = True
    for operator in operators:
        for dtype in dtypes:
            for shape in wanted:
                agreed &= time_shape(operator, shape, dtype, arguments, constant)
                gc.collect()
                if device.type == "cuda":
                    torch.cuda.empty_cache()
    return 0 if agreed else 1


if __name__ == "__main__":
    raise SystemExit(main())
