"""LARS as SimCLR uses it, Adam as the paper does, and their learning-rate schedule."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from histo_jax.config import Optimizer
from histo_jax.errors import HistoError


def kernels(params: Any) -> Any:
    """True for kernels; biases and batch-norm scales are neither decayed nor adapted."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def lars(schedule: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """LARS of google-research/simclr: classic momentum .9, trust coefficient .001.

    The masks matter: optax's defaults also adapt biases and batch norm (numerics of You et al.
    2017 as in SimCLR's `lars_optimizer.py`).
    """
    return optax.lars(
        schedule,
        weight_decay=weight_decay,
        weight_decay_mask=kernels,
        trust_coefficient=1e-3,
        trust_ratio_mask=kernels,
        momentum=0.9,
    )


def scale_by_adam(weight_decay: float) -> optax.GradientTransformation:
    """torch's Adam before the rate: the decay joins the gradient, of every parameter (not AdamW).

    The paper's optimizer of the heads (section 5) and of one of its pretrainings (appendix C.6).
    """
    chain = optax.chain(
        optax.add_decayed_weights(weight_decay), optax.scale_by_adam(0.9, 0.999, 1e-8)
    )

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
            return chain.update(grads, state, params)

    return optax.GradientTransformation(chain.init, update)


def adam(schedule: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """torch's Adam."""
    return optax.chain(scale_by_adam(weight_decay), optax.scale_by_learning_rate(schedule))


# name: (what makes it, whether its rate grows with the batch)
OPTIMIZERS = {"lars": (lars, True), "adam": (adam, False)}


def warmup_steps(options: Optimizer, batch_size: int, images: int) -> int:
    """Steps of warm-up: whole ones, as SimCLR counts them."""
    return int(options.warmup_epochs * images // batch_size)


def schedule(options: Optimizer, batch_size: int, images: int, total_steps: int) -> optax.Schedule:
    """Linear warm-up from 0, then cosine to 0 (SimCLR, `model_util.py`; the paper states neither).

    The peak is `base_lr * batch_size / 256` for LARS, batch size in source images, and `base_lr`
    for Adam.
    """
    warmup = warmup_steps(options, batch_size, images)
    if warmup >= total_steps:
        raise HistoError(
            "config.optimizer.warmup_epochs",
            "config",
            f"{options.warmup_epochs:g} epochs are {warmup} steps, but the run has {total_steps}",
            "train longer or set config.optimizer.warmup_epochs lower",
        )
    _, grows = _known(options.name)
    peak = options.base_lr * (batch_size / 256 if grows else 1)
    curve = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total_steps, 0.0)
    return lambda step: curve(jnp.asarray(step, jnp.result_type(float)))


def build(options: Optimizer, rate: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer by name."""
    make, _ = _known(options.name)
    return make(rate, options.weight_decay)


def _known(name: str) -> tuple[Callable, bool]:
    if name not in OPTIMIZERS:
        remedy = "known: " + ", ".join(OPTIMIZERS)
        raise HistoError("config.optimizer.name", "config", f"is {name!r}", remedy)
    return OPTIMIZERS[name]
