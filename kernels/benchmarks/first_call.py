"""Times a first call with nothing compiled: a new process with an empty Triton cache for each row.

    python kernels/benchmarks/first_call.py [--output FILE.csv]

The rows: forward as in inference, and forward + backward, each in bfloat16. Importing torch and
waking the device are not in `seconds`, which ends when the device is done; `again_ms` is the same
call once more. Needs a GPU. Columns as in README.md, and `kernels`, how many were compiled, and
`slowest`, the one that took longest, with its seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from records import append_row, environment

MODES = ("forward", "forward+backward")


def measure(mode: str, length: int, channels: int, states: int) -> dict[str, str | int | float]:
    """In this process, which must not have called the scan before."""
    from triton import knobs

    from genomamba_kernels import selective_scan

    compiled: dict[str, float] = {}

    def listen(*, src, times, **_: object) -> None:
        name = getattr(getattr(src, "fn", None), "__name__", "?")
        compiled[f"{name} {len(compiled)}"] = times.total / 1e6

    knobs.compilation.listener = listen

    def random(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        x = torch.randn(*shape, device="cuda", dtype=dtype)
        return x.requires_grad_(mode != "forward")

    u, delta, z = (random(1, length, channels) for _ in range(3))
    B, C = (random(1, length, states) for _ in range(2))
    A = -torch.arange(1.0, states + 1, device="cuda").repeat(channels, 1)
    A.requires_grad_(mode != "forward")
    D, bias = (random(channels, dtype=torch.float32) for _ in range(2))

    def call() -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        y = selective_scan(u, delta, A, B, C, D, z, bias, delta_softplus=True, backend="triton")
        assert isinstance(y, torch.Tensor)
        if mode != "forward":
            y.sum().backward()
        torch.cuda.synchronize()
        return time.perf_counter() - start

    (torch.ones(8, device="cuda").sum() + 1).item()
    seconds, again = call(), call()
    name = max(compiled, key=compiled.__getitem__)
    return {
        "seconds": round(seconds, 2),
        "again_ms": round(again * 1e3, 3),
        "kernels": len(compiled),
        "slowest": f"{name.split()[0]} {compiled[name]:.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=2**16)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--states", type=int, default=16)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--mode", choices=MODES, help="measure this alone, in this process")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("expects a GPU, found none: a first call is compilation for one")
    shape = (options.length, options.channels, options.states)
    if options.mode:
        print(json.dumps(measure(options.mode, *shape)))
        return
    for mode in MODES:
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
                for name in ("mode", "seconds", "again_ms", "kernels", "slowest")
            )
        )
        if options.output is not None:
            append_row(options.output, row)


if __name__ == "__main__":
    main()
