"""Mamba models as plain nn.Modules: no files, no Lightning."""

from genomamba.models.backbone import MambaBackbone
from genomamba.models.config import MambaConfig
from genomamba.models.mixer import MambaMixer
from genomamba.models.state import KeyValues, LayerState, MambaState
from genomamba.models.wholes import MambaForClassification, MambaForPretraining

__all__ = [
    "KeyValues",
    "LayerState",
    "MambaBackbone",
    "MambaConfig",
    "MambaForClassification",
    "MambaForPretraining",
    "MambaMixer",
    "MambaState",
]
