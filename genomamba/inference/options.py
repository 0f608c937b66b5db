"""What decides the results of a job, beside its inputs and its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from genomamba.inference.tiles import Tiling

Mode = Literal["windows", "stream"]
OnError = Literal["fail", "skip", "report"]

# Defaults by type of device. On the CPU a few hundred MB of activations of a small model; on a GPU
# a few GB, and batches that take longer than the host needs to prepare the next one.
MAX_BASES = {"cpu": 1 << 17, "cuda": 1 << 19}
# Seconds on a GPU, a minute or more on a CPU: a shard's file and journal cost some 10 ms on disk.
SHARD_BASES = {"cpu": 1 << 22, "cuda": 1 << 25}


@dataclass(frozen=True, slots=True)
class Options:
    """How records are cut, batched and scored.

    Args:
        mode: "windows": windows on their own, mean log-probability; "stream": the state carried
            from the first base to the last, the head read at the end.
        window: bases a window.
        max_bases: bases that the model works on at a time.
        shard_bases: bases a shard, at least one window or record.
        min_length: shorter records are not classified.
        max_n: windows (of a stream: records) with a larger fraction of N are not classified; one of
            N only never is.
        both_strands: classify the reverse complement too and average the log-probabilities.
        step: bases between the readouts of a stream's track; None without one.
        abstain: no prediction where its probability is lower.
        on_error: what a bad record or file does.
        records: names to classify, sorted; none is all.
        device: its type.
    """

    mode: Mode = "windows"
    window: int = 1
    max_bases: int = 1
    shard_bases: int = 1
    min_length: int = 0
    max_n: float = 0.5
    both_strands: bool = False
    step: int | None = None
    abstain: float = 0.0
    on_error: OnError = "fail"
    records: tuple[str, ...] = ()
    device: str = "cpu"

    @property
    def tiling(self) -> Tiling:
        """The stretches that have a result: windows, or a stream's steps."""
        if self.mode == "windows":
            return Tiling(self.window)
        return Tiling(self.step, full=False)

    @property
    def pieces(self) -> Tiling:
        """The stretches in which a record is read: windows, or what the model takes at a time."""
        return Tiling(self.window) if self.mode == "windows" else Tiling(self.max_bases, full=False)

    def usable(self, length: int, n_count: int) -> bool:
        """Whether a window or a stream has few enough N."""
        return n_count < length and n_count <= self.max_n * length
