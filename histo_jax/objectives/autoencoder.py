"""The autoencoder of the paper's appendix E: a U-Net gives back the image it is shown."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from histo_jax.losses import colour_loss
from histo_jax.models import build_unet
from histo_jax.objectives import pixels

NAME = "autoencoder"


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """Image in, image out.

    Attributes:
      encoder: see `histo_jax.models.build_encoder`.
      skips: whether the decoder also sees the encoder's early layers, as the paper's U-Net does;
        through the first of them the image passes almost as it is.
    """

    encoder: Any
    skips: bool

    def views(self, **how: Any) -> Callable:
        """One crop of each image, its colours as they are: [b, 1, s, s, 3]."""
        return pixels.views(**how)

    def init(self, key: jax.Array, images: jax.Array) -> tuple[Any, Any]:
        """Fresh `(params, model_state)`, each with parts `encoder` and `autoencoder`."""
        return pixels.init(self._net(), NAME, key, images)

    def loss(
        self, params: Any, model_state: Any, views: jax.Array, key: jax.Array, axis: str | None
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        """Mean absolute difference in [-1, 1] of the global batch, new statistics, no metrics.

        Args as of `SimCLR.loss`; `views` are [n, 1, s, s, 3].
        """
        images = views[:, 0]
        said, stats = pixels.paint(self._net(), NAME, params, model_state["batch_stats"], images)
        return colour_loss(said, images, axis), ({"batch_stats": stats}, {})

    def _net(self) -> Any:
        return build_unet(self.encoder, 3, self.skips)
