"""The benchmarks run, refuse to time what is wrong, and write rows that the plot can read."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "kernels" / "benchmarks"


def run(script, *arguments):
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def broken(tmp_path):
    """A copy of the benchmarks whose scan is wrong in its last position."""
    for path in FOLDER.glob("*.py"):
        text = path.read_text()
        if path.name == "operators.py":
            text = text.replace(
                "_tuple(selective_scan(**t, delta_softplus=True, backend=backend))",
                "(selective_scan(**t, delta_softplus=True, backend=backend)"
                " * (1 if backend == 'reference' else 1.001),)",
            )
        (tmp_path / path.name).write_text(text)
    return tmp_path


def test_operators_are_timed_and_plotted(tmp_path):
    results = tmp_path / "results.csv"
    arguments = ["--backends", "torch", "--device", "cpu", "--budget-ms", 1, "--output", results]
    done = run("run.py", "--shapes", "1x16x8", "1x2^5x8", "--dtypes", "float32", *arguments)
    assert done.returncode == 0, done.stderr
    found = rows(results)
    assert [(row["L"], row["mode"]) for row in found] == [
        (length, mode) for length in ("16", "32") for mode in ("forward", "forward+backward")
    ]
    for row in found:
        assert float(row["ms_q1"]) <= float(row["ms"]) <= float(row["ms_q3"])
        assert all(row[name] for name in ("commit", "torch", "date"))
    image = tmp_path / "lengths.png"
    done = run("plot.py", results, "--dtype", "float32", "--output", image)
    assert done.returncode == 0, done.stderr
    assert image.read_bytes().startswith(b"\x89PNG")


def decode(folder, results):
    return run(
        folder / "decode.py",
        *("--models", "8x2", "--batches", 2, 3, "--dtype", "bfloat16", "--seconds", 0),
        *("--device", "cpu", "--output", results),
    )


def test_decoding_is_timed(tmp_path):
    results = tmp_path / "decode.csv"
    done = decode(FOLDER, results)
    assert done.returncode == 0, done.stderr
    header, _, *lines = done.stdout.splitlines()
    assert [row["B"] for row in rows(results)] == ["2", "3"]
    assert len(lines) == 2
    assert "floor_ms" in header
    for row in rows(results):
        ms, floor = float(row["ms"]), float(row["floor_ms"])
        assert ms > 0
        assert float(row["floor_state_ms"]) >= floor
        assert float(row["tokens_s"]) == pytest.approx(int(row["B"]) / ms * 1e3, rel=0.01)


def test_a_wrong_step_is_not_timed(tmp_path):
    for path in FOLDER.glob("*.py"):
        text = path.read_text()
        if path.name == "decode.py":
            assert "found.copy_(step(given))" in text
            text = text.replace("found.copy_(step(given))", "found.copy_(step(given) * 1.001)")
        (tmp_path / path.name).write_text(text)
    done = decode(tmp_path, tmp_path / "decode.csv")
    assert done.returncode == 1
    assert "nothing timed" in done.stderr
    assert not (tmp_path / "decode.csv").exists()


def test_nothing_is_timed_on_red(broken, tmp_path):
    results = tmp_path / "results.csv"
    done = run(
        broken / "run.py",
        *("--shapes", "1x16x8", "--dtypes", "float32", "--backends", "torch", "--device", "cpu"),
        *("--output", results),
    )
    assert done.returncode == 1
    assert "y is 1.0e-03 from the reference" in done.stderr
    assert "nothing was timed" in done.stderr
    assert not results.exists()


def test_training_steps_are_timed(tmp_path):
    results = tmp_path / "results.csv"
    done = run(
        "model_step.py",
        *("--models", "8x2", "--shapes", "1x32", "--recompute", "none", "group:2", "--steps", 2),
        *("--device", "cpu", "--output", results),
    )
    assert done.returncode == 0, done.stderr
    assert [row["recompute"] for row in rows(results)] == ["none", "group:2"]


def test_results_with_other_columns_are_refused(tmp_path):
    results = tmp_path / "results.csv"
    results.write_text("a,b\n1,2\n")
    done = run(
        "run.py",
        *("--shapes", "1x8x8", "--dtypes", "float32", "--backends", "torch", "--device", "cpu"),
        *("--modes", "forward", "--budget-ms", 1, "--output", results),
    )
    assert done.returncode != 0
    assert "expected the columns" in done.stderr
    assert results.read_text() == "a,b\n1,2\n"


def test_memory_is_what_is_held_at_the_peak(tmp_path):
    program = (
        "import memory as m\n"
        "f = lambda n: [{'filename': 'torch/x.py', 'line': 1, 'name': 'x'},"
        " {'filename': f'genomamba_kernels/{n}.py', 'line': 7, 'name': 'g'}]\n"
        "alloc = lambda a, s, n: {'action': 'alloc', 'addr': a, 'size': s, 'frames': f(n)}\n"
        "free = lambda a: {'action': 'free_requested', 'addr': a}\n"
        "run = lambda s: [alloc(1, s, 'kept'), alloc(2, 3 * s, 'gone'), free(2),"
        " alloc(2, 2 * s, 'peak'), alloc(3, 2 * s, 'peak'), free(3), free(2), free(1)]\n"
        "assert [sorted(m.held_at_peak(run(10), i).values()) for i in (0, 7)] == [[10, 40], []]\n"
        "events = run(10) + run(20)\n"
        "held = [m.held_at_peak(run(10)), m.held_at_peak(events, 8)]\n"
        "for row in m.table(held, [10, 20]): print(*row)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [text.split()[::2][:2] for text in done.stdout.splitlines()] == [
        ["4.0", "genomamba_kernels/peak.py:7"],
        ["1.0", "genomamba_kernels/kept.py:7"],
        ["0.0", "the"],
    ]


def test_peaks_are_compared_and_plotted(tmp_path):
    results = tmp_path / "results.csv"
    results.write_text(
        "who,model,mode,recompute,residual,B,L,peak_gib\n"
        "ours,8x4,train,block,float32,1,1024,1.0\n"
        "ours,8x4,train,block,float32,2,1024,1.5\n"
        "ours,8x4,train,block,float32,4,1024,2.5\n"
    )
    image = tmp_path / "memory.png"
    done = run("memory.py", "--measured", results, "--plot", image)
    assert done.returncode == 0, done.stderr
    assert "recompute block, float32: 524288 bytes a token and 0.50 GiB" in done.stdout
    assert image.read_bytes().startswith(b"\x89PNG")
