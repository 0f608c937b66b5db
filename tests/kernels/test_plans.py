"""Which plan the scan takes: of a file, of the table, or the default."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("triton")

from genomamba_kernels.selective_scan import plan_choice, plan_table, triton_autograd
from genomamba_kernels.selective_scan.plan_choice import choose_plan, recomputed
from genomamba_kernels.selective_scan.plan_file import PlanFileError, plan_row, read_plans
from genomamba_kernels.selective_scan.plan_table import PLANS, find_plan, padded_states
from genomamba_kernels.selective_scan.triton_plan import DEFAULT_PLAN, Blocks, Plan

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NARROW = Plan(8, 8, Blocks(32, 64, 6, 0.75), Blocks(32, None, 4, 0.2))
ROW = plan_row(("cpu", "float32", 2), NARROW)


@pytest.fixture
def write(tmp_path):
    def write(document):
        path = tmp_path / "blocks.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv("GENOMAMBA_BLOCKS", raising=False)
    plan_choice._choose.cache_clear()
    plan_choice._read_once.cache_clear()


@pytest.mark.parametrize(
    ("states", "padded"), [(1, 2), (2, 2), (3, 4), (16, 16), (17, 32), (64, 64)]
)
def test_states_are_rounded_up(states, padded):
    assert padded_states(states) == padded


def test_the_longest_name_that_fits_decides():
    short, long = DEFAULT_PLAN._replace(tile=16), DEFAULT_PLAN._replace(interval=32)
    plans = {
        ("NVIDIA H100", "float32", 16): short,
        ("NVIDIA H100 PCIe", "float32", 16): long,
    }
    assert find_plan(plans, "NVIDIA H100 80GB HBM3", "float32", 13) is short
    assert find_plan(plans, "NVIDIA H100 PCIe", "float32", 16) is long
    for device, dtype, states in (
        ("NVIDIA H200", "float32", 16),
        ("NVIDIA H100", "float16", 16),
        ("NVIDIA H100", "float32", 17),
    ):
        assert find_plan(plans, device, dtype, states) is None


def test_the_table_is_as_valid_as_a_file(write):
    rows = [plan_row(key, plan) for key, plan in PLANS.items()]
    assert rows
    assert read_plans(write({"blocks": rows})) == PLANS


def test_a_file_comes_before_the_table_and_that_before_the_default(write, monkeypatch):
    x = torch.zeros(1, 4, 3)
    other = DEFAULT_PLAN._replace(interval=64)
    assert choose_plan(x, 2) == DEFAULT_PLAN
    monkeypatch.setitem(plan_table.PLANS, ("cpu", "float32", 2), other)
    plan_choice._choose.cache_clear()
    assert choose_plan(x, 2) == other
    monkeypatch.setenv("GENOMAMBA_BLOCKS", str(write({"blocks": [ROW]})))
    assert choose_plan(x, 2) == choose_plan(x.bfloat16(), 1, torch.float32) == NARROW
    assert choose_plan(x, 4) == choose_plan(x.bfloat16(), 2) == DEFAULT_PLAN


def test_a_file_is_read_once(write, monkeypatch):
    path = write({"blocks": [ROW], "measured": {"any": "thing"}})
    monkeypatch.setenv("GENOMAMBA_BLOCKS", str(path))
    assert choose_plan(torch.zeros(1), 2) == NARROW
    path.write_text("")
    assert choose_plan(torch.zeros(1), 1) == NARROW


def changed(**changes):
    return {"blocks": [{**ROW, **changes}]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "expected a JSON file"),
        ([], r"the file: expected an object with the keys blocks, got \[\]"),
        ({"blocks": 3}, "blocks: expected a list of rows, got 3"),
        ({"blocks": [], "plans": []}, "plans: expected one of the keys blocks, measured"),
        ({"blocks": [ROW, ROW]}, r"blocks\[1\]: expected a device, dtype and states that no other"),
        (changed(warps=2), r"blocks\[0\]\.warps: expected one of the keys device, dtype, .*"),
        ({"blocks": [{"device": "cpu"}]}, r"blocks\[0\]: expected the key 'dtype', got \[\"dev"),
        (changed(device=""), r"blocks\[0\]\.device: expected a text that is not empty"),
        (changed(device=7), r"blocks\[0\]\.device: expected a text that is not empty, got 7"),
        (changed(dtype="float64"), r"dtype: expected one of bfloat16, float16, float32, got \"f"),
        (changed(dtype=[1]), r"dtype: expected one of bfloat16, float16, float32, got \[1\]"),
        (changed(states=12), "states: expected a power of two from 2 to 1024, got 12"),
        (changed(tile=4), "tile: expected a power of two from 8 to 16, got 4"),
        (changed(interval=24), "interval: expected a power of two from 8 to 64, got 24"),
        (changed(tile=16, interval=8), "interval: expected a power of two from 16 to 64, got 8"),
        (changed(interval=True), "interval: expected a power of two"),
        (changed(forward=None), r"blocks\[0\]\.forward: expected an object with the keys width"),
        (
            changed(backward={"width": 48, "registers": None, "resident": 8}),
            r"blocks\[0\]\.backward\.width: expected a power of two from 32 to 256, got 48",
        ),
        (
            changed(backward={"width": 64, "registers": 300, "resident": 8}),
            r"backward\.registers: expected an integer from 32 to 255, got 300",
        ),
        (
            changed(backward={"width": 64, "registers": None, "resident": 0.5}),
            r"backward\.resident: expected an integer from 1 to 64, got 0.5",
        ),
    ],
)
def test_what_is_wrong_is_said_and_where(write, monkeypatch, document, message):
    path = write(document)
    monkeypatch.setenv("GENOMAMBA_BLOCKS", str(path))
    with pytest.raises(PlanFileError, match=rf"GENOMAMBA_BLOCKS={path}: .*{message}"):
        choose_plan(torch.zeros(1), 2)


def test_a_missing_file_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("GENOMAMBA_BLOCKS", str(tmp_path / "none.json"))
    with pytest.raises(PlanFileError, match=r"none\.json: expected a JSON file.*No such file"):
        choose_plan(torch.zeros(1), 2)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on overflow
def test_the_scan_takes_the_plan_of_the_file(write, monkeypatch, scan, assert_close):
    case = scan(1, 40, 5, 2)
    truth = case.run("reference")
    case = case.to(torch.float32).on(DEVICE)
    monkeypatch.setattr(plan_choice, "device_name", lambda device: "cpu")
    monkeypatch.setenv("GENOMAMBA_BLOCKS", str(write({"blocks": [ROW]})))
    taken = []
    of_launch = triton_autograd.scan_forward

    def scan_forward(inputs, shared, initial_state, plan, save, **options):
        taken.append(plan)
        return of_launch(inputs, shared, initial_state, plan, save, **options)

    monkeypatch.setattr(triton_autograd, "scan_forward", scan_forward)
    first, again = ({k: v.cpu() for k, v in case.run("triton").items()} for _ in range(2))
    assert len(taken) >= 2  # a GPU rehearses a launch
    assert set(taken) == {NARROW}
    assert_close(first, truth, 1e-5, 1e-4)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_recomputation_keeps_the_state_before_every_tile():
    assert recomputed(DEFAULT_PLAN) == DEFAULT_PLAN._replace(interval=8)
    assert recomputed(DEFAULT_PLAN._replace(tile=16)).interval == 16
