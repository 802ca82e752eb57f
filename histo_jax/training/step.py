"""One update, as one device sees it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from histo_jax.errors import HistoError
from histo_jax.training.parallel import AXIS
from histo_jax.training.state import TrainState

Batch = dict[str, jax.Array]


def make_step(
    objective: Any,
    tx: optax.GradientTransformation,
    rate: optax.Schedule,
    views: Callable | None,
    seed: int,
    micro_batches: int = 1,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds `step(state, batch)` for one device on the axis `AXIS`.

    The batch holds this device's share: `index` int32 [n], each image's place in the global batch,
    and `image` uint8 [n, h, w, 3], or `views` float32 [n, 2, s, s, 3] where the host made them.

    The loss is averaged over devices inside the differentiated function, and the gradients once
    more outside: the only form that is exact under pmap and under both kinds of shard_map.

    Args:
      objective: see `histo_jax.objectives`.
      tx, rate: the optimizer and its schedule.
      views: makes the views from `image`; None where the batch has them.
      seed: of the run.
      micro_batches: parts of n that go through the network one after the other; see `in_parts`.

    Raises:
      HistoError: several micro-batches of an objective that can't be cut.
    """
    if micro_batches > 1 and not hasattr(objective, "loss_from_embeddings"):
        what = f"is {micro_batches}, but the objective gives no embeddings to put together"
        raise HistoError("config.training.micro_batches", "config", what, "set it to 1")

    def pairs(batch: Batch, number: jax.Array) -> jax.Array:
        made = batch.get("views")
        return views(batch["image"], number, batch["index"]) if made is None else made

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        if micro_batches == 1:
            seen, grads = at_once(objective, state, pairs(batch, state.step), key)
        else:
            cut = jax.tree.map(lambda x: cut_in(micro_batches, x), batch)
            pair = jax.lax.map(lambda part: pairs(part, state.step), cut)
            seen, grads = in_parts(objective, state, pair, key)
        value, model_state, metrics = seen
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


def cut_in(parts: int, x: jax.Array) -> jax.Array:
    """[n, …] to [parts, n/parts, …], dealt like cards: the same parts on any number of devices."""
    return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)


def joined(x: jax.Array) -> jax.Array:
    """The inverse of `cut_in`."""
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])


def at_once(objective: Any, state: TrainState, pair: jax.Array, key: jax.Array) -> tuple:
    """`(loss, new model state, metrics)` and this device's gradients; `pair` [n, 2, s, s, 3]."""

    def loss(params: Any) -> tuple[jax.Array, Any]:
        return objective.loss(params, state.model_state, pair, key, AXIS)

    (value, (model_state, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    return (value, model_state, metrics), grads


def in_parts(objective: Any, state: TrainState, pair: jax.Array, key: jax.Array) -> tuple:
    """What `at_once` gives, for `pair` [k, n/k, 2, s, s, 3], in the memory of one part of k.

    As GradCache (Gao et al. 2021): the embeddings of all parts, without gradient; the loss of the
    global batch and its gradient with respect to them; then each part once more, to take that
    gradient to the parameters. Negatives are exact. Batch statistics are those of a part (on all
    devices); running ones are updated once a part, in the second pass alone.
    """

    def embed(params: Any, model_state: Any, part: jax.Array) -> tuple[jax.Array, Any]:
        return objective.embed(params, model_state, part, key)

    z = jax.lax.map(lambda part: embed(state.params, state.model_state, part)[0], pair)
    whole = joined(z)

    # The gradient with respect to a term that is the same on all devices, each of which uses its
    # own row of it: then the means inside and outside are exact here too, as for parameters.
    def loss(shift: jax.Array) -> tuple[jax.Array, Any]:
        return objective.loss_from_embeddings(whole + shift[jax.lax.axis_index(AXIS)], AXIS)

    devices = jax.lax.axis_size(AXIS)
    none = jnp.zeros((devices, *whole.shape), whole.dtype)
    (value, metrics), pull = jax.value_and_grad(loss, has_aux=True)(none)
    pull = jax.lax.pmean(pull, AXIS)[jax.lax.axis_index(AXIS)]
    pull = devices * cut_in(len(z), pull)  # the gradients of devices are averaged, not summed

    # Each device's own copy: else shard_map's check would sum the gradients once a part.
    params = jax.lax.pcast(state.params, AXIS, to="varying")

    def again(carry: tuple[Any, Any], part: tuple) -> tuple[tuple[Any, Any], None]:
        grads, model_state = carry
        images, towards = part
        _, back, model_state = jax.vjp(
            lambda p: embed(p, model_state, images), params, has_aux=True
        )
        return (jax.tree.map(jnp.add, grads, back(towards)[0]), model_state), None

    start = (jax.tree.map(jnp.zeros_like, params), state.model_state)
    (grads, model_state), _ = jax.lax.scan(again, start, (pair, pull))
    return (value, model_state, metrics), grads
