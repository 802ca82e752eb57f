"""CPC v2 (Hénaff et al. 2019), one of the paper's comparisons (appendix E)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from histo_jax.augment.patches import GRID, make_patches
from histo_jax.errors import HistoError
from histo_jax.losses import infonce
from histo_jax.models import Context

NAME = "cpc"
DIRECTIONS = ("down", "left", "up", "right")  # quarter turns of the grid that make it "down"
SCALE = 0.1  # of the predictions


@dataclasses.dataclass(frozen=True)
class CPC:
    """Each patch of an image is predicted from those beyond its neighbours, in four directions.

    Attributes:
      encoder: one with layer norm: batch statistics would pass from patch to patch, and tell
        which are of one image. See `histo_jax.models.build_encoder`.
    """

    encoder: Any
    fewest = 2  # images a batch: the negatives

    def __post_init__(self):
        if not self.encoder.layer_norm:
            what = "has batch norm, through which cpc's patches would see each other"
            remedy = "take one with layer norm, e.g. resnet50_ln"
            raise HistoError("config.model.encoder", "config", what, remedy)

    def views(self, **how: Any) -> Callable:
        """The patches of each image, [b, 49, s / 4, s / 4, 3]."""
        return make_patches(**how)

    def init(self, key: jax.Array, images: jax.Array) -> tuple[Any, Any]:
        """Fresh `(params, model_state)`: `encoder`, and a context network a direction in `cpc`."""
        of_encoder, of_context = jax.random.split(key)
        grid = jnp.zeros((1, GRID, GRID, self.encoder.features), images.dtype)
        keys = jax.random.split(of_context, len(DIRECTIONS))
        four = jax.vmap(lambda k: self._context().init(k, grid)["params"])(keys)
        params = {
            "encoder": self.encoder.init(of_encoder, images, train=False)["params"],
            NAME: {
                way: jax.tree.map(lambda x, i=i: x[i], four) for i, way in enumerate(DIRECTIONS)
            },
        }
        return params, {"batch_stats": {"encoder": {}}}

    def loss(
        self, params: Any, model_state: Any, views: jax.Array, key: jax.Array, axis: str | None
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        """The loss of the global batch, mean over directions, the state as it was, and metrics.

        Args as of `SimCLR.loss`; `views` are [n, 49, p, p, 3].
        """
        z, state = self.embed(params, model_state, views, key)
        loss, metrics = self.loss_from_embeddings(z, axis)
        return loss, (state, metrics)

    def embed(
        self, params: Any, model_state: Any, views: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Any]:
        """Predictions, then targets, of each image in each direction; the state as it was.

        The first are [n, 4, 28 + 49, d]: no image has a part in those of another.
        """
        n, patches = views.shape[:2]
        images = views.reshape(n * patches, *views.shape[2:])
        out = self.encoder.apply({"params": params["encoder"]}, images, train=True)
        grid = out["pooled"].reshape(n, GRID, GRID, -1)
        net = self._context()
        grids = jnp.stack([jnp.rot90(grid, turns, axes=(1, 2)) for turns in range(4)])
        weights = jax.tree.map(lambda *x: jnp.stack(x), *(params[NAME][way] for way in DIRECTIONS))
        said, known = jax.vmap(lambda z, w: net.apply({"params": w}, z))(grids, weights)
        both = [x.reshape(len(DIRECTIONS), n, -1, net.dim) for x in (SCALE * said, known)]
        return jnp.concatenate(both, axis=2).swapaxes(0, 1), model_state

    def loss_from_embeddings(
        self, z: jax.Array, axis: str | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of the global batch and metrics, from what `embed` gives on this device."""
        own, known = places(len(z), self._context().step), GRID * GRID

        def one_way(z: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
            said, targets = z[:, :-known], z[:, -known:]
            return infonce(*(x.reshape(-1, x.shape[-1]) for x in (said, targets)), own, axis)

        each = [one_way(z[:, way]) for way in range(len(DIRECTIONS))]
        return jax.tree.map(lambda *x: sum(x) / len(x), *each)

    def _context(self) -> Context:
        return Context(dtype=self.encoder.dtype, param_dtype=self.encoder.param_dtype)


def places(n: int, step: int) -> jax.Array:
    """Which target each prediction of `n` images is about, rows flattened, int32."""
    every = jnp.arange(n * GRID * GRID, dtype=jnp.int32).reshape(n, GRID, GRID)
    return every[:, step:].reshape(-1)
