"""Training with every sequence shared out over several processes, beside data parallelism.

The ranks form a grid, data x sequence: ``sequence_parallel_size`` consecutive ranks, mostly of one
machine, are given the same examples and work on a part of the positions each
(`genomamba.models.sequence_parallel`). Such a row of the grid is a replica in the sense of
Lightning's DDP. All its ranks return the same loss, so that DDP's mean of the gradients over all
ranks of the grid is the gradient of one process with the same global batch.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from genomamba.models import MambaBackbone
from genomamba_data_prep.errors import InputError

GRID = ("data", "sequence")


class SequenceParallelStrategy(DDPStrategy):
    """Lightning's DDP over replicas of several ranks, which share every sequence out.

    Args:
        sequence_parallel_size: ranks a sequence; divides the number of ranks.
        kwargs: ``DDPStrategy``'s.
    """

    grid: DeviceMesh

    def __init__(self, sequence_parallel_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sequence_parallel_size = sequence_parallel_size

    def setup_environment(self) -> None:
        """Start the ranks and form the grid.

        Raises:
            InputError: ``sequence_parallel_size`` does not divide their number. Said here: the
                command line's parser replaces what a constructor says.
        """
        ranks, size = self.num_nodes * self.num_processes, self.sequence_parallel_size
        if size < 1 or ranks % size:
            raise InputError(
                f"sequence_parallel_size {size}: expected a divisor of the {ranks} rank(s)",
                fix="Ranks are trainer.devices x trainer.num_nodes",
            )
        super().setup_environment()
        self.grid = init_device_mesh(
            self.root_device.type,
            (ranks // size, size),
            mesh_dim_names=GRID,
        )

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Replicas, and this rank's: what a sampler of examples is to go by."""
        size = self.sequence_parallel_size
        return {"num_replicas": self.world_size // size, "rank": self.global_rank // size}

    @property
    def replicas_group(self) -> ProcessGroup:
        """One rank of every replica, of which this is one: for metrics that count examples."""
        return self.grid.get_group("data")

    def setup(self, trainer: Trainer) -> None:
        """Tell the network.

        Raises:
            InputError: it is to predict, or its mixer reads whole sequences.
        """
        if trainer.state.fn == TrainerFn.PREDICTING and self.sequence_parallel_size > 1:
            raise InputError(
                "predict writes a row a window, and here several ranks have the same windows",
                fix="Predict without SequenceParallelStrategy",
            )
        assert self.model is not None
        for module in self.model.modules():
            if isinstance(module, MambaBackbone):
                if not module.config.can("shares"):
                    raise InputError(
                        f"mixer {module.config.mixer} cannot share a sequence out over ranks",
                        fix="Use mixer mamba, or another strategy",
                    )
                module.sequence_group = self.grid.get_group("sequence")
        super().setup(trainer)


def examples_group(trainer: Trainer) -> ProcessGroup | None:
    """The ranks over which a metric of examples is summed up; None is all of them."""
    strategy = trainer.strategy
    return strategy.replicas_group if isinstance(strategy, SequenceParallelStrategy) else None
