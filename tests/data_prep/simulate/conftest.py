"""Small Markov simulations that several tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from genomamba_data_prep.simulate.markov_simulation import markov_truth
from genomamba_data_prep.simulate.masks import Runs
from genomamba_data_prep.simulate.truth import MarkovTruth


@pytest.fixture(scope="session")
def make_truth() -> Callable[..., MarkovTruth]:
    def make(**changes: object) -> MarkovTruth:
        settings: dict = {
            "chromosomes": 2,
            "length": 100_000,
            "seed": 0,
            "order": 2,
            "kl": 2e-3,
            "n_runs": Runs(0.0, 300.0),
            "soft_mask_runs": Runs(0.0, 300.0),
        }
        return markov_truth(**settings | changes)

    return make
