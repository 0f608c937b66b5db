"""The benchmarks of long sequences run at tiny sizes, and exit with 1 where results disagree."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "kernels" / "benchmarks"


def run(*arguments):
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environment
    )


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def stream(folder, results):
    return run(
        folder / "streaming.py",
        *("--models", "8x2", "--length", 400, "--segment-length", 64, "--device", "cpu"),
        *("--check-length", 100, "--check-segments", 32, 7, "--output", results),
    )


def test_streaming_is_checked_and_timed(tmp_path):
    results = tmp_path / "streaming.csv"
    done = stream(FOLDER, results)
    assert done.returncode == 0, done.stderr
    found = rows(results)
    assert [(r["mode"], r["L"], r["segment"], r["dtype"]) for r in found] == [
        *(("logits", "100", s, dtype) for s in ("32", "7") for dtype in ("float32", "bfloat16")),
        *(("loss", length, "64", "bfloat16") for length in ("100", "400")),
    ]
    assert all(float(r["distance"]) <= float(r["limit"]) for r in found if r["mode"] == "logits")
    assert all(float(r["mbp_s"]) > 0 for r in found if r["mode"] == "loss")


def test_streaming_without_the_state_is_found(tmp_path):
    for path in FOLDER.glob("*.py"):
        text = path.read_text()
        if path.name == "streaming.py":
            call = "model.backbone.map_segments(tokens, lambda hidden, _: model.head(hidden))"
            assert call in text
            forgetful = (
                "(next(model.backbone.map_segments(part, lambda hidden, _: model.head(hidden)))"
                " for part in tokens.split(model.config.segment_length or tokens.numel(), 1))"
            )
            text = text.replace(call, forgetful)
        (tmp_path / path.name).write_text(text)
    results = tmp_path / "streaming.csv"
    done = stream(tmp_path, results)
    assert done.returncode == 1, done.stderr
    assert "expected at most 1e-05" in done.stderr
    assert {row["mode"] for row in rows(results)} == {"logits"}  # nothing was timed


@pytest.mark.parametrize(("limit", "expected"), [(1e-4, 0), (0.0, 1)])
def test_sequence_parallel_is_checked_and_timed(tmp_path, limit, expected):
    results = tmp_path / "sequence_parallel.csv"
    done = run(
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2),
        ROOT / "benchmarks" / "sequence_parallel.py",
        *("--models", "8x2", "--length", 64, "--check-length", 50, "--steps", 2),
        *("--device", "cpu", "--limit", limit, "--output", results),
    )
    assert done.returncode == expected, done.stderr
    assert "the farthest; allowed" in done.stderr
    if expected:
        assert not results.exists()
        return
    [row] = rows(results)
    assert (row["ranks"], row["L"]) == ("2", "64")
    # Both figures are rounded to two decimals, the ratio to three.
    assert float(row["ratio"]) == pytest.approx(
        float(row["ms_alone"]) / float(row["ms_shared"]), rel=0.02
    )
    assert 0 < float(row["gradient_distance"]) <= 1e-4
    assert row["commit"]
    assert row["device"]
    assert row["torch"]
    assert float(row["tokens_s_shared"]) == pytest.approx(
        64e3 / float(row["ms_shared"]), rel=0.01, abs=1
    )
    steps = [line.split()[-3] for line in done.stderr.splitlines() if "8x2: 64 bases" in line]
    assert steps == 4 * ["warm-up:", "warm-up:", "step:", "step:"]


def test_a_step_in_segments_is_timed_once(tmp_path):
    results = tmp_path / "results.csv"
    done = run(
        FOLDER / "model_step.py",
        *("--models", "8x2", "--shapes", "1x100", "--segment-length", 33, "--warm-up", 1),
        *("--steps", 1, "--device", "cpu", "--output", results),
    )
    assert done.returncode == 0, done.stderr
    [row] = rows(results)
    assert (row["segment"], row["L"]) == ("33", "100")
    assert row["ms_q1"] == row["ms"] == row["ms_q3"]


def test_memory_over_many_lengths_is_plotted(tmp_path):
    results, image = tmp_path / "results.csv", tmp_path / "memory.png"
    lines = ["who,model,mode,recompute,segment,residual,B,L,peak_gib"]
    for log in range(14, 30, 2):
        lines.append(f"ours,1.4m,train,none,{2**16},float32,1,{2**log},{1 + 2 ** (log - 30)}")
        if log < 22:
            lines.append(f"ours,1.4m,train,none,,float32,1,{2**log},{2 ** (log - 20)}")
    results.write_text("\n".join(lines))
    done = run(FOLDER / "memory.py", "--measured", results, "--plot", image)
    assert done.returncode == 0, done.stderr
    assert f"segments of {2**16}: 1 bytes a token and 1.00 GiB" in done.stdout
    assert "recompute none, float32: 1024 bytes a token and" in done.stdout
    assert image.read_bytes().startswith(b"\x89PNG")
    assert image.stat().st_size > 10_000
