"""The loader: order and bits for any processes and shapes, errors, and memory that stays."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
import torch

from genomamba.data.batch import Batch
from genomamba.data.datasets import WindowDataset
from genomamba.data.loader import WindowLoader, end_processes
from genomamba_data_prep.codes import Codes
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.n_index import Int64

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


class Numbers(WindowDataset):
    """Windows whose bases are their number; those from 500 on are twice as long; 666 is bad."""

    def __init__(self) -> None:
        super().__init__(labelled=True)

    def length_of(self, example: int) -> int:
        return 5 if example < 500 else 10

    def _fill(self, index: Int64, codes: Codes) -> tuple[Int64, Int64]:
        if 666 in index:
            raise InputError("bad window", file="x.fa", fix="Mend it")
        codes[:] = (index % 251)[:, None]
        return index * 2, index * 3


def check(batches: Sequence[Batch], expected: Sequence[Sequence[int]]) -> None:
    assert [batch.index.tolist() for batch in batches] == [list(numbers) for numbers in expected]
    for batch in batches:
        length = 5 if batch.index[0] < 500 else 10
        assert batch.codes.shape == (len(batch), length)
        assert batch.codes.dtype == torch.uint8
        assert torch.equal(batch.codes, (batch.index % 251)[:, None].expand(-1, length).byte())
        assert torch.equal(batch.labels, batch.index * 2)
        assert torch.equal(batch.refused, batch.index * 3)


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_batches_come_in_order_and_stay_as_they_are(workers: int, size: int) -> None:
    """All are kept while others are read: none is a view of memory that is written again."""
    expected = [range(i, min(i + size, 50)) for i in range(0, 50, size)]
    expected += [range(i, i + size) for i in range(500, 560, size)]
    loader = WindowLoader(Numbers(), expected, [(size, 5), (size, 10)], num_workers=workers)
    for _ in range(2):
        check(list(loader), expected)
    assert len(loader) == len(expected)


def test_a_signal_to_stop_spares_a_loader_process_that_has_hardly_begun() -> None:
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_loader import Numbers, WindowLoader
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
loader = WindowLoader(Numbers(), [range(4), range(4, 8)], [(4, 5)], num_workers=2)
assert [batch.index.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7]]
assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_what_waits_for_good_is_ended() -> None:
    context = multiprocessing.get_context("fork")
    waiting = context.Event()
    process = context.Process(target=_ignore_signals_and_wait, args=(waiting,), daemon=True)
    process.start()
    assert waiting.wait(30)
    process.terminate()  # as Python does at its exit
    process.join(0.2)
    assert process.is_alive()
    end_processes()
    process.join(30)
    assert not process.is_alive()


def _ignore_signals_and_wait(waiting: Event) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    waiting.set()
    signal.pause()


def test_two_iterations_at_once() -> None:
    expected = [range(i, i + 4) for i in range(0, 40, 4)]
    loader = WindowLoader(Numbers(), expected, [(4, 5)], num_workers=2)
    pairs = list(zip(loader, loader, strict=True))
    for side in range(2):
        check([pair[side] for pair in pairs], expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mistake_in_the_data_arrives_as_it_was_made(workers: int) -> None:
    batches = [range(660, 664), range(664, 668), range(668, 672)]
    stream = iter(WindowLoader(Numbers(), batches, [(4, 10)], num_workers=workers))
    assert next(stream).index.tolist() == [660, 661, 662, 663]
    with pytest.raises(InputError) as refusal:
        next(stream)
    assert str(refusal.value) == "x.fa: bad window. Mend it"
    assert (refusal.value.file, refusal.value.fix) == ("x.fa", "Mend it")


def test_a_dataset_is_map_style() -> None:
    check([Numbers()[7], Numbers().__getitems__([501, 503])], [[7], [501, 503]])


def test_no_room_for_shared_memory() -> None:
    loader = WindowLoader(Numbers(), [range(4)], [(1 << 20, 1 << 26)], num_workers=1)
    with pytest.raises(InputError, match=r"no shared memory of .* bytes .*--shm-size"):
        next(iter(loader))


def test_no_end_has_no_length() -> None:
    with pytest.raises(TypeError):
        len(WindowLoader(Numbers(), iter([range(4)]), [(4, 5)]))


SCRIPT = """
import os, sys
from itertools import islice
sys.path.insert(0, sys.argv[1])
from window_memory import tree_pss
from windows import loader_of
from genomamba_data_prep.species_set import SpeciesSet

species_set = SpeciesSet.open(sys.argv[2])
for workers in (1, 3):
    stream = iter(loader_of(species_set, 32, 1 << 20, workers))
    list(map(len, islice(stream, 6)))
    own, others = tree_pss()
    print(own, *others)
    stream.close()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_processes(tmp_path: Path) -> None:
    """Batches of 32 MiB: what each process adds is an interpreter, no batch and no genome."""
    from genomamba_data_prep.encode import encode_fasta

    letters = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(0).integers(0, 4, 1 << 23)]
    (tmp_path / "x.fa").write_bytes(b">chr1\n" + letters.tobytes() + b"\n")
    encode_fasta([tmp_path / "x.fa"], tmp_path / "x")
    benchmarks = Path(__file__).parents[2] / "data_prep" / "benchmarks"
    command = [sys.executable, "-c", SCRIPT, str(benchmarks), str(tmp_path / "x")]
    printed = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    one, three = ([int(value) for value in line.split()] for line in printed.splitlines())
    assert (len(one), len(three)) == (2, 4)
    assert sum(three) - sum(one) < 2 * 24 * 2**20  # an interpreter's own pages


def test_slots_are_freed() -> None:
    for _ in range(3):
        list(WindowLoader(Numbers(), [range(4)] * 3, [(4, 5)], num_workers=1))
    gc.collect()
    assert not [
        line for line in Path("/proc/self/maps").read_text().splitlines() if "/torch_" in line
    ]
