"""What a training step's peak is made of, predicted byte by byte, and beside what was measured.

    python kernels/benchmarks/memory.py --model 1.4m --length 2^20 --recompute block
    python kernels/benchmarks/memory.py --measured model_step.csv --plot memory.png

Counts the backend "triton" under bf16 autocast with float32 parameters. The table is for the moment
of the peak: the scan's backward in the first block (or group) that is walked backwards.

Letters: d d_model, D d_inner = 2 d, N d_state, R dt_rank, K steps between saved states, r bytes a
number of the residual stream, n layers, g layers that are computed again together.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from model_step import GIB, MODELS
from records import read_rows

from genomamba.models import MambaConfig, MambaForPretraining
from genomamba_kernels.mamba_inner.triton_pieces import PIECE
from genomamba_kernels.selective_scan.triton_plan import DEFAULT_PLAN, channel_blocks

HALF, SINGLE = 2, 4  # bytes a number
OPTIMIZER = 4  # parameter, gradient and two moments, all float32


class Part(NamedTuple):
    """Tensors alike, in bytes a token; those of a piece stop growing with the length."""

    what: str
    formula: str
    bytes: float
    of_piece: bool = False


def parts(config: MambaConfig) -> list[Part]:
    """What is held at the peak of a training step."""
    d, inner, states = config.d_model, config.d_inner, config.d_state
    stream = SINGLE if config.residual_in_fp32 else HALF
    group = config.recompute_group
    interval = DEFAULT_PLAN.interval
    blocks = channel_blocks(inner, 1, DEFAULT_PLAN.backward.width)
    together = group or config.n_layer  # blocks whose insides are kept at the same time
    borders = -(-config.n_layer // together) if group else 0
    streams = together - 1 if group else together + 1  # a group's first is its border

    def a_block(what: str, formula: str, size: float) -> Part:
        return Part(f"{together} x {what}", f"{together} {formula}", together * size)

    def working(what: str, formula: str, size: float) -> Part:
        return Part(f"of a piece: {what}", formula, size, of_piece=True)

    return [
        Part("tokens, and as int32", "8 + 4", 12),
        Part(f"{borders} x stream between groups", f"{borders} r d", borders * stream * d),
        Part(f"{streams} x stream before a norm", f"{streams} r d", streams * stream * d),
        a_block("norm, the input of in_proj", "2 d", HALF * d),
        a_block("xz", "4 D", 2 * HALF * inner),
        a_block("states", "4 N D / K", SINGLE * states * inner / interval),
        a_block("y, the input of out_proj", "2 D", HALF * inner),
        Part("gradients of stream and branch", "(r + 2) d", (stream + HALF) * d),
        Part("gradients of y and xz", "6 D", 3 * HALF * inner),
        working("u, delta and their gradients", "8 D", 4 * HALF * inner),
        working(
            "dt, B, C, likewise; tiles",
            "4 (R + 2 N) + 8 N",
            2 * HALF * (config.rank + 2 * states) + 2 * SINGLE * states,
        ),
        working("parts of dB and dC", "8 N ceil(D / 64)", 2 * SINGLE * states * blocks),
    ]


def parameters(config: MambaConfig) -> int:
    return sum(p.numel() for p in MambaForPretraining(config).parameters())


def predicted(config: MambaConfig, tokens: int) -> float:
    """Bytes at the peak."""
    of_piece = min(tokens, PIECE // config.d_inner)
    sizes = (part.bytes * (of_piece if part.of_piece else tokens) for part in parts(config))
    return sum(sizes) + OPTIMIZER * SINGLE * parameters(config)


def configuration(model: str, recompute: str, residual: str) -> MambaConfig:
    d_model, n_layer = map(int, MODELS.get(model, model).split("x"))
    return MambaConfig(
        d_model=d_model,
        n_layer=n_layer,
        recompute=recompute,
        residual_in_fp32=residual == "float32",
    )


def print_table(config: MambaConfig, tokens: int) -> None:
    of_piece = min(tokens, PIECE // config.d_inner)
    print(f"| {'what':<44} | {'bytes a token':<28} | {'':>8} | {'GiB':>6} |")
    print(f"| {'-' * 44} | {'-' * 28} | {'-' * 7}: | {'-' * 5}: |")
    for part in parts(config):
        held = part.bytes * (of_piece if part.of_piece else tokens) / GIB
        print(f"| {part.what:<44} | {part.formula:<28} | {part.bytes:>8.0f} | {held:>6.2f} |")
    weights = OPTIMIZER * SINGLE * parameters(config) / GIB
    print(f"| {'parameters, gradients, AdamW':<44} | {'':<28} | {'':>8} | {weights:>6.2f} |")
    slope = sum(part.bytes for part in parts(config) if not part.of_piece)
    total = predicted(config, tokens) / GIB
    print(f"| {'all; what grows with the length':<44} | {'':<28} | {slope:>8.0f} | {total:>6.2f} |")


def compare(path: Path, image: Path | None) -> None:
    """Measured peaks of our training steps beside the predicted; a plot of both against tokens."""
    curves: dict[tuple[str, str, str], list[tuple[int, float, float]]] = {}
    for row in read_rows(path):
        if row["who"] == "ours" and row["mode"] == "train" and row["peak_gib"]:
            key = (row["model"], row["recompute"], row["residual"])
            tokens = int(row["B"]) * int(row["L"])
            expected = predicted(configuration(*key), tokens) / GIB
            curves.setdefault(key, []).append((tokens, float(row["peak_gib"]), expected))
    for (model, recompute, residual), points in curves.items():
        for tokens, measured, expected in sorted(points):
            print(
                f"{model:<5} recompute {recompute:<8} residual {residual:<8} {tokens:>9} tokens:"
                f" {measured:>6.2f} GiB, predicted {expected:>6.2f}"
            )
    if image is None:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for i, (key, points) in enumerate(curves.items()):
        tokens, measured, expected = zip(*sorted(points), strict=True)
        model, recompute, residual = key
        label = f"{model}, recompute {recompute}, stream {residual}"
        axis.plot(tokens, measured, "o", color=f"C{i}", label=label)
        axis.plot(tokens, expected, "-", color=f"C{i}", lw=1)
    axis.set(xlabel="tokens a step", ylabel="peak [GiB]", xlim=(0, None), ylim=(0, None))
    axis.set_title("Training step: points measured, lines predicted", fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(image, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--model", default="1.4m", help="1.4m, 7m, or d_model x n_layer: 128x12")
    add("--length", default="2^20", help="tokens a step")
    add("--recompute", default="none", help="none, block, group:n")
    add("--residual", default="float32", choices=["float32", "bfloat16"])
    add("--measured", type=Path, help="a results file of model_step.py to compare with")
    add("--plot", type=Path, help="where to draw the comparison")
    arguments = parser.parse_args()
    if arguments.measured is not None:
        compare(arguments.measured, arguments.plot)
        return 0
    text = arguments.length
    tokens = 2 ** int(text[2:]) if text.startswith("2^") else int(text)
    config = configuration(arguments.model, arguments.recompute, arguments.residual)
    print_table(config, tokens)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
