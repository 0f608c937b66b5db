"""A backend or variable that the kernels refuse is a user's mistake, and said as one."""

from __future__ import annotations

import pytest
import torch

from genomamba import cli
from genomamba_kernels import selective_scan

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def scan(*_):
    x, BC = torch.zeros(1, 2, 3, device=DEVICE), torch.zeros(1, 2, 2, device=DEVICE)
    selective_scan(x, x, -torch.ones(3, 2, device=DEVICE), BC, BC)
    return 0


def test_a_wrong_variable_is_said(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_run", scan)
    assert cli.main(["fit"]) == 0
    monkeypatch.setenv("GENOMAMBA_BACKEND", "cuda")
    assert cli.main(["fit"]) == 2
    message = "genomamba: error: GENOMAMBA_BACKEND: expected one of ('auto', 'triton', 'torch', "
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the backend runs on a GPU")
def test_a_backend_that_cannot_run_here_is_said(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_run", scan)
    monkeypatch.setenv("GENOMAMBA_BACKEND", "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert cli.main(["fit"]) == 2
    message = 'genomamba: error: backend: "triton" expects data on a CUDA device'
    assert capsys.readouterr().err.startswith(message)


def test_a_wrong_file_of_block_sizes_is_said(monkeypatch, capsys, tmp_path):
    pytest.importorskip("triton")
    monkeypatch.setattr(cli, "_run", scan)
    monkeypatch.setenv("GENOMAMBA_BACKEND", "triton")
    monkeypatch.setenv("GENOMAMBA_BLOCKS", str(tmp_path / "none.json"))
    assert cli.main(["fit"]) == 2
    assert f"GENOMAMBA_BLOCKS={tmp_path / 'none.json'}: expected" in capsys.readouterr().err


def test_other_errors_are_ours(monkeypatch):
    def fail(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["fit"])
