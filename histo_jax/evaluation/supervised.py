"""Training a whole network with labels, for fine-tuning and segmentation alike."""

import dataclasses
import functools
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import NamedSharding
from tqdm import tqdm

from histo_jax.augment.keys import example_keys
from histo_jax.errors import HistoError
from histo_jax.evaluation.examples import TURNED, Batch, Source, rebatch, turn
from histo_jax.evaluation.features import Network
from histo_jax.models.resnet import frozen_parts, part_of
from histo_jax.training.optimizer import scale_by_adam
from histo_jax.training.parallel import AXIS, SPLIT, WHOLE, Mapper, to_host
from histo_jax.training.progress import duration, live

EVALUATED = 1 / 3  # what an image costs without a backward pass


class Task(Protocol):
    """What is learned; hashable, so that all splits and seeds share one compilation.

    Attributes:
      network: whose encoder is trained, under `params["encoder"]`.
      freeze_to: the part of the encoder up to which nothing changes, or None.
    """

    network: Network
    freeze_to: str | None

    def forward(
        self, params: dict, batch_stats: dict, images: jax.Array, train: bool
    ) -> tuple[jax.Array, dict]:
        """Outputs for normalised images [b, s, s, 3], and the running statistics afterwards."""

    def loss(self, outputs: jax.Array, batch: Batch, given: dict) -> jax.Array:
        """The loss of the global batch, its mean taken over `AXIS`."""

    def answer(self, outputs: jax.Array) -> jax.Array:
        """What the outputs mean, [b, ...]."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How it is trained; the defaults are the paper's, and 1e-4 where it names no rate.

    Attributes:
      decay: L2 weight, of all parameters.
      seed: of order, turns and flips.
      epochs, batch_size, rate: Adam's, the rate constant.
    """

    decay: float
    seed: int
    epochs: int = 100
    batch_size: int = 128
    rate: float = 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A trained network and how it was chosen.

    Attributes:
      params, batch_stats: on the host, of the best epoch.
      epoch: the first that is best on validation, from 1.
      validation: its score, higher is better.
      updates: steps up to it.
      learning_rate, batch_size: as used.
      losses, scores: of every epoch: mean over its steps, and on validation.
    """

    params: dict
    batch_stats: dict
    epoch: int
    validation: float
    updates: int
    learning_rate: float
    batch_size: int
    losses: list[float]
    scores: list[float]

    @property
    def choice(self) -> dict:
        """For the report."""
        fields = ("learning_rate", "epoch", "updates", "validation")
        return {name: getattr(self, name) for name in fields}


class State(NamedTuple):
    """What a step changes, and what it is given."""

    step: jax.Array
    seed: jax.Array
    given: dict
    params: dict
    batch_stats: dict
    moments: Any


class Estimate:
    """Says once, on stderr, how long it takes; called with the seconds of one fit."""

    def __init__(self, count: int, what: str):
        self._told, self._count, self._what = False, count, what

    def __call__(self, seconds: float) -> None:
        if not self._told:
            told = f"about {duration(seconds * self._count)} for {self._count} {self._what}"
            print(told, file=sys.stderr, flush=True)
        self._told = True


def on_devices(network: Network) -> Network:
    """The same network, batch statistics over all devices when it trains."""
    return dataclasses.replace(network, encoder=network.encoder.clone(axis=AXIS))


def fit(
    task: Task, params: dict, batch_stats: dict, train: Source, validation: Source,
    score: Callable[[Iterator[tuple[np.ndarray, Batch]]], float], options: Options,
    *, given: dict | None = None, mapper: Mapper | None = None,
    tell: Callable[[float], None] | None = None,
) -> Fit:  # fmt: skip
    """Trains for all epochs and keeps the first that is best on validation.

    Images are turned and flipped at random, by (seed, step, place in the global batch). The last
    batch of an epoch is filled from the epoch's start. With fewer images than `batch_size` a batch
    is all of them, or as many as the devices can share.

    Args:
      task: what is learned.
      params, batch_stats: to start from.
      train, validation: the examples.
      score: of the answers and batches of the validation part, higher is better.
      options: how.
      given: arrays that the loss needs.
      mapper: of the step over devices; None = pmap over all.
      tell: called once, after three steps, with the seconds that all will take.

    Raises:
      HistoError: fewer images than devices; a loss that is not finite.
    """
    mapper = mapper or Mapper("pmap")
    size = batch_size(train.n, options.batch_size, len(mapper.devices))
    steps = math.ceil(train.n / size)
    update = _update(task, mapper, options.decay, options.rate)
    moments = scale_by_adam(options.decay).init(params)
    seed, count = np.uint32(options.seed), np.int32(0)
    now = mapper.replicate(State(count, seed, given or {}, params, batch_stats, moments))
    best, losses, scores = None, [], []
    clock = _Clock(tell, options.epochs * (steps + EVALUATED * validation.n / size))
    with tqdm(total=options.epochs, leave=False, disable=not live(), unit=" epochs") as bar:
        for epoch in range(1, options.epochs + 1):
            seen = []
            for batch in _epoch(train, steps * size, size, options.seed, epoch):
                now, metrics = update(now, mapper.place(batch))
                seen.append(metrics["loss"])
                clock.tick(metrics)
            losses.append(float(np.mean([to_host(loss) for loss in seen])))
            if not np.isfinite(losses[-1]):
                what, remedy = f"the loss is {losses[-1]} in epoch {epoch}", "set it lower"
                raise HistoError("config.supervised.learning_rate", "nan", what, remedy)
            said = answers(task, now.params, now.batch_stats, validation, size, mapper)
            scores.append(float(score(said)))
            if best is None or scores[-1] > scores[best[0] - 1]:
                best = epoch, to_host(now.params), to_host(now.batch_stats)
            bar.set_postfix(loss=f"{losses[-1]:.3f}", validation=f"{scores[-1]:.3f}")
            bar.update()
    epoch, params, batch_stats = best
    return Fit(
        params, batch_stats, epoch, scores[epoch - 1], epoch * steps, options.rate, size,
        losses, scores,
    )  # fmt: skip


def answers(
    task: Task, params: dict, batch_stats: dict, source: Source, size: int,
    mapper: Mapper | None = None,
) -> Iterator[tuple[np.ndarray, Batch]]:  # fmt: skip
    """Each batch of up to `size` examples in order, with what the network answers to it.

    Running batch statistics, no turns. `size` must be a multiple of the number of devices.
    """
    mapper = mapper or Mapper("pmap")
    split = NamedSharding(mapper.mesh, SPLIT)
    whole = NamedSharding(mapper.mesh, WHOLE)
    params, batch_stats = jax.device_put((params, batch_stats), whole)
    for batch in rebatch(source.read(np.arange(source.n), 0), size):
        images = batch["image"]
        count = len(images)
        full = np.concatenate([images, np.repeat(images[:1], size - count, 0)])
        out = _answer(task, params, batch_stats, jax.device_put(full, split))
        yield np.asarray(out)[:count], batch


def batch_size(images: int, wanted: int, devices: int) -> int:
    """The largest that the devices can share equally, no larger than wanted or than the part.

    Raises:
      HistoError: fewer images, or a smaller batch, than devices.
    """
    size = min(images, wanted) // devices * devices
    if not size:
        what = f"{min(images, wanted)} training images can't be shared by {devices} devices"
        remedy = "use fewer devices, e.g. by CUDA_VISIBLE_DEVICES=0"
        raise HistoError("config.supervised.batch_size", "batch", what, remedy)
    return size


def _epoch(train: Source, total: int, size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """The batches of one epoch, each image's place in the batch as `index`."""
    order = np.random.default_rng((seed, epoch)).permutation(train.n)
    for batch in rebatch(train.read(np.resize(order, total), epoch), size):
        yield batch | {"index": np.arange(size, dtype=np.int32)}


@functools.lru_cache(maxsize=8)
def _update(task: Task, mapper: Mapper, decay: float, rate: float) -> Callable:
    return mapper.map_step(make_step(task, decay, rate))


def make_step(task: Task, decay: float, rate: float) -> Callable[[State, Batch], tuple]:
    """Builds `step(state, batch) -> (state, {"loss"})` for one device on the axis `AXIS`.

    Loss and gradients are averaged as in `histo_jax.training.step`.
    """
    transform, held = scale_by_adam(decay), frozen_parts(task.freeze_to)

    def step(state: State, batch: Batch) -> tuple[State, dict]:
        keys = example_keys(state.seed, state.step, batch["index"])
        batch = batch | turn(keys, {name: batch[name] for name in TURNED if name in batch})
        images = task.network.normalise(batch["image"])

        def loss(params: dict) -> tuple[jax.Array, dict]:
            outputs, batch_stats = task.forward(params, state.batch_stats, images, True)
            return task.loss(outputs, batch, state.given), batch_stats

        (value, batch_stats), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        grads = jax.lax.pmean(grads, AXIS)
        updates, moments = transform.update(grads, state.moments, state.params)
        params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
        kept = {k: v for k, v in state.params["encoder"].items() if part_of(k) in held}
        params["encoder"] = params["encoder"] | kept  # the decay would move them too
        now = State(state.step + 1, state.seed, state.given, params, batch_stats, moments)
        return now, {"loss": value}

    return step


@functools.partial(jax.jit, static_argnums=0)
def _answer(task: Task, params: dict, batch_stats: dict, images: jax.Array) -> jax.Array:
    outputs, _ = task.forward(params, batch_stats, task.network.normalise(images), False)
    return task.answer(outputs)


class _Clock:
    """Times the second and third step, reading included, and tells what `steps` will take."""

    def __init__(self, tell: Callable[[float], None] | None, steps: float):
        self._tell, self._steps, self._ticks = tell, steps, itertools.count(1)
        self._start = 0.0

    def tick(self, metrics: dict) -> None:
        number = next(self._ticks)
        if self._tell is None or number > 3:
            return
        jax.block_until_ready(metrics)
        if number == 1:  # has compiled
            self._start = time.perf_counter()
        elif number == 3:
            self._tell((time.perf_counter() - self._start) / 2 * self._steps)
