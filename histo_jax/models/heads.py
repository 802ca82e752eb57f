"""Projection heads: what the contrastive loss sees and evaluation throws away."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from histo_jax.errors import HistoError
from histo_jax.models.norms import batch_norm

TORCH_LINEAR = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # U(±1/√fan_in)


class GoogleV1(nn.Module):
    """Linear, BN, ReLU, linear, BN without shift (google-research/simclr, `model_util.py`).

    Attributes:
      features: width of the input and of the hidden layer.
      dim: width of the embedding.
      dtype: of the matrix products; the embedding is in `param_dtype`.
      param_dtype: of the parameters: float32, or float64 in tests.
      axis: name of the device axis that batch statistics cover, or None.
    """

    features: int
    dim: int = 128
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    axis: str | None = None

    @nn.compact
    def __call__(self, h: jax.Array, train: bool) -> jax.Array:
        """Maps features [b, features] to embeddings [b, dim]."""
        init = nn.initializers.normal(0.01)
        x = linear(self, h, self.features, init, "linear1")
        x = batch_norm(x, train, name="bn1", param_dtype=self.param_dtype, axis=self.axis)
        x = linear(self, nn.relu(x), self.dim, init, "linear2")
        return batch_norm(
            x, train, name="bn2", param_dtype=self.param_dtype, axis=self.axis, use_bias=False
        )


class Plain(nn.Module):
    """Linear, ReLU, linear (SimCLR, equation of section 3; Spijkervet/SimCLR, torch's init).

    Attributes as `GoogleV1`; there are no batch statistics.
    """

    features: int
    dim: int = 128
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    axis: str | None = None

    @nn.compact
    def __call__(self, h: jax.Array, train: bool) -> jax.Array:
        """Maps features [b, features] to embeddings [b, dim]."""
        x = nn.relu(linear(self, h, self.features, TORCH_LINEAR, "linear1"))
        x = linear(self, x, self.dim, TORCH_LINEAR, "linear2")
        return x.astype(self.param_dtype)


def linear(net: GoogleV1 | Plain, x: jax.Array, features: int, init: Any, name: str) -> jax.Array:
    """A matrix product without bias in the head's precision."""
    return nn.Dense(
        features,
        use_bias=False,
        kernel_init=init,
        dtype=net.dtype,
        param_dtype=net.param_dtype,
        name=name,
    )(x)


PROJECTORS = {"google_v1": GoogleV1, "plain": Plain}


def build_projector(
    name: str,
    features: int,
    dim: int = 128,
    dtype: str = "float32",
    param_dtype: str = "float32",
    axis: str | None = None,
) -> GoogleV1 | Plain:
    """The projection head of that name for an encoder with `features` outputs.

    Raises:
      HistoError: the name is not in the table.
    """
    if name not in PROJECTORS:
        known = "known: " + ", ".join(PROJECTORS)
        raise HistoError("config.model.projector", "config", f"is {name!r}", known)
    return PROJECTORS[name](features, dim, jnp.dtype(dtype), jnp.dtype(param_dtype), axis)
