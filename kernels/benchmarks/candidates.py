"""Block sizes of the scan under trial: which there are, whether they are right, how fast they are.

Forward and backward are tried each by itself. Tile and interval stay: what the interval gains in
time it costs in memory, which is not for a clock to decide, and tiles of 16 do not fit in registers
(NOTES.md). Letters as in the kernels: B batch, L length, D channels, N states.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Mapping

import torch
from gate import ratio
from operators import Shape
from timing import measure
from torch import Tensor

from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.triton_launch import Gradients, scan_backward, scan_forward
from genomamba_kernels.selective_scan.triton_layout import share
from genomamba_kernels.selective_scan.triton_plan import DEFAULT_PLAN, Blocks, Plan

# Width, registers, warps a multiprocessor has room for: 65536 registers, 32 lanes a warp. With half
# or twice as many warps in mind the length is cut into half or twice as many segments.
FORWARD = ((128, 128, 16), (64, 168, 12), (64, 96, 20), (64, 128, 8), (64, 128, 32))
BACKWARD = ((128, None, 8), (32, 168, 12), (64, None, 4), (64, None, 16))
# RMS of the difference to the default's result over its RMS. All is computed in float32: half types
# differ where a number is rounded to the other neighbour.
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 2e-3, torch.float16: 5e-4}
LEAST_GAIN = 0.98  # of the default's time; less is within the clock's reach
MOST_LOSS = 1.01  # at any shape


def forward_plans() -> list[Plan]:
    base = DEFAULT_PLAN.forward
    others = (Blocks(*sizes, base.first_pass) for sizes in FORWARD)
    return [DEFAULT_PLAN, *(DEFAULT_PLAN._replace(forward=blocks) for blocks in others)]


def backward_plans() -> list[Plan]:
    base = DEFAULT_PLAN.backward
    others = (Blocks(*sizes, base.first_pass) for sizes in BACKWARD)
    return [DEFAULT_PLAN, *(DEFAULT_PLAN._replace(backward=blocks) for blocks in others)]


def sizes(blocks: Blocks) -> str:
    return f"{blocks.width} channels, {blocks.registers} registers, {blocks.resident} warps"


def make_inputs(shape: Shape, states: int, dtype: torch.dtype, device: torch.device) -> ScanInputs:
    """Always the same, with step sizes as at the beginning of a training."""
    generator = torch.Generator(device).manual_seed(0)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, device=device)

    batch, length, channels = shape
    return ScanInputs(
        u=normal(*shape).to(dtype),
        delta=normal(*shape).to(dtype),
        A=-torch.arange(1.0, states + 1, device=device).repeat(channels, 1),
        B=normal(batch, length, 1, states).to(dtype),
        C=normal(batch, length, 1, states).to(dtype),
        D=normal(channels),
        z=normal(*shape).to(dtype),
        delta_bias=0.1 * normal(channels) - 4.6,
        delta_softplus=True,
        starts=None,
    )


class Trial:
    """Inputs of a shape, and both directions with any plan."""

    def __init__(self, shape: Shape, states: int, dtype: torch.dtype, device: torch.device) -> None:
        self.inputs = make_inputs(shape, states, dtype, device)
        self.shared = share(self.inputs, DEFAULT_PLAN)  # of the tile alone
        self.grad_y = self.inputs.u.roll(1, dims=1)
        saved = self.forward(DEFAULT_PLAN)[1]
        assert saved is not None
        self.saved = saved  # of the interval alone

    def forward(self, plan: Plan) -> tuple[Tensor, Tensor | None]:
        y, _, saved, _ = scan_forward(self.inputs, self.shared, None, plan, save=True)
        return y, saved

    def backward(self, plan: Plan) -> Gradients:
        return scan_backward(self.inputs, self.shared, self.saved, self.grad_y, None, plan)

    def results(self, plan: Plan) -> dict[str, Tensor]:
        gradients = self.backward(plan)._asdict()
        return {"y": self.forward(plan)[0]} | {f"d{k}": x for k, x in gradients.items()}


def fault(trial: Trial, plan: Plan, truth: Mapping[str, Tensor], limit: float) -> str | None:
    """What is wrong with a plan: it does not run, or is too far from the default's results."""
    try:
        results, again = trial.results(plan), trial.results(plan)
    except Exception as error:  # whatever the compiler or the device says of a candidate
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    for name, value in truth.items():
        distance = ratio(results[name], value)
        if not distance <= limit:
            return f"{name} is {distance:.1e} from the default's, allowed {limit:g}"
        if not torch.equal(results[name], again[name]):
            return f"{name} is not the same twice"
    return None


def right(plans: list[Plan], trial: Trial) -> list[Plan]:
    """Those that agree with the first, the default; says on stderr which do not, and why."""
    truth = trial.results(plans[0])
    kept = [plans[0]]
    for plan in plans[1:]:
        reason = fault(trial, plan, truth, LIMITS[trial.inputs.u.dtype])
        if reason is None:
            kept.append(plan)
        else:
            which = f"forward {sizes(plan.forward)}; backward {sizes(plan.backward)}"
            print(f"left out: {which}: {reason}", file=sys.stderr, flush=True)
    return kept


def milliseconds(
    run: Callable[[Plan], object], plans: list[Plan], device: torch.device, budget_ms: float
) -> dict[Plan, float]:
    """The median time of each plan, the plans taking turns."""
    calls = {str(i): lambda plan=plan: run(plan) for i, plan in enumerate(plans)}
    times = measure(calls, device, budget_ms=budget_ms)
    return {plan: times[str(i)].median for i, plan in enumerate(plans)}


def best(times: list[dict[Plan, float]]) -> Plan:
    """The fastest plan over all shapes, or the default (the first) if it is hardly slower."""
    default = next(iter(times[0]))
    ratios = {plan: [of_shape[plan] / of_shape[default] for of_shape in times] for plan in times[0]}
    gains = {
        plan: statistics.fmean(map(math.log, of_plan))
        for plan, of_plan in ratios.items()
        if max(of_plan) <= MOST_LOSS
    }
    fastest = min(gains, key=gains.__getitem__)
    return fastest if gains[fastest] < math.log(LEAST_GAIN) else default
