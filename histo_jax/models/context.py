"""The context network of CPC v2 (Hénaff et al. 2019, appendix): looks up, predicts down."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from histo_jax.models.heads import TORCH_LINEAR


class Context(nn.Module):
    """Sums up each row of a grid of features and the rows above, and predicts rows below.

    The convolutions of the original are small enough to be products of neighbours side by side.

    Attributes:
      step: how many rows further down the predicted rows lie.
      hidden: channels inside a block.
      dim: width of predictions and targets.
      blocks: residual blocks; each sees one row further up.
      dtype: of the matrix products; results are in `param_dtype`.
      param_dtype: of the parameters: float32, or float64 in tests.
    """

    step: int = 3
    hidden: int = 256
    dim: int = 64
    blocks: int = 5
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps the features of a grid of patches [b, h, w, f].

        Returns:
          Predictions [b, h - step, w, dim], of which row r depends on rows 0 to r alone and is
          about row r + step of the targets; and targets [b, h, w, dim], linear in `z`.
        """
        x = z = z.astype(self.dtype)
        for block in range(self.blocks):
            y = nn.relu(self._linear(x, self.hidden, f"blocks_{block}_in"))
            y = self._linear(beside(y), self.hidden, f"blocks_{block}_row")
            y = nn.relu(self._linear(under(y), self.hidden, f"blocks_{block}_above"))
            x = x + self._linear(y, z.shape[-1], f"blocks_{block}_out")
        said = self._linear(nn.relu(x[:, : -self.step]), self.dim, "predict")
        # Without bias: it would add the same to all logits of a prediction.
        targets = self._linear(z, self.dim, "target", bias=False)
        return said.astype(self.param_dtype), targets.astype(self.param_dtype)

    def _linear(self, x: jax.Array, channels: int, name: str, bias: bool = True) -> jax.Array:
        return nn.Dense(
            channels, bias, kernel_init=TORCH_LINEAR, dtype=self.dtype,
            param_dtype=self.param_dtype, name=name,
        )(x)  # fmt: skip


def beside(x: jax.Array) -> jax.Array:
    """Left neighbour, itself and right neighbour: [b, h, w, c] to [b, h, w, 3c], 0 outside."""
    wide = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    return jnp.concatenate([wide[:, :, :-2], x, wide[:, :, 2:]], axis=-1)


def under(x: jax.Array) -> jax.Array:
    """Upper neighbour and itself: [b, h, w, c] to [b, h, w, 2c], 0 outside."""
    upper = jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]
    return jnp.concatenate([upper, x], axis=-1)
