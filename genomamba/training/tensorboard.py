"""TensorBoard's files, from the first logged value on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger


class LazyTensorBoard(TensorBoardLogger):
    """Lightning's, but nothing is made before something is logged.

    Lightning asks loggers for their ``experiment``, if they have one, before it sets the data up: a
    mistake that is found there would leave a folder with an empty file.
    """

    _has_logged = False

    @property
    def experiment(self) -> Any:
        if not self._has_logged:
            raise AttributeError("experiment: nothing is logged yet")
        return super().experiment

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._has_logged = True
        super().log_metrics(metrics, step)

    def save(self) -> None:
        if self._has_logged:
            super().save()
