"""The encoder behind `--checkpoint`, ready to describe images."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from histo_jax import weights
from histo_jax.errors import HistoError
from histo_jax.evaluation import entrants, features, floors, foreign
from histo_jax.evaluation.features import LAYERS
from histo_jax.training import checkpoint

__all__ = ["LAYERS", "Encoder", "open_encoder"]


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A frozen encoder.

    Attributes:
      network: its architecture, and how its images are scaled.
      layer: which output, one of `LAYERS`.
      params, batch_stats: its weights.
      card: as a checkpoint's.
    """

    network: features.Network
    layer: str
    params: dict
    batch_stats: dict
    card: dict

    @property
    def size(self) -> int:
        """Pixels a side of its images."""
        return self.card["image_size"]

    @functools.cached_property
    def width(self) -> int:
        """Numbers an image."""
        return features.width(*self._known, self.size)

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What a file of its features says of it, by the names of `store.Facts`."""
        return {
            "encoder": self.card["encoder"],
            "layer": self.layer,
            "checkpoint": weights.digest(self.params, self.batch_stats),
            "scale": f"{list(self.network.mean)} {list(self.network.std)}",
            "patch_size": self.size,
        }

    def describe(self, batches: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
        """Features float32 [b, width] of each batch uint8 [b, size, size, 3], b <= batch_size.

        Raises:
          HistoError: `features-not-finite`.
        """
        made = features.describe(*self._known, batches, batch_size)
        yield from map(features.finite, made)

    @property
    def _known(self) -> tuple[features.Network, str, dict, dict]:
        return self.network, self.layer, self.params, self.batch_stats


def open_encoder(source: str, layer: str = "pooled") -> Encoder:
    """Opens what `--checkpoint` names, as eval.py reads it.

    A `random:ARCHITECTURE` is torchvision's initialisation of seed 0.

    Raises:
      HistoError: it can't be read, holds features, or its weights don't fit its card; no such
        layer.
    """
    if layer not in LAYERS:
        raise HistoError("--layer", "config", f"is {layer!r}", "known: " + ", ".join(LAYERS))
    found, untrained = foreign.open_sources([source])
    if untrained:
        card = entrants.UNTRAINED | {"encoder": untrained}
        network = entrants.network(card)
        return Encoder(network, layer, *floors.random_init(network.encoder, 0), card)
    (loaded,) = found.values()
    if isinstance(loaded, foreign.Given):
        remedy = "name a run, or a file of weights"
        raise HistoError(loaded.path, "config", "holds features, no encoder", remedy)
    network = entrants.network(loaded.card)
    have = {"params": loaded.params, "batch_stats": loaded.batch_stats}
    checkpoint.fill(floors.shapes(network.encoder), checkpoint.named(have), loaded.path)
    return Encoder(network, layer, loaded.params, loaded.batch_stats, loaded.card)
