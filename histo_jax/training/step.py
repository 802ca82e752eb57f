"""One update, as one device sees it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from histo_jax.training.parallel import AXIS
from histo_jax.training.state import TrainState

Batch = dict[str, jax.Array]


def make_step(
    objective: Any,
    tx: optax.GradientTransformation,
    rate: optax.Schedule,
    views: Callable | None,
    seed: int,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds `step(state, batch)` for one device on the axis `AXIS`.

    The batch holds this device's share: `index` int32 [n], each image's place in the global batch,
    and `image` uint8 [n, h, w, 3], or `views` float32 [n, 2, s, s, 3] where the host made them.

    The loss is averaged over devices inside the differentiated function, and the gradients once
    more outside: the only form that is exact under pmap and under both kinds of shard_map.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        pair = batch.get("views")
        if pair is None:
            pair = views(batch["image"], state.step, batch["index"])
        key = jax.random.fold_in(jax.random.key(seed), state.step)

        def loss(params: Any) -> tuple[jax.Array, Any]:
            return objective.loss(params, state.model_state, pair, key, AXIS)

        (value, (model_state, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params
        )
        grads = jax.lax.pmean(grads, AXIS)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {
            "loss": value,
            **metrics,
            "gradient_norm": optax.tree.norm(grads),
            "learning_rate": jnp.asarray(rate(state.step), jnp.float32),
        }
        return TrainState(state.step + 1, params, model_state, opt_state), metrics

    return step
