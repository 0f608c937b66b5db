"""A loader process that the system kills ends the run with one message: no hang, no traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from genomamba.data.loader import process_death
from genomamba.training.run_files import read_metrics


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are listed in /proc")
def test_a_killed_loader_process(data: Any, tmp_path: Path) -> None:
    configs = ["--config", "species/base", "--config", str(data.overlay)]
    options = ["--trainer.max_steps", "1000000", "--trainer.val_check_interval", "1000000"]
    workers = ["--data.init_args.num_workers", "2"]
    run = subprocess.Popen(
        [sys.executable, "-m", "genomamba", "fit", *configs, *options, *workers],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while (
            max((s for s, *_ in read_metrics(tmp_path / "runs/default/metrics.csv")), default=0) < 5
        ):
            assert run.poll() is None, "the run ended before its loader could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        victim = max(children(run.pid))
        os.kill(victim, signal.SIGKILL)
        _, stderr = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 1
    # Where the training waits for a batch, PyTorch does not say by what.
    how = "(is killed by signal|exited unexpectedly)"
    assert re.search(f"genomamba: error: the loader process {victim} {how}", stderr)
    assert "--ckpt_path last" in stderr
    assert "Traceback" not in stderr


def test_other_errors_are_not_taken_for_it() -> None:
    assert process_death(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert process_death(ValueError("DataLoader worker (pid 1) is killed")) is None
    message = "DataLoader worker (pid(s) 12, 13) exited unexpectedly"
    assert "the loader process 12, 13 exited unexpectedly" in str(
        process_death(RuntimeError(message))
    )
