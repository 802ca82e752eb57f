"""One linear layer on frozen features: the paper's last-layer training, its rate swept."""

import dataclasses
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from histo_jax.data.cores import cores
from histo_jax.training.optimizer import scale_by_adam

EPOCHS = 100  # paper, section 4.2
BATCH = 128
RATES = (1e-4, 3e-4, 1e-3, 1e-2)  # the paper names none: chosen on validation

Rows = tuple[jax.Array, jax.Array, jax.Array]  # features [n, d], truth [n], weight [n] 1 or 0
MEMORY = 2**29  # bytes of features that are trained on together


@dataclasses.dataclass(frozen=True)
class Head:
    """A fitted layer and how it was chosen.

    Attributes:
      weight: float32 [features, outputs].
      bias: float32 [outputs].
      learning_rate, epoch: the best on validation; epochs count from 1.
      validation: macro-F1, or for regression minus L1 in percent points.
      updates: steps taken up to that epoch.
    """

    weight: np.ndarray
    bias: np.ndarray
    learning_rate: float
    epoch: int
    validation: float
    updates: int


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """What one layer is fitted on.

    Attributes:
      x, validation_x: float [n, features].
      y, validation_y: int [n] classes, or float [n] targets in 0..100.
      seed: of the layer's start and of the order of images.
    """

    x: np.ndarray
    y: np.ndarray
    validation_x: np.ndarray
    validation_y: np.ndarray
    seed: int


def weight_decay(encoder: str) -> float:
    """The paper's: 1e-5 for ResNet-18, 1e-4 for the others."""
    return 1e-5 if encoder == "resnet18" else 1e-4


def best(heads: list[Head]) -> Head:
    """The first of those that are best on validation."""
    return max(heads, key=lambda head: head.validation)


def fit(
    problems: list[Problem],
    *,
    classes: int | None,
    decay: float,
    zero: bool = True,
    rates: tuple[float, ...] = RATES,
    epochs: int = EPOCHS,
    batch_size: int = BATCH,
) -> list[list[Head]]:
    """Fits one layer a problem and learning rate, each kept at its best epoch.

    Cross-entropy for classes; for regression squared error on target/100 of a linear output. The
    best epoch is the first: a later one must be strictly better on validation. Problems of one
    shape are trained together, and each comes out as it would alone.

    Args:
      problems: see `Problem`.
      classes: number of classes; None for regression.
      decay: L2 weight.
      zero: start from the constant answer (no weights; for regression the mean target); else at
        random as torch does, and where features outnumber images that noise stays in the answer.
      rates, epochs, batch_size: the sweep.

    Returns:
      For each problem a head a rate.
    """
    kind = np.float32 if classes is None else np.int32
    options = {"classes": classes, "decay": decay, "zero": zero, "epochs": epochs}
    alike: dict[tuple, list[int]] = {}
    for number, problem in enumerate(problems):
        lengths = (-(-len(v) // batch_size) for v in (problem.x, problem.validation_x))
        alike.setdefault((*lengths, problem.x.shape[1]), []).append(number)
    heads: list[list[Head]] = [[] for _ in problems]
    for (train, validation, width), numbers in alike.items():
        together = max(1, MEMORY // (4 * (train + validation) * batch_size * width))
        # A CPU has no use for problems in one program: each takes a core of its own.
        at_once, threads = (1, min(together, cores())) if _on_cpu() else (together, 1)
        parts = [numbers[i : i + at_once] for i in range(0, len(numbers), at_once)]

        def fitted(part: list[int]) -> list[list[Head]]:
            return _fit_alike([problems[i] for i in part], rates, kind, batch_size, options)

        with ThreadPoolExecutor(threads) as pool:
            for part, found in zip(parts, pool.map(fitted, parts), strict=True):
                for number, of_problem in zip(part, found, strict=True):
                    heads[number] = of_problem
    return heads


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _fit_alike(
    problems: list[Problem], rates: tuple, kind: type, batch_size: int, options: dict
) -> list[list[Head]]:
    """Problems whose padded shapes are equal, in one program."""
    training = [_padded(p.x, np.asarray(p.y, kind), batch_size) for p in problems]
    validation = [
        _padded(p.validation_x, np.asarray(p.validation_y, kind), batch_size) for p in problems
    ]
    stacked = (
        tuple(np.stack(part) for part in zip(*s, strict=True)) for s in (training, validation)
    )
    keys = jax.vmap(jax.random.key)(np.array([p.seed for p in problems], np.uint32))
    params, score, epoch = jax.device_get(
        _sweep(np.asarray(rates, np.float32), *stacked, keys, batch_size=batch_size, **options)
    )
    return [
        [
            Head(
                weight=params["weight"][i, r],
                bias=params["bias"][i, r],
                learning_rate=float(rates[r]),
                epoch=int(epoch[i, r]),
                validation=float(score[i, r]),
                updates=int(epoch[i, r]) * -(-len(problem.x) // batch_size),
            )
            for r in range(len(rates))
        ]
        for i, problem in enumerate(problems)
    ]


def outputs(head: Head, x: np.ndarray) -> np.ndarray:
    """Logits float32 [n, classes]; for regression the target/100, [n, 1], not clipped."""
    return np.asarray(x, np.float32) @ head.weight + head.bias


def softmax(logits: np.ndarray) -> np.ndarray:
    """Shares float64 [n, classes]."""
    powers = np.exp((logits - logits.max(1, keepdims=True)).astype(np.float64))
    return powers / powers.sum(1, keepdims=True)


def standardise(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Subtracts the training mean, divides by the deviation; constant columns become 0."""
    mean = train.mean(0, dtype=np.float64)
    deviation = train.std(0, dtype=np.float64)
    flat = deviation <= 1e-6 * np.abs(train).max(0)  # float32 rounding of a constant
    scale = np.where(flat, 0.0, 1 / np.where(flat, 1.0, deviation))
    return [((a - mean) * scale).astype(np.float32) for a in (train, *others)]


def _padded(x: np.ndarray, y: np.ndarray, multiple: int) -> Rows:
    """Rows up to a multiple: splits of nearly equal size then share one compilation."""
    more = -len(x) % multiple
    weight = np.pad(np.ones(len(x), np.float32), (0, more))
    return np.pad(np.asarray(x, np.float32), ((0, more), (0, 0))), np.pad(y, (0, more)), weight


@functools.partial(jax.jit, static_argnames=("classes", "decay", "zero", "epochs", "batch_size"))
def _sweep(
    rates: jax.Array, training: Rows, validation: Rows, keys: jax.Array,
    *, classes: int | None, decay: float, zero: bool, epochs: int, batch_size: int,
) -> tuple[dict, jax.Array, jax.Array]:  # fmt: skip
    """Best parameters [problems, rates, ...], their validation scores and epochs.

    All arrays but `rates` have a leading axis of problems.
    """
    transform = scale_by_adam(decay)

    def train(
        training: Rows, validation: Rows, key: jax.Array, rate: jax.Array
    ) -> tuple[dict, jax.Array, jax.Array]:
        x, y, weight = training

        def loss(params: dict, rows: jax.Array) -> jax.Array:
            out = _apply(params, x[rows])
            if classes is None:
                each = jnp.square(out[:, 0] - y[rows] / 100)
            else:
                each = optax.softmax_cross_entropy_with_integer_labels(out, y[rows])
            return jnp.sum(each * weight[rows]) / jnp.sum(weight[rows])

        def step(carry: Any, rows: jax.Array) -> Any:
            params, moments = carry
            updates, moments = transform.update(jax.grad(loss)(params, rows), moments, params)
            return (jax.tree.map(lambda p, u: p - rate * u, params, updates), moments), None

        def epoch(carry: Any, number: jax.Array) -> Any:
            params, moments, kept, best, at = carry
            drawn = jax.random.uniform(jax.random.fold_in(key, number), weight.shape)
            order = jnp.argsort(jnp.where(weight > 0, drawn, 2.0))  # the padding comes last
            rows = order.reshape(-1, batch_size)
            (params, moments), _ = jax.lax.scan(step, (params, moments), rows)
            score = _score(_apply(params, validation[0]), *validation[1:], classes)
            better = score > best
            kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), params, kept)
            best, at = jnp.where(better, score, best), jnp.where(better, number, at)
            return (params, moments, kept, best, at), None

        first = _start(jax.random.fold_in(key, 0), x.shape[1], classes or 1)
        if zero:
            first = jax.tree.map(jnp.zeros_like, first)
        if zero and classes is None:
            first["bias"] += jnp.sum(weight * y) / jnp.sum(weight) / 100
        start = (first, transform.init(first), first, jnp.float32(-jnp.inf), jnp.int32(0))
        (_, _, kept, best, at), _ = jax.lax.scan(epoch, start, jnp.arange(1, epochs + 1))
        return kept, best, at

    swept = jax.vmap(train, in_axes=(None, None, None, 0))
    return jax.vmap(swept, in_axes=(0, 0, 0, None))(training, validation, keys, rates)


def _start(key: jax.Array, width: int, classes: int) -> dict:
    """torch's default for a linear layer: uniform within 1/sqrt(features)."""
    of_weight, of_bias = jax.random.split(key)
    bound = float(width) ** -0.5
    return {
        "weight": jax.random.uniform(of_weight, (width, classes), minval=-bound, maxval=bound),
        "bias": jax.random.uniform(of_bias, (classes,), minval=-bound, maxval=bound),
    }


def _apply(params: dict, x: jax.Array) -> jax.Array:
    # HIGHEST: a GPU would otherwise multiply in TF32 and choose other epochs than a CPU.
    product = jnp.matmul(x, params["weight"], precision=jax.lax.Precision.HIGHEST)
    return product + params["bias"][None]


def _score(out: jax.Array, y: jax.Array, weight: jax.Array, classes: int | None) -> jax.Array:
    """Higher is better: macro-F1, or minus the mean absolute error in percent points."""
    if classes is None:
        return -jnp.sum(weight * jnp.abs(100 * out[:, 0] - y)) / jnp.sum(weight)
    counts = jnp.zeros((classes, classes), jnp.int32)
    counts = counts.at[y, jnp.argmax(out, -1)].add(weight.astype(jnp.int32))
    total = counts.sum(0) + counts.sum(1)
    hits = 2 * jnp.diagonal(counts)
    return jnp.mean(hits.astype(jnp.float32) / jnp.maximum(total, 1).astype(jnp.float32))
