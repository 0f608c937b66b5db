"""The configs and workflows inside the wheel, found by name and copied out on request."""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from pathlib import Path

CONFIG_SUFFIX = ".yaml"


def folder(name: str) -> Path:
    """The installed ``configs`` or ``workflows`` folder."""
    with as_file(files("genomamba.assets") / name) as path:
        return path


def config_names() -> list[str]:
    """Names that ``find_config`` accepts: paths below configs/ without the suffix."""
    root = folder("configs")
    return sorted(
        str(path.relative_to(root).with_suffix("")) for path in root.rglob(f"*{CONFIG_SUFFIX}")
    )


def find_config(name: str) -> Path | None:
    """The installed config of that name (``species/base``), or None."""
    if name not in config_names():
        return None
    return folder("configs") / (name + CONFIG_SUFFIX)


def copy_to(directory: str | Path) -> list[Path]:
    """Copy configs/ and workflows/ into ``directory``; returns the copied folders.

    Raises:
        FileExistsError: one of them is already there; nothing has been copied.
    """
    targets = {name: Path(directory) / name for name in ("configs", "workflows")}
    for target in targets.values():
        if target.exists():
            raise FileExistsError(17, "already exists", str(target))
    for name, target in targets.items():
        shutil.copytree(folder(name), target, symlinks=False)
    return list(targets.values())
