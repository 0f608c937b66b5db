"""A store that was edited after it was encoded is noticed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genomamba.cli import main
from genomamba_data_prep import store_check
from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.store import Store

FILES = ("codes.bin", "n_runs.bin", "manifest.json")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fasta = tmp_path / "x.fa"
    fasta.write_text(">one\nACGTNNNNacgtn\n>two\nNNGT\n")
    return encode_fasta([fasta], tmp_path / "store").path


def edit(path: Path, content: bytes, *, later: bool = True) -> None:
    """Write other content of the same size, as an editor would, or with the old date."""
    before = path.stat()
    path.write_bytes(content)
    shift = 10**9 if later else 0
    os.utime(path, ns=(before.st_atime_ns + shift, before.st_mtime_ns + shift))


def test_edited_codes(path: Path) -> None:
    edit(path / "codes.bin", bytes(17))
    with pytest.raises(InputError, match=r"codes.bin: was edited after it was encoded.*--force"):
        Store.open(path)


def test_edited_runs(path: Path) -> None:
    runs = np.fromfile(path / "n_runs.bin", dtype="<i8")
    assert runs.tolist() == [4, 8, 12, 15]
    edit(path / "n_runs.bin", (runs + 1).tobytes())
    with pytest.raises(InputError, match=r"n_runs.bin: was edited after it was encoded"):
        Store.open(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["records"][0].update(name="chr1"),
        lambda m: m["records"][0].update(gc=0),
        lambda m: m.update(species="chimp"),
        lambda m: m["records"].reverse(),
        lambda m: m.update(codes_sha256="0" * 64),
    ],
)
def test_edited_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = path / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"manifest was edited after it was written.*--force"):
        Store.open(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["records"][1].update(offset=12), "do not fit each other"),
        (lambda m: m["records"][0].update(gc=14), "do not fit each other"),
        (lambda m: m["records"][0].update(n=-1), "not a whole number from 0"),
        (lambda m: m["records"][0].update(length="13"), "not a whole number from 0"),
        (lambda m: m["records"][1].update(name="one"), "occurs twice"),
        (lambda m: m.update(records=[]), "no records"),
        (lambda m: m.update(species=3), "not all text"),
        (lambda m: m.update(n_runs=True), "n_runs"),
        (lambda m: m["sources"][0].update(path=None), "source's path"),
        (lambda m: m.update(records=None), "NoneType"),
    ],
)
def test_a_manifest_that_describes_no_store(
    path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    file = path / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    content["sha256"] = store_check.content_hash(content)
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"manifest is damaged: .*{message}"):
        Store.open(path)


def test_dates_alone_are_no_edit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[object] = []
    verify = store_check.verify
    monkeypatch.setattr(store_check, "verify", lambda *a: (hashed.append(a), verify(*a)))
    Store.open(path)
    assert not hashed
    copy = path.with_name("copy")
    shutil.copytree(path, copy, copy_function=shutil.copyfile)
    os.utime(copy / "codes.bin", (2**32, 2**32))
    Store.open(copy)
    Store.open(copy)
    assert len(hashed) == 1


def test_verify_hashes_in_any_case(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "inspect", "--verify", str(path)]) == 0
    assert "as it was encoded" in capsys.readouterr().err
    edit(path / "codes.bin", bytes(17), later=False)
    Store.open(path)  # nothing tells
    assert main(["prepare", "inspect", "--verify", str(path)]) == 2
    assert "was edited after it was encoded" in capsys.readouterr().err
