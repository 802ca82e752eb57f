"""Pretraining, from the first line to the last."""

import functools
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
from histo_jax.training import (
    card,
    checkpoint,
    initial,
    metrics,
    optimizer,
    parallel,
    resident,
    state,
    step,
    workdir,
)
from histo_jax.training.profile import Profile
from histo_jax.training.progress import duration
from histo_jax.training.stop import Stop

Probe = Callable[[Any, Any], dict[str, float]]


def train(
    config: Config,
    directory: Path,
    *,
    objective: Any,
    views: Callable,
    mixture: Any,
    probe: Probe | None = None,
    profile: int = 0,
) -> state.TrainState:
    """Trains `objective` on `mixture`, resuming what `directory` holds; returns the final state.

    Args:
      config: the run's options, checked.
      directory: config, card, checkpoints and logs go here; made where absent.
      objective: see `histo_jax.objectives`.
      views: `views(images, step, index)`, see `histo_jax.augment.recipes.make_views`.
      mixture: the prepared sets, see `histo_jax.data.mixture.open_mixture`.
      probe: `probe(params, batch_stats)` of the encoder, numbers for the log; called by process 0
        after every `config.probe.every` steps and the last. Nothing of it reaches the state.
      profile: steps to trace, see `histo_jax.training.profile`; by process 0.

    Raises:
      HistoError: whatever the user can mend; `Resume` after a signal, once the state is saved.
    """
    # Plan.
    options.check(config)
    chief = jax.process_index() == 0
    mapper = parallel.Mapper(config.training.mapper)
    micro_batches = config.training.micro_batches
    mapper.check_batch(config.data.batch_size, micro_batches)
    total = planned_steps(config, mixture.n)
    rate = optimizer.schedule(config.optimizer, config.data.batch_size, mixture.n, total)
    tx = optimizer.build(config.optimizer, rate)
    on_host = placement(config) == "host"
    directory = Path(directory)
    origin = initial.find(config.model, directory)
    about = card.make_card(config, mixture, origin and origin.about)
    workdir.check(directory, config, about)
    parallel.agree(plan_facts(config, mixture) | {"the weights to start from": about["init"]})

    with files.lock(directory / f".lock-{jax.process_index()}"), Stop() as stop:
        # State: what the directory holds, else fresh, the encoder's from `config.model.init`.
        checkpoints = checkpoint.Checkpoints(directory)
        fresh = state.create(objective, tx, config.seed, config.data.image_size)
        fresh = jax.device_get(fresh)
        now = checkpoints.restore(fresh) or initial.put(fresh, origin)
        start = int(now.step)
        parallel.agree({"the step of the newest good checkpoint": start})
        if chief:
            checkpoints.set_aside()
        now = mapper.replicate(now)
        if start >= total:
            if chief:
                print(f"steps    {start:,} done, nothing to do")
            return now

        # Step and input.
        inside = None if on_host else views
        update = mapper.map_step(
            step.make_step(objective, tx, rate, inside, config.seed, micro_batches)
        )
        clock = Clock(batches(config, mixture, start, total, views if on_host else None))
        on_devices = config.data.cache == "device"
        held = on_devices and resident.Resident(mapper, mixture, config.data.image_size)
        with feed.feed(clock, mapper.place) as ready:
            if chief:
                announce(config, directory, mixture, start, total, held)
            ready = map(held.gather, ready) if held else ready
            seconds, stream = rehearse(update, now, ready, clock)
            if chief:
                tell_time((total - start) * seconds, config.data.batch_size / seconds)
                workdir.claim(directory, config, about)

            # Loop: the numbers of step n are read while step n + 1 runs.
            with (
                metrics.Readout(config, directory, start, total, mixture.n, chief) as readout,
                Profile(directory, profile if chief else 0, start, total) as traced,
            ):
                for number in range(start + 1, total + 1):
                    with jax.transfer_guard("disallow"):  # nothing sneaks through the host
                        now, seen = update(now, next(stream))
                    traced.after(number, seen)
                    readout.push(number, seen, checkpoints.latest)
                    last = number == total
                    if probe and chief and (last or number % config.probe.every == 0):
                        readout.settle(checkpoints.latest, functools.partial(look, probe, now))
                    asked = stop.agreed(ask=number % config.training.log_every == 0)
                    if asked or last or number % config.training.save_every == 0:
                        readout.settle(checkpoints.latest)  # numbers first: NaN is never saved
                        if last or not readout.watch.collapsed:
                            checkpoints.save(parallel.to_host(now), number, about)
                    if asked and not last:
                        stop.leave(directory, number, checkpoints.latest)
    return now


def look(probe: Probe, now: state.TrainState) -> dict[str, float]:
    """What the probe says of the encoder as it is now."""
    params, stats = now.params["encoder"], now.model_state["batch_stats"]["encoder"]
    return probe(parallel.to_host(params), parallel.to_host(stats))


def plan_facts(config: Config, mixture: Any) -> dict:
    """What all processes must share, or they would wait for each other or learn apart."""
    fields = card.as_dict(config)
    for name in ("dir", "cache"):  # where this machine has its data
        del fields["data"][name]
    return {
        "config": fields,
        "the prepared data": mixture.digest,
        "the place where views are made": placement(config),
        "images on the devices": config.data.cache == "device",
        "the version of": {k: v for k, v in card.versions().items() if k in ("histo_jax", "jax")},
    }


def batches(
    config: Config, mixture: Any, start: int, total: int, views: Callable | None
) -> Iterator:
    """This process's share of the batches to come; `views` where the host makes them."""
    return pipeline.batches(
        mixture,
        split=config.data.split,
        seed=config.seed,
        image_size=config.data.image_size,
        batch_size=config.data.batch_size,
        cache=config.data.cache,
        start_step=start,
        total_steps=total,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        views=views,
    )


def planned_steps(config: Config, images: int) -> int:
    """Updates in all; an epoch drops its last partial batch.

    Raises:
      HistoError: more than a step counter holds, int32.
    """
    asked, per_epoch = config.training, images // config.data.batch_size
    total = asked.total_steps or asked.epochs * per_epoch
    if total >= 2**31:
        field = "total_steps" if asked.total_steps else "epochs"
        what = f"makes {total:,} steps"
        raise HistoError(f"config.training.{field}", "config", what, "must be below 2^31")
    return total


def placement(config: Config) -> str:
    """Where views are made: on the host where only CPUs are and TensorFlow is installed.

    Raises:
      HistoError: the host is asked for, but the images are on the devices.
    """
    asked, there = config.augment.placement, config.data.cache == "device"
    if asked == "host" and there:
        what = "host, but config.data.cache=device has the images on the devices"
        remedy = "set it to device, or config.data.cache=raw"
        raise HistoError("config.augment.placement", "config", what, remedy)
    if asked == "auto":
        able = jax.default_backend() == "cpu" and pipeline.has_tensorflow() and not there
        return "host" if able else "device"
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
            "raise config.training.micro_batches, set config.model.dtype=bfloat16, or set it lower",
        ) from error  # fmt: skip
    return max(seconds, clock.seconds), itertools.chain([batch], stream)


def announce(
    config: Config, directory: Path, mixture: Any, start: int, total: int, held: Any = None
) -> None:
    """Says what will run, before the step is compiled."""
    counted = zip(mixture.names, mixture.sizes, strict=True)
    sets = ", ".join(f"{name} ({n:,})" for name, n in counted)
    devices, batch = jax.devices(), config.data.batch_size
    kind = devices[0].device_kind
    print(f"folder   {directory}")
    print(f"data     {mixture.n:,} images: {sets}")
    for remark in mixture.remarks:
        print(f"         {remark}")
    print(f"devices  {len(devices)} x {kind}, {batch // len(devices)} images each a step")
    if held:
        print(f"images   {held.describe(batch)}")
    print(f"views    made on the {placement(config)}, recipe {config.augment.recipe}")
    if config.probe.dataset:
        print(f"probe    {config.probe.dataset}, every {config.probe.every:,} steps")
    print(f"steps    {start:,} done, {total - start:,} to go, {mixture.n // batch:,} an epoch")
    print("         compiling and timing one", flush=True)


def tell_time(seconds: float, speed: float) -> None:
    """Says how long the run will take."""
    print(f"time     about {duration(seconds)} at {speed:,.0f} images/s, as timed now", flush=True)
