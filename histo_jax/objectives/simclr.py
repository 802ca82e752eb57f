"""SimCLR (Chen et al. 2020), the method of the paper (section 3.1)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from histo_jax.augment.recipes import make_views
from histo_jax.losses import ntxent


@dataclasses.dataclass(frozen=True)
class SimCLR:
    """Two views of an image attract, views of other images repel.

    Attributes:
      encoder: see `histo_jax.models.build_encoder`.
      projector: see `histo_jax.models.build_projector`.
      temperature: of the loss.
    """

    encoder: Any
    projector: Any
    temperature: float
    fewest = 2  # images a batch: the negatives

    def views(self, **how: Any) -> Callable:
        """Two views of each image, [b, 2, s, s, 3]; see `histo_jax.augment.recipes.make_views`."""
        return make_views(**how)

    def init(self, key: jax.Array, images: jax.Array) -> tuple[Any, Any]:
        """Fresh `(params, model_state)`, each with parts `encoder` and `projector`.

        Args:
          key: a random key.
          images: [1, s, s, 3], for its shape and type only.
        """
        of_encoder, of_projector = jax.random.split(key)
        features = jnp.zeros((1, self.encoder.features), images.dtype)
        nets = {
            "encoder": self.encoder.init(of_encoder, images, train=False),
            "projector": self.projector.init(of_projector, features, train=False),
        }
        params = {name: net["params"] for name, net in nets.items()}
        stats = {name: net.get("batch_stats", {}) for name, net in nets.items()}
        return params, {"batch_stats": stats}

    def loss(
        self, params: Any, model_state: Any, views: jax.Array, key: jax.Array, axis: str | None
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        """The loss of the global batch, the new running statistics, and metrics.

        Args:
          params, model_state: as `init` makes them.
          views: this device's pairs, [n, 2, s, s, 3] in [-1, 1].
          key: unused: SimCLR draws nothing beside the views.
          axis: name of the device axis, or None for one device.
        """
        z, new = self.embed(params, model_state, views, key)
        loss, metrics = self.loss_from_embeddings(z, axis)
        return loss, (new, metrics)

    def embed(
        self, params: Any, model_state: Any, views: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Any]:
        """Embeddings [n, 2, d] of pairs, and the new running statistics."""
        # One pass over both views: batch statistics of one view alone would mark its members.
        images = jnp.concatenate([views[:, 0], views[:, 1]])
        stats = model_state["batch_stats"]
        out, of_encoder = self.encoder.apply(
            {"params": params["encoder"], "batch_stats": stats["encoder"]},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        z, of_projector = self.projector.apply(
            {"params": params["projector"], "batch_stats": stats["projector"]},
            out["pooled"],
            train=True,
            mutable=["batch_stats"],
        )
        new = {
            "encoder": of_encoder.get("batch_stats", {}),  # layer norm has none
            "projector": of_projector.get("batch_stats", {}),
        }
        return jnp.stack(jnp.split(z, 2), axis=1), {"batch_stats": new}

    def loss_from_embeddings(
        self, z: jax.Array, axis: str | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of the global batch and metrics, from this device's embeddings [n, 2, d]."""
        return ntxent(z[:, 0], z[:, 1], self.temperature, axis)
