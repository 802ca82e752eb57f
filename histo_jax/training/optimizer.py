"""LARS as SimCLR uses it, LAMB and Adam as the paper does, and their learning-rate schedule."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

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


def lars_everywhere(schedule: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """LARS of Spijkervet/SimCLR, on which the paper's author builds: nothing is left out.

    Biases and norms are decayed and adapted like kernels, and what is all 0 stays 0, as biases of
    norms are at the start: their trust ratio is 0 there, where You et al. 2017 have none.
    """
    everything = optax.lars(
        schedule, weight_decay=weight_decay, trust_coefficient=1e-3, momentum=0.9
    )

    def held(grads: Any, params: Any) -> Any:
        return jax.tree.map(lambda g, w: jnp.where(jnp.any(w != 0), g, 0), grads, params)

    return optax.chain(optax.stateless(held), everything)


def lamb(schedule: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """LAMB (You et al. 2020); as in LARS, biases and norms are neither decayed nor adapted.

    `optax.lamb` can't leave them out of the trust ratio.
    """
    return optax.chain(
        _promoting(optax.scale_by_adam(0.9, 0.999, 1e-6)),
        optax.add_decayed_weights(weight_decay, mask=kernels),
        optax.masked(optax.scale_by_trust_ratio(), kernels),
        optax.scale_by_learning_rate(schedule),
    )


def scale_by_adam(weight_decay: float) -> optax.GradientTransformation:
    """torch's Adam before the rate: the decay joins the gradient, of every parameter (not AdamW).

    The paper's optimizer of the heads (section 5) and of one of its pretrainings (appendix C.6).
    """
    return _promoting(
        optax.chain(optax.add_decayed_weights(weight_decay), optax.scale_by_adam(0.9, 0.999, 1e-8))
    )


def _promoting(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same where types are strict: optax's Adam raises a float to an integer count."""

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(grads, state, params)

    return optax.GradientTransformation(inner.init, update)


def adam(schedule: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """torch's Adam."""
    return optax.chain(scale_by_adam(weight_decay), optax.scale_by_learning_rate(schedule))


class Kind(NamedTuple):
    """An optimizer, its rate in the paper, and how that grows with the batch.

    Attributes:
      make: of a schedule and a weight decay.
      base_lr: the peak at `at` images a batch.
      at, power: peak = base_lr * (batch_size / at) ** power.
    """

    make: Callable
    base_lr: float
    at: int
    power: float


OPTIMIZERS = {
    "lars": Kind(lars, 0.3, 256, 1.0),
    "lars_everywhere": Kind(lars_everywhere, 0.3, 256, 1.0),
    # The paper's 4 / (2^(3 - (log2 B - 9) / 2) * 100) is .005 sqrt(B / 512).
    "lamb": Kind(lamb, 0.005, 512, 0.5),
    "adam": Kind(adam, 1e-4, 256, 0.0),
}


def warmup_steps(options: Optimizer, batch_size: int, images: int) -> int:
    """Steps of warm-up: whole ones, as SimCLR counts them."""
    return int(options.warmup_epochs * images // batch_size)


def schedule(options: Optimizer, batch_size: int, images: int, total_steps: int) -> optax.Schedule:
    """Linear warm-up from 0, then cosine to 0 (SimCLR, `model_util.py`; the paper states neither).

    The peak follows from `base_lr` and the batch size in source images, see `Kind`.
    """
    warmup = warmup_steps(options, batch_size, images)
    if warmup >= total_steps:
        raise HistoError(
            "config.optimizer.warmup_epochs",
            "config",
            f"{options.warmup_epochs:g} epochs are {warmup} steps, but the run has {total_steps}",
            "train longer or set config.optimizer.warmup_epochs lower",
        )
    kind = _known(options.name)
    base = kind.base_lr if options.base_lr is None else options.base_lr
    peak = base * (batch_size / kind.at) ** kind.power
    curve = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total_steps, 0.0)
    return lambda step: curve(jnp.asarray(step, jnp.result_type(float)))


def build(options: Optimizer, rate: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer by name; warns where it is not one to choose."""
    kind = _known(options.name)
    if kind.make is lars_everywhere:
        what = "lars_everywhere adapts biases and norms too, and those that are 0 stay 0"
        print(f"warning: {what}: for comparison with the paper's author only", file=sys.stderr)
    return kind.make(rate, options.weight_decay)


def _known(name: str) -> Kind:
    if name not in OPTIMIZERS:
        remedy = "known: " + ", ".join(OPTIMIZERS)
        raise HistoError("config.optimizer.name", "config", f"is {name!r}", remedy)
    return OPTIMIZERS[name]
