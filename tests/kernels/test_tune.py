"""Tuning: what is wrong is never timed, what is hardly faster is not taken, the file is of use."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")
sys.path.insert(0, str(Path(__file__).parents[2] / "kernels" / "benchmarks"))

from genomamba_kernels.selective_scan.plan_choice import device_name
from genomamba_kernels.selective_scan.plan_file import read_plans
from genomamba_kernels.selective_scan.triton_plan import DEFAULT_PLAN

candidates, operators, timing, tune = map(
    importlib.import_module, ("candidates", "operators", "timing", "tune")
)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NARROW = DEFAULT_PLAN._replace(forward=DEFAULT_PLAN.forward._replace(width=32))
FINE = DEFAULT_PLAN._replace(backward=DEFAULT_PLAN.backward._replace(resident=2))

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on overflow


@pytest.fixture
def trial():
    return candidates.Trial(operators.Shape((1, 16, 4)), 2, torch.float32, DEVICE)


def test_plans_that_agree_are_kept_and_wrong_ones_are_said(trial, monkeypatch, capsys):
    assert candidates.right([DEFAULT_PLAN, NARROW], trial) == [DEFAULT_PLAN, NARROW]
    assert capsys.readouterr().err == ""
    of_plan = trial.forward
    monkeypatch.setattr(
        trial, "forward", lambda plan: (of_plan(plan)[0] * (1.001 if plan == NARROW else 1), None)
    )
    assert candidates.right([DEFAULT_PLAN, NARROW, FINE], trial) == [DEFAULT_PLAN, FINE]
    message = "left out: forward 32 channels, 128 registers, 16 warps; backward 64 channels, None"
    said = capsys.readouterr().err
    assert said.startswith(message)
    assert "y is 1.0e-03 from the default's, allowed 1e-05" in said


def test_a_plan_that_fails_or_wavers_is_left_out(trial, monkeypatch, capsys):
    of_plan, calls = trial.backward, []

    def backward(plan):
        if plan == NARROW:
            raise RuntimeError("out of resources\nand more")
        calls.append(plan)
        grads = of_plan(plan)
        return grads._replace(u=grads.u * (1 + 1e-7 * len(calls))) if plan == FINE else grads

    monkeypatch.setattr(trial, "backward", backward)
    assert candidates.right([DEFAULT_PLAN, NARROW, FINE], trial) == [DEFAULT_PLAN]
    said = capsys.readouterr().err
    assert "RuntimeError: out of resources\n" in said
    assert "du is not the same twice" in said


@pytest.mark.parametrize(
    ("times", "wins"),
    [
        ([(10.0, 9.5), (10.0, 9.6)], True),
        ([(10.0, 9.9), (10.0, 9.9)], False),  # within the clock's reach
        ([(10.0, 8.0), (10.0, 10.2)], False),  # slower somewhere
        ([(10.0, 9.4), (2.0, 2.0)], True),
    ],
)
def test_a_plan_must_be_faster_and_nowhere_slower(times, wins):
    measured = [{DEFAULT_PLAN: default, NARROW: narrow} for default, narrow in times]
    assert candidates.best(measured) == (NARROW if wins else DEFAULT_PLAN)


def test_every_candidate_is_another_and_the_default_is_first():
    for plans in (candidates.forward_plans(), candidates.backward_plans()):
        assert plans[0] == DEFAULT_PLAN
        assert len(set(plans)) == len(plans)


@pytest.mark.slow
def test_the_fastest_is_written_and_can_be_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tune, "forward_plans", lambda: [DEFAULT_PLAN, NARROW])
    monkeypatch.setattr(tune, "backward_plans", lambda: [DEFAULT_PLAN, FINE])
    monkeypatch.setattr(timing, "ROUNDS", 1)
    monkeypatch.setattr(timing, "FEWEST", 2)
    of_plans = tune.milliseconds

    def milliseconds(run, plans, device, budget_ms):
        measured = of_plans(run, plans, device, budget_ms)
        assert all(ms > 0 for ms in measured.values())
        return {plan: 1.0 if plan == NARROW else 2.0 for plan in measured}

    monkeypatch.setattr(tune, "milliseconds", milliseconds)
    path = tmp_path / "blocks.json"
    small = ["--check", "1x16x4", "--shapes", "1x16x4", "--budget-ms", "0"]
    assert tune.main(["--output", str(path), "--dtypes", "float32", "--states", "3", *small]) == 0
    key = (device_name(DEVICE), "float32", 4)
    assert read_plans(path) == {key: NARROW}
    printed = capsys.readouterr().out
    assert printed == (
        f'("{key[0]}", "float32", 4): Plan(8, 16, Blocks(32, 128, resident=16, first_pass=0.75), '
        "Blocks(64, None, resident=8, first_pass=0.2)),\n"
    )
    times = json.loads(path.read_text())["measured"]["times"]
    assert [(row["direction"], row["ms"]) for row in times] == [
        *(("forward", 2.0), ("forward", 1.0)),
        *(("backward", 2.0), ("backward", 2.0)),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shapes", "1x2"], "expected BxLxD such as 1x2^20x256, got '1x2'"),
        (["--states", "0"], "--states: expected at least 1, got 0"),
        (["--dtypes", "float64"], "invalid choice: 'float64'"),
    ],
)
def test_wrong_arguments_are_said(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit):
        tune.main(["--output", str(tmp_path / "blocks.json"), *arguments])
    assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tune.main(["--output", str(tmp_path / "none" / "blocks.json")])
    assert "--output: expected a folder that exists" in capsys.readouterr().err
