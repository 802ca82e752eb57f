"""What a run is at one moment."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything the next step depends on, beside the data.

    Attributes:
      step: int32 scalar, updates made so far.
      params: `{"encoder": …, …}`, float32.
      model_state: `{"batch_stats": {"encoder": …, …}}`, float32.
      opt_state: of the optimizer.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any


def create(objective: Any, tx: optax.GradientTransformation, seed: int, size: int) -> TrainState:
    """A fresh state: parameters by the objective's law from `seed`, nothing learned."""
    images = jnp.zeros((1, size, size, 3), jnp.float32)
    params, model_state = jax.jit(objective.init)(jax.random.key(seed), images)
    return TrainState(jnp.zeros((), jnp.int32), params, model_state, tx.init(params))
