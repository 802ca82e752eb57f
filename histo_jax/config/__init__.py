"""Every option of a run as frozen dataclasses; recipes and flags come in here, checked."""

from histo_jax.config.check import check, differences, field
from histo_jax.config.flags import describe, from_values, load
from histo_jax.config.schema import (
    Augment,
    Config,
    Data,
    EvalConfig,
    EvalData,
    Model,
    Objective,
    Optimizer,
    Probe,
    Segment,
    Supervised,
    Training,
)

__all__ = [
    "Config", "Data", "Augment", "Model", "Objective", "Optimizer", "Probe", "Training",
    "EvalConfig", "EvalData", "Supervised", "Segment",
    "load", "from_values", "describe", "check", "field", "differences",
]  # fmt: skip
