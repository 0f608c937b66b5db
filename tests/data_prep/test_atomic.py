"""An output appears whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genomamba_data_prep.atomic import atomic_directory, atomic_file
from genomamba_data_prep.errors import InputError


def test_file_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "table.tsv.gz"
    with atomic_file(target) as temporary:
        assert temporary.suffixes[-2:] == [".tsv", ".gz"]
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.tsv"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("atomic", [atomic_file, atomic_directory])
def test_a_missing_folder_is_named(tmp_path: Path, atomic: Callable[..., Any]) -> None:
    with (
        pytest.raises(InputError, match=r"no such/table: .* does not exist.* mkdir -p '.*no such'"),
        atomic(tmp_path / "no such" / "table"),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("atomic", [atomic_file, atomic_directory])
def test_a_folder_that_cannot_be_written_to_is_named(
    tmp_path: Path, atomic: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # for root every folder is writable
    with pytest.raises(InputError, match=r"table: .* not writable"), atomic(tmp_path / "table"):
        pass


@pytest.mark.parametrize("atomic", [atomic_file, atomic_directory])
def test_a_file_in_the_folders_place_is_named(tmp_path: Path, atomic: Callable[..., Any]) -> None:
    file = tmp_path / "genome.fa"
    file.touch()
    with pytest.raises(InputError, match=r"table: .*genome.fa is a file"), atomic(file / "table"):
        pass


def test_a_folder_in_the_files_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "out.fa").mkdir()
    with (
        pytest.raises(InputError, match=r"/out\.fa: is a folder"),
        atomic_file(tmp_path / "out.fa"),
    ):
        pytest.fail("work was done for an output that cannot be written")
    assert [path.name for path in tmp_path.iterdir()] == ["out.fa"]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    def fail(number: int) -> None:
        raise OSError(number, "without a file's name")

    with pytest.raises(OSError, match="No space left") as full, atomic_file(tmp_path / "table"):
        fail(errno.ENOSPC)
    assert full.value.filename == str(tmp_path / "table")
    with pytest.raises(OSError, match="without"), atomic_file(tmp_path / "table"):
        fail(errno.EIO)
    assert not list(tmp_path.iterdir())


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "f") as temporary:
            temporary.write_text("")
        with atomic_directory(tmp_path / "d"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750


def test_directory_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(FileExistsError), atomic_directory(tmp_path / "store"):
        pytest.fail("the body must not run")
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]


def test_directory_replaces_whole(tmp_path: Path) -> None:
    target = tmp_path / "store"
    target.mkdir()
    (target / "stale").write_text("old")
    with atomic_directory(target, replace=True) as temporary:
        (temporary / "fresh").write_text("new")
        assert (target / "stale").exists()
    assert [path.name for path in target.iterdir()] == ["fresh"]
    assert list(tmp_path.iterdir()) == [target]


def test_failed_replacement_keeps_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "store"
    target.mkdir()
    (target / "kept").write_text("old")
    with (
        pytest.raises(OSError, match="disk"),
        atomic_directory(target, replace=True) as temporary,
    ):
        (temporary / "half").write_text("")
        raise OSError("disk")
    assert [path.name for path in target.iterdir()] == ["kept"]
    assert list(tmp_path.iterdir()) == [target]


def test_sigkill_leaves_no_target(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from genomamba_data_prep.atomic import atomic_directory\n"
        "with atomic_directory(sys.argv[1]) as folder:\n"
        "    (folder / 'half').write_text('half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    target = tmp_path / "store"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
