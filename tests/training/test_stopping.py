"""Runs that are asked to stop, and go on: with the bits and the metrics of one that never stopped.

Signals come in the middle of a chosen batch, in this process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genomamba.training import stopping
from genomamba.training.classification import ClassificationTask
from genomamba.training.run_checkpoint import RunCheckpoint
from genomamba.training.run_files import EXIT_STOPPED, read_metrics
from genomamba.training.stopping import StopSignals

PARTS = 2
WARMUP = "[{length: 16, steps: 2}, {length: 32, steps: 1}]"
LONG = ("--data.init_args.length_warmup", WARMUP, "--trainer.max_steps", "6")
ACCUMULATED = (f"--trainer.accumulate_grad_batches={PARTS}", "--trainer.val_check_interval=6")


def checkpoint(run: str) -> dict[str, Any]:
    return torch.load(Path(run, "checkpoints/last.ckpt"), weights_only=True)


@pytest.fixture
def signal_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sends signals from within the n-th batch of training or validation; the loss has noise."""
    signals: dict[tuple[str, int], signal.Signals] = {}
    counts = {"training_step": 0, "validation_step": 0}

    def patched(name: str) -> Callable[..., Any]:
        step = getattr(ClassificationTask, name)

        def noisy(*arguments: Any) -> Any:
            counts[name] += 1
            if number := signals.pop((name, counts[name]), None):
                os.kill(os.getpid(), number)
            result = step(*arguments)
            return result if result is None else result * (1 + torch.rand(()))

        return noisy

    for name in counts:
        monkeypatch.setattr(ClassificationTask, name, patched(name))

    def at(name: str, number: int, which: signal.Signals = signal.SIGTERM) -> None:
        counts.update(training_step=0, validation_step=0)
        signals[name, number] = which

    return at


# In which call a signal comes, the last step that is made, and the examples seen by then.
MOMENTS = [
    ("training_step", 1, 1, 24),
    ("training_step", 4, 2, 48),  # the last part of a step, and of a stage
    ("training_step", 5, 3, 60),  # the first part; a validation follows the step
    ("validation_step", 1, 3, 60),
]


def test_a_stopped_and_continued_run_is_the_uninterrupted_one(
    genomamba: Callable[..., int], signal_in: Callable[..., None]
) -> None:
    arguments = (*LONG, *ACCUMULATED, "--checkpoint.every_n_train_steps=100")
    assert genomamba("fit", "--run", "whole", *arguments) == 0
    whole, metrics = checkpoint("whole"), read_metrics("whole/metrics.csv")
    for where, number, step, seen in MOMENTS:
        run = f"{where}{number}"
        signal_in(where, number, signal.SIGUSR1 if number == 4 else signal.SIGTERM)
        assert genomamba("fit", "--run", run, *arguments) == EXIT_STOPPED
        stopped = checkpoint(run)
        assert stopped["global_step"] == step
        assert stopped["SpeciesDataModule"]["examples_seen"] == seen
        assert genomamba("fit", "--run", run, *arguments, "--ckpt_path", "last") == 0
        resumed = checkpoint(run)
        for name, weight in whole["state_dict"].items():
            assert torch.equal(weight, resumed["state_dict"][name]), (run, name)
        assert str(whole["optimizer_states"]) == str(resumed["optimizer_states"])
        assert whole["SpeciesDataModule"] == resumed["SpeciesDataModule"]
        assert read_metrics(f"{run}/metrics.csv") == metrics


def test_ctrl_c_is_told_from_a_failure(
    genomamba: Callable[..., int],
    signal_in: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Python's own: where the tests run as a shell's background job, the signal is ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    signal_in("training_step", 2, signal.SIGINT)
    try:
        assert genomamba("fit", "--run", "r") == 130
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it from there on
    assert "genomamba: interrupted" in capfd.readouterr().err


def test_a_signal_in_the_last_step_changes_nothing(
    genomamba: Callable[..., int], signal_in: Callable[..., None]
) -> None:
    handlers = [signal.getsignal(number) for number in stopping.SIGNALS]
    signal_in("training_step", 6)
    assert genomamba("fit", "--run", "r") == 0
    assert checkpoint("r")["global_step"] == 6
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == handlers


def test_slurm_requeues_by_our_exit_code_only(
    genomamba: Callable[..., int],
    signal_in: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lightning's handler would save an hpc_ckpt_1.ckpt in the middle of the step, and requeue."""
    for name in ("NTASKS", "NTASKS_PER_NODE"):
        monkeypatch.setenv(f"SLURM_{name}", "1")
    for name in ("PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    signal_in("training_step", 2, signal.SIGUSR1)
    assert genomamba("fit", "--run", "r", "--trainer.devices=1") == EXIT_STOPPED
    assert [path.name for path in Path("r").rglob("*.ckpt")] == ["last.ckpt"]
    assert checkpoint("r")["global_step"] == 2


def test_max_time_ends_a_run_that_has_it_again_when_continued(
    genomamba: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--run", "r", "--trainer.max_time", "00:00:00:00")
    for steps in (1, 2):
        assert genomamba("fit", *arguments, "--ckpt_path", "last") == EXIT_STOPPED
        assert checkpoint("r")["global_step"] == steps
        assert f"stopped at step {steps}/6, max_time is over" in capfd.readouterr().err
    assert genomamba("fit", "--run", "x", "--trainer.max_time", "soon") == 2
    assert "'soon'" in capfd.readouterr().err


def test_checkpoints_by_time_are_at_ends_of_steps_and_the_last_two_stay(
    genomamba: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    save = RunCheckpoint._save_checkpoint

    def recording(self: RunCheckpoint, trainer: Any, path: str) -> None:
        batches.append(trainer.fit_loop.epoch_loop.batch_progress.current.ready)
        save(self, trainer, path)

    monkeypatch.setattr(RunCheckpoint, "_save_checkpoint", recording)
    by_time = ("--checkpoint.every_n_train_steps=null", "--checkpoint.train_time_interval=0:00:00")
    newest = ("--checkpoint.monitor=step", "--checkpoint.mode=max", "--checkpoint.save_top_k=2")
    name = "--checkpoint.filename={step}"
    assert genomamba("fit", "--run", "r", *ACCUMULATED, *by_time, *newest, name) == 0
    assert batches == sorted([*range(PARTS, 13, PARTS)] * 2)
    found = {path.name for path in Path("r/checkpoints").iterdir()}
    assert found == {"step=5.ckpt", "step=6.ckpt", "last.ckpt"}


def test_a_second_signal_ends_the_process_unless_it_is_the_first_ones_echo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[tuple[int, int]] = []
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)  # at once: an echo
        assert signals.received == signal.SIGUSR1
        assert signal.getsignal(signal.SIGTERM) == signals._handle
        monkeypatch.setattr(stopping, "SECONDS_OF_ONE_REQUEST", 0.0)
        monkeypatch.setattr(stopping.os, "kill", lambda *what: killed.append(what))
        signals._handle(signal.SIGTERM, None)
        assert killed == [(os.getpid(), signal.SIGTERM)]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_a_signal_to_all_processes_spares_the_loaders(data: Any, tmp_path: Path) -> None:
    configs = ["--config", "species/base", "--config", str(data.overlay)]
    options = ["--trainer.max_steps", "1000000", "--data.init_args.num_workers", "2"]
    run = subprocess.Popen(
        [sys.executable, "-m", "genomamba", "fit", *configs, *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while len(read_metrics(tmp_path / "runs/default/metrics.csv")) < 5:
            assert run.poll() is None, "the run ended before its signal"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGTERM)
        _, stderr = run.communicate(timeout=240)
    finally:
        run.kill()
    assert run.returncode == EXIT_STOPPED, stderr
    assert "continue with --ckpt_path last" in stderr
    state = checkpoint(str(tmp_path / "runs/default"))
    assert state["SpeciesDataModule"]["examples_seen"] == 6 * state["global_step"]
