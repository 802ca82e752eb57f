"""Pretext tasks: one file each, one explicit table."""

from typing import Any

from histo_jax.errors import HistoError
from histo_jax.objectives.simclr import SimCLR

__all__ = ["OBJECTIVES", "SimCLR", "build_objective"]

OBJECTIVES = {"simclr": SimCLR}


def build_objective(name: str, *, encoder: Any, projector: Any, temperature: float) -> SimCLR:
    """The pretext task of that name over these networks.

    Raises:
      HistoError: the name is not in the table.
    """
    if name not in OBJECTIVES:
        known = "known: " + ", ".join(OBJECTIVES)
        raise HistoError("config.objective.name", "config", f"is {name!r}", known)
    return OBJECTIVES[name](encoder, projector, temperature)
