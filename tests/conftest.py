"""Fixtures that every part shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with great_apes/ and distant_species/; without it the test is skipped."""
    name = os.environ.get("GENOMAMBA_REAL_DATA")
    if not name:
        pytest.skip("GENOMAMBA_REAL_DATA names no folder of real sequence")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"GENOMAMBA_REAL_DATA={name} is not a folder")
    return folder
