"""Help needs neither torch nor pandas; the layout keeps the names that other packages own free."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "lightning", "pandas", "numpy", "pyarrow", "matplotlib", "triton"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["prepare", "--help"],
        ["classify", "--help"],
        ["demo", "--help"],
        ["export", "--help"],
        ["import", "--help"],
        ["generate", "--help"],
        ["embed", "--help"],
        ["report", "--help"],
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from genomamba.cli import main\n"
        "try:\n"
        f"    code = main({arguments!r})\n"
        "except SystemExit as stop:\n"
        "    code = stop.code\n"
        "print(code or 0, *sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    exit_code, *modules = done.stderr.split()
    assert exit_code == "0"
    assert done.stdout
    assert not HEAVY & set(modules)


def test_unknown_command_names_the_nearest() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "genomamba", "clasify"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Did you mean classify?" in done.stderr
    assert not done.stdout


def test_source_roots_are_no_packages() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists()
    assert not (ROOT / "data_prep" / "__init__.py").exists()
