"""A training step: images/s, FLOP/s against what the device can do, and PyTorch doing equal work.

    python benchmarks/train_step.py [--encoder resnet50] [--batch 256] [--dtype bfloat16]

An image is two views. Every row is the median of five windows, taken in turns; each window ends
by waiting for the device. `end to end` reads JPEG records, or without TensorFlow pixels, and feeds
the step as training does. The device's own rates, a square matrix product in the step's type and a
copy, are taken in the same turns. PyTorch: the same net, head and loss, and SGD
with momentum, which costs less than LARS; channels_last, on a GPU also bfloat16 and torch.compile.
"""

import argparse
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import measure
import numpy as np
from measure import told

MAPPERS_BAR = 0.02  # difference of pmap and shard_map
VIEWS_BAR = 0.08  # share of the step; on an accelerator
TORCH_BAR = 0.8  # ours over PyTorch, on CPU


def arguments() -> argparse.Namespace:
    import jax

    cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--width", type=int, default=64, help="channels of the stem")
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--batch", type=int, default=8 if cpu else 512, help="images, all devices")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=5, help="windows")
    parser.add_argument("--seconds", type=float, default=1.0, help="least length of a window")
    parser.add_argument("--no_torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    return parser.parse_args()


class Setup:
    """Everything a step needs, as train.py builds it, and a state that goes from step to step."""

    def __init__(
        self, encoder: str, width: int, dtype: str, batch: int, size: int, mapper: str,
        on_device: bool = False,
    ):  # fmt: skip
        import jax

        from histo_jax.augment.recipes import make_views
        from histo_jax.config import Optimizer
        from histo_jax.models import build_encoder, build_projector
        from histo_jax.objectives import build_objective
        from histo_jax.training import optimizer, parallel, state, step

        self.mapper = parallel.Mapper(mapper)
        self.mapper.check_batch(batch)
        net = build_encoder(encoder, width, dtype=dtype, axis=parallel.AXIS)
        head = build_projector("google_v1", net.features, dtype=dtype, axis=parallel.AXIS)
        objective = build_objective("simclr", encoder=net, projector=head, temperature=0.1)
        rate = optimizer.schedule(Optimizer(warmup_epochs=1), batch, 100 * batch, 10_000)
        tx = optimizer.build(Optimizer(), rate)
        branches = jax.default_backend() == "cpu"
        views = make_views(seed=0, recipe="simclr", size=size, branches=branches)
        self.update = self.mapper.map_step(step.make_step(objective, tx, rate, views, 0))
        fresh = jax.device_get(state.create(objective, tx, 0, size))
        self.state = self.mapper.replicate(fresh)
        self.batch_size = batch
        random = np.random.default_rng(0)
        index = np.arange(batch, dtype=np.int32)
        if on_device:
            image = random.integers(0, 256, (batch, size, size, 3), np.uint8)
            self.batch = self.mapper.place({"image": image, "index": index})
        else:
            views = random.uniform(-1, 1, (batch, 2, size, size, 3)).astype(np.float32)
            self.batch = self.mapper.place({"views": views, "index": index})

    def run(self, batch: dict | None = None) -> None:
        self.state, self.seen = self.update(self.state, batch or self.batch)

    def steps(self, together: int = 1) -> Generator[int]:
        """Endless; `together` steps are sent to the device before it is waited for."""
        import jax

        while True:
            for _ in range(together):
                self.run()
            jax.block_until_ready((self.state, self.seen))
            yield together * self.batch_size

    def cost(self) -> dict[str, float]:
        """FLOPs and bytes of a step on one device, by XLA's count."""
        compiled = self.update.lower(self.state, self.batch).compile()
        found = compiled.cost_analysis()
        found = found[0] if isinstance(found, list) else found
        return {"flops": float(found["flops"]), "bytes": float(found["bytes accessed"])}


def end_to_end(setups: dict[str, Setup], size: int, folder: Path) -> Generator[int]:
    """Feeds the step as the training loop does, and waits for step n when n + 1 is on its way."""
    import jax
    import tiles

    from histo_jax.augment.recipes import make_views
    from histo_jax.data import feed, pipeline
    from histo_jax.data.mixture import open_mixture

    batch = setups["pmap"].batch_size
    made, views = tiles.draw(max(64, batch), size), None
    setup = setups["pmap, views on device"]
    if pipeline.has_tensorflow():
        if jax.default_backend() == "cpu":
            setup = setups["pmap"]
            views = make_views(seed=0, recipe="simclr", size=size, branches=True)
        tiles.prepare(folder, "bench", tiles.as_jpeg(made, "4:2:0"))
        batches = pipeline.batches(
            open_mixture(folder, (("histo_patches/bench", None),)), split="train", seed=0,
            image_size=size, batch_size=batch, cache="none", start_step=0, total_steps=2**30,
            views=views,
        )  # fmt: skip
    else:
        index = np.arange(batch, dtype=np.int32)
        batches = iter(lambda: {"image": made[:batch].copy(), "index": index}, None)
    with feed.feed(batches, setup.mapper.place) as ready:
        before = None
        for ahead in ready:
            setup.run(ahead)
            jax.block_until_ready(before)
            before = setup.seen
            yield batch


def device_limits(dtype: str) -> dict[str, Generator[int]]:
    """A matrix product in the step's type, counting FLOPs, and a copy in place, counting bytes."""
    import jax
    import jax.numpy as jnp

    side, numbers = (2048, 2**25) if jax.default_backend() == "cpu" else (8192, 2**28)
    matrix, held = jnp.ones((side, side), dtype), [jnp.ones(numbers, jnp.float32)]
    product = jax.jit(lambda a: a @ a)  # at the default precision, as convolutions are
    negative = jax.jit(lambda a: -a, donate_argnums=0)

    def copy() -> Any:
        held[0] = negative(held[0])
        return held[0]

    return {
        "matrix product": measure.calls(lambda: product(matrix), 2 * side**3),
        "copy": measure.calls(copy, 2 * 4 * numbers),
    }


class Compilations:
    """Counts what XLA compiles from now on."""

    def __init__(self) -> None:
        import jax

        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self.hear)

    def hear(self, event: str, *_: Any, **__: Any) -> None:
        self.count += event.endswith("backend_compile_duration")


def main() -> None:
    flags = arguments()
    facts = measure.machine()
    measure.show_machine(facts)
    import jax

    cpu = jax.default_backend() == "cpu"
    same = (flags.encoder, flags.width, flags.dtype, flags.batch, flags.size)
    setups = {
        "pmap": Setup(*same, "pmap"),
        "shard_map": Setup(*same, "shard_map"),
        "pmap, views on device": Setup(*same, "pmap", on_device=True),
    }
    systems = {name: setup.steps(1 if cpu else 5) for name, setup in setups.items()}
    limits = device_limits(flags.dtype)
    for system in (systems | limits).values():
        next(system)  # compiles
    compilations = Compilations()
    if not flags.no_torch and measure.has("torch"):
        from torch_step import steps

        systems["PyTorch"] = steps(*same, together=1 if cpu else 5)
    with tempfile.TemporaryDirectory() as folder:
        systems["end to end"] = end_to_end(setups, flags.size, Path(folder))
        timing = {"rounds": flags.rounds, "seconds": flags.seconds, "skip": 1}
        samples = measure.alternate(systems | limits, **timing)
    device = {name: measure.rates(samples.pop(name))["per_second"] for name in limits}
    results = report(samples, setups["pmap"].cost(), device, flags.batch)
    results["recompilations"] = compilations.count
    print(f"recompilations after the first step: {compilations.count}\n")
    results["bars"] = bars(samples, compilations.count, cpu)
    measure.write(flags.json, facts, {"options": vars(flags) | {"json": None}, **results})


def report(samples: dict, cost: dict, device: dict, batch: int) -> dict[str, Any]:
    """The table, and how much of the device the step uses."""
    rows, found = [], {}
    for name, some in samples.items():
        found[name] = rate = measure.rates(some)
        times = measure.ratio(some, samples["pmap"])
        cells = (told(rate["per_second"], ",.2f"), told(rate["per_cpu_second"], ",.2f"))
        rows.append((name, *cells, told(times, ".3f")))
    head = ("step", "images/s", "images a CPU-second", "times pmap")
    print(measure.table(head, rows))
    steps = found["pmap"]["per_second"]["median"] / batch
    print(
        f"a step counts {cost['flops'] / 1e9:,.1f} GFLOP and {cost['bytes'] / 1e9:,.2f} GB by XLA"
    )
    share = {}
    for kind, limit, unit in (("flops", "matrix product", "GFLOP"), ("bytes", "copy", "GB")):
        share[limit] = cost[kind] * steps / device[limit]["median"]
        rate = {name: value / 1e9 for name, value in device[limit].items()}
        print(f"{limit:14} {told(rate, ',.1f')} {unit}/s; the step is at {share[limit]:.0%} of it")
    return {"rates": found, "step": cost, "device": device, "share": share}


def bars(samples: dict, compilations: int, cpu: bool) -> list[dict[str, Any]]:
    """On a CPU mappers are compared by CPU-seconds: what else runs disturbs them less."""
    mappers = measure.ratio(samples["shard_map"], samples["pmap"], cpu)["median"]
    views = 1 - measure.ratio(samples["pmap, views on device"], samples["pmap"], cpu)["median"]
    judged = [
        measure.verdict("pmap against shard_map", abs(mappers - 1), MAPPERS_BAR, most=True),
        measure.verdict("recompilations", compilations, 0, most=True),
    ]
    if cpu:
        print(
            f"        views made inside the step: {views:.0%} of it (the bar is for accelerators)"
        )
    else:
        judged.append(measure.verdict("views, share of the step", views, VIEWS_BAR, most=True))
    if "PyTorch" in samples:
        times = measure.ratio(samples["pmap"], samples["PyTorch"])["median"]
        judged.append(measure.verdict("images/s over PyTorch's", times, TORCH_BAR))
    return judged


if __name__ == "__main__":
    main()
