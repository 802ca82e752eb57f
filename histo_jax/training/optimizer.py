"""LARS as SimCLR uses it, and its learning-rate schedule."""

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


OPTIMIZERS = {"lars": lars}


def schedule(options: Optimizer, batch_size: int, images: int, total_steps: int) -> optax.Schedule:
    """Linear warm-up from 0, then cosine to 0 (SimCLR, `model_util.py`; the paper states neither).

    The peak is `base_lr * batch_size / 256`, batch size in source images.
    """
    warmup = round(options.warmup_epochs * images / batch_size)
    if warmup >= total_steps:
        raise HistoError(
            "config.optimizer.warmup_epochs",
            "config",
            f"{options.warmup_epochs:g} epochs are {warmup} steps, but the run has {total_steps}",
            "train longer or set config.optimizer.warmup_epochs lower",
        )
    peak = options.base_lr * batch_size / 256
    curve = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total_steps, 0.0)
    return lambda step: curve(jnp.asarray(step, jnp.result_type(float)))


def build(options: Optimizer, rate: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer by name."""
    if options.name not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        what = f"is {options.name!r}"
        raise HistoError("config.optimizer.name", "config", what, f"known: {known}")
    return OPTIMIZERS[options.name](rate, options.weight_decay)
