"""The wheel, built by way of the sdist, works outside the checkout and beside other packages."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by way of the sdist from the files that git does not ignore."""
    folder = tmp_path_factory.mktemp("build")
    clone = folder / "clone"
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, names.split("\0")):
        if not (ROOT / name).exists() and not (ROOT / name).is_symlink():
            continue  # deleted, not yet committed
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to(os.readlink(ROOT / name))
        else:
            target.write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, clone, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with our wheel and Hugging Face's kernels; the rest is borrowed."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    executable = folder / "bin" / "python"
    hugging_face = f"kernels=={version('kernels')}"
    run(executable, "-m", "pip", "install", "-q", "--no-deps", hugging_face, cwd=folder)
    run(executable, "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=folder)
    # A path line in a .pth file adds a folder without processing that folder's own .pth files, so
    # that the checkout's editable installation stays out.
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return executable


def test_wheel_holds_our_packages_and_data_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "genomamba",
        "genomamba_kernels",
        "genomamba_data_prep",
    }
    for folder in ("configs", "workflows"):
        shipped = {
            f"genomamba/assets/{name}" for name in run("git", "ls-files", folder, cwd=ROOT).split()
        }
        assert shipped
        assert shipped <= set(names)


def test_packages_import_outside_the_checkout(python: Path, tmp_path: Path) -> None:
    code = (
        "import genomamba, genomamba_kernels, genomamba_data_prep as d, genomamba.training.cli;"
        "print(genomamba.__file__, genomamba_kernels.__file__, d.__file__)"
    )
    for file in run(python, "-c", code, cwd=tmp_path).split():
        assert Path(file).is_relative_to(python.parents[1])


def test_hugging_face_kernels_stays_importable(python: Path, tmp_path: Path) -> None:
    code = "import kernels, genomamba_kernels; print(kernels.__file__, kernels.get_kernel.__name__)"
    file, function = run(python, "-c", code, cwd=tmp_path).split()
    assert Path(file).is_relative_to(python.parents[1])
    assert function == "get_kernel"


def test_commands_run_outside_the_checkout(python: Path, tmp_path: Path) -> None:
    command = python.with_name("genomamba")
    assert run(command, "--version", cwd=tmp_path).strip() == version("genomamba")
    assert run(python, "-m", "genomamba", "--version", cwd=tmp_path).strip() == version("genomamba")
    run(command, "init", "mine", cwd=tmp_path)
    for folder in ("configs", "workflows"):
        for name in run("git", "ls-files", folder, cwd=ROOT).split():
            assert (tmp_path / "mine" / name).read_bytes() == (ROOT / name).read_bytes()


def test_config_name_finds_the_installed_file(python: Path, tmp_path: Path) -> None:
    command = python.with_name("genomamba")
    shown = run(command, "fit", "--config", "species/base", "--print_config", cwd=tmp_path)
    assert "ClassificationTask" in shown
