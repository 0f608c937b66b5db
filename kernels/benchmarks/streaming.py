"""Streams a sequence through a pretraining model: speed, memory, agreement with the unsplit pass.

    python kernels/benchmarks/streaming.py
    python kernels/benchmarks/streaming.py --models 7m --length 2^26 --segment-length 65536

Without gradient, segment after segment, each started with the state that the one before left. First
the logits at --check-length: streamed in segments of several lengths against the pass over the
whole, in float32 (TF32 off) and in bf16 autocast. If they agree in float32, the loss over --length
random bases (uint8, on the CPU unless said) in bf16 autocast, and over a quarter as many, whose
peak memory must be the same. Exits with 1 if something is beyond its limit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from model_step import GIB, allocated, configuration
from records import append_row, environment
from sizes import random_bases, size
from timing import synchronize
from torch import Tensor

from genomamba.models import MambaForPretraining

HUMAN_CHR1 = 248_956_422  # bases of GRCh38's chromosome 1
SEGMENTS = [2**18, 2**16, 2**16 + 1, 4099]
# float32: RMS of the difference over the RMS of the unsplit logits. bfloat16: over the RMS of the
# difference between the unsplit logits in bfloat16 and in float32.
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 0.5}
MEMORY_LIMIT = 1.02  # peak over that at a quarter of the length, tokens on the device left out


def model_of(name: str, segment: int | None, arguments: argparse.Namespace) -> MambaForPretraining:
    """The same weights for every segment length."""
    torch.manual_seed(0)
    config = configuration(
        name, "none", "float32", segment_length=segment, backend=arguments.backend
    )
    return MambaForPretraining(config).to(arguments.device).eval()


def logits(model: MambaForPretraining, tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """(1, L, vocab_size), on the device of the model."""
    with torch.autocast(torch.device(model.head.weight.device).type, dtype, dtype.itemsize < 4):
        stretches = model.backbone.map_segments(tokens, lambda hidden, _: model.head(hidden))
        return torch.cat([part for part, _ in stretches], dim=1)


def rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def agreement(name: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows with the distances of streamed from unsplit logits."""
    tokens = random_bases(1, arguments.check_length)
    whole = model_of(name, None, arguments)
    truths = {dtype: logits(whole, tokens, dtype) for dtype in LIMITS}
    rounding = rms(truths[torch.bfloat16].float() - truths[torch.float32])
    units = {torch.float32: rms(truths[torch.float32]), torch.bfloat16: rounding}
    for segment in arguments.check_segments:
        model = model_of(name, segment, arguments)
        for dtype, limit in LIMITS.items():
            difference = rms(logits(model, tokens, dtype).float() - truths[dtype].float())
            yield {
                "L": tokens.numel(),
                "segment": segment,
                "tokens_on": "cpu",
                "dtype": str(dtype).removeprefix("torch."),
                "distance": f"{difference / units[dtype]:.2e}",
                "limit": limit,
            }


def stream(
    model: MambaForPretraining, tokens: Tensor, device: torch.device
) -> tuple[float, int, float]:
    """Seconds, the most bytes held, and the loss."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    synchronize(device)
    start = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16):
        loss = float(model.loss(tokens))
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return seconds, peak, loss


def speed(name: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows with the time and memory of a quarter of the length, and of all of it."""
    device, place = torch.device(arguments.device), torch.device(arguments.tokens_on)
    model = model_of(name, arguments.segment_length, arguments)
    whole = random_bases(1, arguments.length)
    if device.type == "cuda" and place.type == "cpu":
        whole = whole.pin_memory()
    before = allocated(device)
    quarter = arguments.length // 4
    stream(model, whole[:, : min(quarter, 2 * arguments.segment_length)], device)  # compiles
    first: int | None = None
    for length in (quarter, arguments.length):
        tokens = whole[:, :length].to(place)
        seconds, peak, loss = stream(model, tokens, device)
        if not loss < float("inf"):
            raise ArithmeticError(f"{name}, {length} bases: loss is {loss}")
        besides = peak - (allocated(device) - before)  # without the tokens
        first = besides if first is None else first
        yield {
            "L": length,
            "segment": arguments.segment_length,
            "tokens_on": place.type,
            "dtype": "bfloat16",
            "seconds": f"{seconds:.3f}",
            "mbp_s": f"{length / seconds / 1e6:.3f}",
            "peak_gib": f"{peak / GIB:.3f}" if peak else "",
            "distance": f"{besides / first:.3f}" if first else "",
            "limit": MEMORY_LIMIT if first else "",
        }
        del tokens


COLUMNS = ("L", "segment", "tokens_on", "dtype", "seconds", "mbp_s", "peak_gib")


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--models", nargs="+", default=["1.4m"], help="1.4m, 7m, or d_model x n_layer: 128x12")
    add("--length", type=size, default=HUMAN_CHR1, help="bases to time, such as 2^26")
    add("--segment-length", type=size, default=2**18, help="of what is timed")
    add("--tokens-on", default="cpu", help="where the timed tokens are: cpu, cuda")
    add("--check-length", type=size, default=2**20, help="bases whose logits are compared")
    add("--check-segments", type=size, nargs="+", default=SEGMENTS)
    add("--backend", default="auto", choices=["auto", "triton", "torch"])
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", type=Path, default=Path(__file__).parent / "results" / "streaming.csv")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("highest")  # no TF32
    constant = environment(torch.device(arguments.device))
    print(", ".join(f"{name} {value}" for name, value in constant.items() if value), flush=True)

    is_wrong = False
    for name in arguments.models:
        for mode, rows in (("logits", agreement), ("loss", speed)):
            for found in rows(name, arguments):
                row = {**constant, "model": name, "mode": mode}
                row |= {column: found.get(column, "") for column in (*COLUMNS, "distance", "limit")}
                append_row(arguments.output, row)
                print(name, mode, *(f"{k} {v}" for k, v in found.items() if v != ""), flush=True)
                if found["limit"] != "" and not float(found["distance"]) <= found["limit"]:
                    print(f"expected at most {found['limit']}: see above", file=sys.stderr)
                    is_wrong = True
                    if found["dtype"] == "float32":  # another function: its speed means nothing
                        return 1
    return int(is_wrong)


if __name__ == "__main__":
    raise SystemExit(main())
