"""Pretext tasks: one file each, one explicit table."""

from typing import Any

from histo_jax.errors import HistoError
from histo_jax.objectives.autoencoder import Autoencoder
from histo_jax.objectives.colorization import Colorization
from histo_jax.objectives.cpc import CPC
from histo_jax.objectives.simclr import SimCLR

__all__ = [
    "OBJECTIVES", "CPC", "Autoencoder", "Colorization", "SimCLR", "build_objective",
    "check_negatives",
]  # fmt: skip

# name: (the task, which options it takes beside the encoder)
OBJECTIVES = {
    "simclr": (SimCLR, ("projector", "temperature")),
    "autoencoder": (Autoencoder, ("skips",)),
    "colorization": (Colorization, ("skips", "colours")),
    "cpc": (CPC, ()),
}


def build_objective(name: str, *, encoder: Any, **options: Any) -> Any:
    """The pretext task of that name.

    Args:
      name: a key of `OBJECTIVES`.
      encoder: see `histo_jax.models.build_encoder`.
      **options: at least those the task takes; others are left aside.

    Raises:
      HistoError: the name is not in the table, or the task can't use this encoder.
    """
    if name not in OBJECTIVES:
        known = "known: " + ", ".join(OBJECTIVES)
        raise HistoError("config.objective.name", "config", f"is {name!r}", known)
    task, takes = OBJECTIVES[name]
    return task(encoder, **{option: options[option] for option in takes})


def check_negatives(objective: Any, batch_size: int) -> None:
    """Refuses batches too small to hold what a contrastive task tells apart.

    Raises:
      HistoError: fewer images than the task needs.
    """
    fewest = getattr(objective, "fewest", 1)
    if batch_size < fewest:
        what = f"{batch_size} image a batch leaves nothing to tell it from"
        raise HistoError("config.data.batch_size", "batch", what, f"at least {fewest}")
