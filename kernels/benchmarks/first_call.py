"""Times a first call with nothing compiled: a new process with an empty Triton cache for each row.

    python kernels/benchmarks/first_call.py [--output FILE.csv] [--modes MODE ...]

The rows: the scan forward as in inference, the scan forward + backward, and a training step of a
model of two layers, without and with recomputation; all with bfloat16 data. Imports and waking the
device are not in `seconds`, which ends when the device is done; `again_ms` is the same call once
more. Needs a GPU. Columns as in README.md, and `kernels`, how many were compiled, `compiling`, the
sum of their seconds (which overlap: ahead.py), and `slowest`, the one that took longest, with its
seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from records import append_row, environment
from sizes import random_bases

MODES = ("forward", "forward+backward", "step", "step-recomputed")


def scan_call(mode: str, length: int, channels: int, states: int) -> Callable[[], object]:
    from genomamba_kernels import selective_scan

    def random(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        x = torch.randn(*shape, device="cuda", dtype=dtype)
        return x.requires_grad_(mode != "forward")

    u, delta, z = (random(1, length, channels) for _ in range(3))
    B, C = (random(1, length, states) for _ in range(2))
    A = -torch.arange(1.0, states + 1, device="cuda").repeat(channels, 1)
    A.requires_grad_(mode != "forward")
    D, bias = (random(channels, dtype=torch.float32) for _ in range(2))

    def call() -> None:
        y = selective_scan(u, delta, A, B, C, D, z, bias, delta_softplus=True, backend="triton")
        assert isinstance(y, torch.Tensor)
        if mode != "forward":
            y.sum().backward()

    return call


def step_call(mode: str, length: int, channels: int, states: int) -> Callable[[], object]:
    from model_step import build, configuration

    recompute = "block" if mode.endswith("recomputed") else "none"
    size = f"{channels // 2}x2"
    config = configuration(size, recompute, "float32", d_state=states, backend="triton")
    return build("ours", config, random_bases(1, length).cuda(), forward_only=False).step


def measure(mode: str, length: int, channels: int, states: int) -> dict[str, str | int | float]:
    """In this process, which must not have called the kernels before."""
    from triton import knobs

    compiled: list[tuple[float, str]] = []

    def listen(*, src, times, **_: object) -> None:
        compiled.append((times.total / 1e6, getattr(getattr(src, "fn", None), "__name__", "?")))

    knobs.compilation.listener = listen
    make_call = step_call if mode.startswith("step") else scan_call
    call = make_call(mode, length, channels, states)

    def seconds() -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        return time.perf_counter() - start

    (torch.ones(8, device="cuda").sum() + 1).item()
    first, again = seconds(), seconds()
    slowest, name = max(compiled)
    return {
        "seconds": round(first, 2),
        "again_ms": round(again * 1e3, 3),
        "kernels": len(compiled),
        "compiling": round(sum(x for x, _ in compiled), 2),
        "slowest": f"{name} {slowest:.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--length", type=int, default=2**16)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--states", type=int, default=16)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--mode", choices=MODES, help="measure this alone, in this process")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("expects a GPU, found none: a first call is compilation for one")
    shape = (options.length, options.channels, options.states)
    if options.mode:
        print(json.dumps(measure(options.mode, *shape)))
        return
    for mode in options.modes:
        print(f"compiling: {mode}", file=sys.stderr, flush=True)
        names = ("length", "channels", "states")
        sizes = [
            x for pair in zip(names, shape, strict=True) for x in (f"--{pair[0]}", str(pair[1]))
        ]
        with tempfile.TemporaryDirectory() as cache:
            done = subprocess.run(
                [sys.executable, __file__, "--mode", mode, *sizes],
                env=os.environ | {"TRITON_CACHE_DIR": cache},
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
        if done.returncode:
            sys.exit(f"first_call.py: {mode} failed, see above; nothing was recorded for it")
        row = {
            **environment(torch.device("cuda")),
            "mode": mode,
            "dtype": "bfloat16",
            **dict(zip(names, shape, strict=True)),
            **json.loads(done.stdout.splitlines()[-1]),
        }
        print(
            *(
                f"{name}={row[name]}"
                for name in ("mode", "seconds", "again_ms", "kernels", "compiling", "slowest")
            )
        )
        if options.output is not None:
            append_row(options.output, row)


if __name__ == "__main__":
    main()
