"""Pretraining, from the first line to the last."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from histo_jax import config as options
from histo_jax import files
from histo_jax.config import Config
from histo_jax.data import feed, pipeline
from histo_jax.errors import HistoError
from histo_jax.training import card, checkpoint, metrics, optimizer, parallel, state, step, workdir
from histo_jax.training.stop import Stop


def train(
    config: Config, directory: Path, *, objective: Any, views: Callable, mixture: Any
) -> state.TrainState:
    """Trains `objective` on `mixture`, resuming what `directory` holds; returns the final state.

    Args:
      config: the run's options, checked.
      directory: config, card, checkpoints and logs go here; made where absent.
      objective: see `histo_jax.objectives`.
      views: `views(images, step, index)`, see `histo_jax.augment.recipes.make_views`.
      mixture: the prepared sets, see `histo_jax.data.mixture.open_mixture`.

    Raises:
      HistoError: whatever the user can mend; `Resume` after a signal, once the state is saved.
    """
    # Plan.
    options.check(config)
    batch_size, chief = config.data.batch_size, jax.process_index() == 0
    mapper = parallel.Mapper(config.training.mapper)
    mapper.check_batch(batch_size)
    total = planned_steps(config, mixture.n)
    rate = optimizer.schedule(config.optimizer, batch_size, mixture.n, total)
    tx = optimizer.build(config.optimizer, rate)
    on_host = placement(config) == "host"
    directory = Path(directory)

    with files.lock(directory / f".lock-{jax.process_index()}"), Stop() as stop:
        # State: what the directory holds, else fresh.
        about = card.make_card(config, mixture)
        if chief:
            workdir.claim(directory, config, about)
        checkpoints = checkpoint.Checkpoints(directory)
        fresh = state.create(objective, tx, config.seed, config.data.image_size)
        fresh = jax.device_get(fresh)
        now = checkpoints.restore(fresh) or fresh
        start = int(now.step)
        now = mapper.replicate(now)

        # Step and input.
        update = mapper.map_step(
            step.make_step(objective, tx, rate, None if on_host else views, config.seed)
        )
        if start >= total:
            return now
        clock = Clock(
            pipeline.batches(
                mixture,
                split=config.data.split,
                seed=config.seed,
                image_size=config.data.image_size,
                batch_size=batch_size,
                cache=config.data.cache,
                start_step=start,
                total_steps=total,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
                views=views if on_host else None,
            )
        )
        with feed.feed(clock, mapper.place) as ready:
            if chief:
                announce(config, mixture, start, total)
            seconds, stream = rehearse(update, now, ready, clock)
            if chief:
                left, speed = metrics.duration((total - start) * seconds), batch_size / seconds
                print(f"time     about {left} at {speed:,.0f} images/s, as timed now", flush=True)

            # Loop: the numbers of step n are read while step n + 1 runs.
            with metrics.Readout(config, directory, start, total, mixture.n, chief) as readout:
                for number in range(start + 1, total + 1):
                    now, seen = update(now, next(stream))
                    readout.push(number, seen, checkpoints.latest)
                    asked = stop.agreed(ask=number % config.training.log_every == 0)
                    if asked or number == total or number % config.training.save_every == 0:
                        readout.settle(checkpoints.latest)  # numbers first: NaN is never saved
                        checkpoints.save(parallel.to_host(now), number, about)
                    if asked and number < total:
                        stop.leave(directory, number)
    return now


def planned_steps(config: Config, images: int) -> int:
    """Updates in all; an epoch drops its last partial batch."""
    per_epoch = images // config.data.batch_size
    return config.training.total_steps or config.training.epochs * per_epoch


def placement(config: Config) -> str:
    """Where views are made: on the host where only CPUs are and TensorFlow is installed."""
    asked = config.augment.placement
    if asked == "auto":
        return "host" if jax.default_backend() == "cpu" and pipeline.has_tensorflow() else "device"
    return asked


class Clock:
    """Passes batches on and remembers how long the last one took to make."""

    def __init__(self, batches: Iterator):
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        start = time.perf_counter()
        batch = next(self.batches)
        self.seconds = time.perf_counter() - start
        return batch


def rehearse(
    update: Callable, now: state.TrainState, stream: Iterator, clock: Clock
) -> tuple[float, Iterator]:
    """Compiles the step and times it on a copy of the state; the batch used is put back.

    Raises:
      HistoError: the step does not fit into the memory of a device.
    """
    batch = next(stream)
    try:
        for _ in range(2):  # the first call compiles
            copy = jax.tree.map(jnp.copy, now)
            start = time.perf_counter()
            jax.block_until_ready(update(copy, batch))
            seconds = time.perf_counter() - start
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise HistoError(
            "config.data.batch_size", "device-memory", "a step does not fit into device memory",
            "set it lower, or config.model.dtype=bfloat16",
        ) from error  # fmt: skip
    return max(seconds, clock.seconds), itertools.chain([batch], stream)


def announce(config: Config, mixture: Any, start: int, total: int) -> None:
    """Says what will run, before the step is compiled."""
    counted = zip(mixture.names, mixture.sizes, strict=True)
    sets = ", ".join(f"{name} ({n:,})" for name, n in counted)
    devices, batch = jax.devices(), config.data.batch_size
    kind = devices[0].device_kind
    print(f"data     {mixture.n:,} images: {sets}")
    print(f"devices  {len(devices)} x {kind}, {batch // len(devices)} images each a step")
    print(f"views    made on the {placement(config)}, recipe {config.augment.recipe}")
    print(f"steps    {start:,} done, {total - start:,} to go, {mixture.n // batch:,} an epoch")
    print("         compiling and timing one", flush=True)
