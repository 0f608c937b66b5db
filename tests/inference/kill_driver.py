"""Runs ``genomamba`` in forked children and kills them: a process of its own, for a quiet fork.

Arguments: mode ("kill" or "race"), trials, seed, then those of the command, output included.
Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from genomamba.cli import main


def start(arguments: list[str]) -> int:
    """A child that runs the command; returns its process number."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os._exit(main(arguments))
    return child


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(trials: int, seed: int, arguments: list[str], outputs: list[Path]) -> dict:
    """Start each trial's run at least twice, kill it at random moments, let it end, and compare.

    A start that ends before its moment is begun afresh; a trial has at least one kill.
    """
    assert wait(start(arguments)) == 0  # the first run is slower
    begin = time.monotonic()
    assert wait(start(arguments)) == 0
    seconds = time.monotonic() - begin
    expected = [path.read_bytes() for path in outputs]
    chance = random.Random(seed)
    killed = kept = equal = 0
    for _ in range(trials):
        _remove(outputs)
        starts = hits = 0
        while starts < 2 or not hits:
            child = start(arguments)
            time.sleep(chance.uniform(0.05, 1.0) * seconds)
            os.kill(child, signal.SIGKILL)
            starts += 1
            if wait(child) == -signal.SIGKILL:
                hits += 1
                kept += any(outputs[0].parent.glob("*.parts/shard-*"))
            else:
                _remove(outputs)
        killed += hits
        assert wait(start(arguments)) == 0
        equal += [path.read_bytes() for path in outputs] == expected
    return {"trials": trials, "killed": killed, "kept_shards": kept, "equal": equal}


def _remove(outputs: list[Path]) -> None:
    for path in outputs:
        path.unlink(missing_ok=True)


def race(arguments: list[str]) -> dict:
    """Two runs at once."""
    children = [start(arguments), start(arguments)]
    return {"codes": sorted(map(wait, children))}


if __name__ == "__main__":
    mode, trials, seed, *arguments = sys.argv[1:]
    torch.set_num_threads(1)
    flags = [i for i, a in enumerate(arguments) if a in ("--output", "--windows-output", "--track")]
    outputs = [Path(arguments[i + 1]) for i in flags]
    found = race(arguments) if mode == "race" else kill(int(trials), int(seed), arguments, outputs)
    print(json.dumps(found))
