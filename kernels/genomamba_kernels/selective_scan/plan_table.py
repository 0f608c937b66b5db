"""The scan's plans that were measured: by the device's name, the data's dtype and N.

A key's device is the beginning of a device's name; its N is rounded up to a power of two, and at
least 2. Everything else takes DEFAULT_PLAN. `kernels/benchmarks/tune.py` measures, and prints rows.
"""

from __future__ import annotations

from genomamba_kernels.selective_scan.triton_plan import DEFAULT_PLAN, Plan

Key = tuple[str, str, int]

PLANS: dict[Key, Plan] = {
    # The best of benchmarks/NOTES.md, versions 1 to 8, on an H200; on an H100 timed by itself.
    ("NVIDIA H100", "bfloat16", 16): DEFAULT_PLAN,
    ("NVIDIA H200", "bfloat16", 16): DEFAULT_PLAN,
    # In benchmarks/results/blocks.json the best forward gains 1.7 and 1.3 % at its two shapes. The
    # best backward gains 4.1 and 0.6 %, which tune.py takes; it was measured once and waits for a
    # second run, for it would change the bits of all results.
    ("NVIDIA H200", "float32", 16): DEFAULT_PLAN,
}


def padded_states(states: int) -> int:
    """N rounded up to a power of two, and at least 2: the N of a key."""
    return max(2, 1 << (states - 1).bit_length())


def find_plan(plans: dict[Key, Plan], device: str, dtype: str, states: int) -> Plan | None:
    """The plan of a device by its whole name; of several keys that fit, the longest decides."""
    padded = padded_states(states)
    fitting = [key for key in plans if key[1:] == (dtype, padded) and device.startswith(key[0])]
    return plans[max(fitting, key=lambda key: len(key[0]))] if fitting else None
