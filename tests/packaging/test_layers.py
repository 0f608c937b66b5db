"""The import rules hold, and the linter that says so notices a breach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BREACHES = {
    "data preparation imports torch": (
        "data_prep/genomamba_data_prep/codes.py",
        "import torch",
    ),
    "models import lightning": ("genomamba/models/__init__.py", "import lightning"),
    "training imports inference": (
        "genomamba/training/__init__.py",
        "import genomamba.inference",
    ),
    "data imports kernels": ("genomamba/data/__init__.py", "import genomamba_kernels"),
    "kernels import numpy": ("kernels/genomamba_kernels/__init__.py", "import numpy"),
}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the sources below ``root``, never on the installed ones."""
    paths = os.pathsep.join(str(root / part) for part in ("", "kernels", "data_prep"))
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in (
        "genomamba",
        "kernels/genomamba_kernels",
        "data_prep/genomamba_data_prep",
    ):
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("__pycache__", "configs", "workflows"),
        )
    return tmp_path


def test_the_tree_keeps_its_layers(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("breach", BREACHES)
def test_a_planted_breach_is_caught(copy: Path, breach: str) -> None:
    file, line = BREACHES[breach]
    with (copy / file).open("a") as source:
        source.write(f"\n{line}\n")
    done = lint(copy)
    assert done.returncode != 0, f"not caught: {breach}\n{done.stdout}"
    assert "BROKEN" in done.stdout
