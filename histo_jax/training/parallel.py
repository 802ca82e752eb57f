"""The one place that maps the step over devices."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from histo_jax.config import differences
from histo_jax.errors import HistoError

AXIS = "batch"
SPLIT, WHOLE = PartitionSpec(AXIS), PartitionSpec()


@dataclasses.dataclass(frozen=True)
class Mapper:
    """Runs a step written for one device on all of them, along one axis.

    `pmap` is what was asked for; `shard_map` is where JAX is going. Both run the same function and
    give the same numbers.

    Attributes:
      name: `"pmap"` or `"shard_map"`.
      devices: of all processes, in JAX's order.
    """

    name: str
    devices: tuple[jax.Device, ...] = dataclasses.field(
        default_factory=lambda: tuple(jax.devices())
    )

    @property
    def mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (AXIS,))

    def check_batch(self, batch_size: int, micro_batches: int = 1) -> None:
        """Refuses a batch the devices can't share equally: pmap drops the rest in silence."""
        count = len(self.devices) * micro_batches
        if batch_size % count:
            sharers = f"{len(self.devices)} devices"
            if micro_batches > 1:
                sharers += f", {micro_batches} micro-batches each"
            raise HistoError(
                "config.data.batch_size", "batch",
                f"{batch_size} images can't be shared equally by {sharers}",
                f"the nearest that can: {max(1, round(batch_size / count)) * count}",
            )  # fmt: skip

    def map_step(self, step: Callable) -> Callable:
        """Compiles `step(state, batch) -> (state, metrics)`.

        The state is the same on every device and has no device axis; the batch is split along its
        first axis. The state given is consumed (its buffers are reused).
        """
        return self._map(step, (WHOLE, SPLIT), (WHOLE, WHOLE), donate=(0,))

    def map_gather(self, gather: Callable, split: bool) -> Callable:
        """Compiles `gather(held, numbers) -> rows` over what `on_devices` put there.

        Numbers and rows are split along their first axis, as a batch is.
        """
        return self._map(gather, (SPLIT if split else WHOLE, SPLIT), SPLIT)

    def _map(self, function: Callable, specs: tuple, out: Any, donate: tuple = ()) -> Callable:
        if self.name == "pmap":
            axes = {SPLIT: 0, WHOLE: None}
            out = axes[out] if out in axes else tuple(axes[spec] for spec in out)
            return jax.pmap(
                function, axis_name=AXIS, in_axes=tuple(axes[spec] for spec in specs),
                out_axes=out, devices=self.devices, donate_argnums=donate,
            )  # fmt: skip
        # As pmap does. With the check shard_map sums the gradients itself, and our mean would send
        # them across devices once more.
        mapped = jax.shard_map(
            function, mesh=self.mesh, in_specs=specs, out_specs=out, check_vma=False
        )
        return jax.jit(mapped, donate_argnums=donate)

    def place(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Puts this process's share of a batch, [b, …] each, on its devices."""
        local = sum(d.process_index == jax.process_index() for d in self.devices)
        sharding = NamedSharding(self.mesh, SPLIT)

        def put(array: np.ndarray) -> jax.Array:
            if self.name == "pmap":
                array = array.reshape(local, -1, *array.shape[1:])
            return jax.make_array_from_process_local_data(sharding, array)

        return {name: put(array) for name, array in batch.items()}

    def on_devices(self, make: Callable[[jax.Device], jax.Array], split: bool) -> jax.Array:
        """One array of what `make` puts on each device: blocks of it, or the same everywhere."""
        mine = [d for d in self.devices if d.process_index == jax.process_index()]
        parts = [make(device) for device in mine]
        shape = parts[0].shape
        if not split:
            sharding = NamedSharding(self.mesh, WHOLE)
            return jax.make_array_from_single_device_arrays(shape, sharding, parts)
        count = len(self.devices)
        if self.name == "pmap":
            parts, shape = [part[None] for part in parts], (count, *shape)
        else:
            shape = (count * shape[0], *shape[1:])
        sharding = NamedSharding(self.mesh, SPLIT)
        return jax.make_array_from_single_device_arrays(shape, sharding, parts)

    def replicate(self, tree: Any) -> Any:
        """The same values on every device, as arrays without a device axis."""
        sharding = NamedSharding(self.mesh, WHOLE)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, np.array(x)), tree
        )


def to_host(tree: Any) -> Any:
    """Copies replicated arrays to numpy; the copies outlive a donated buffer."""
    return jax.tree.map(lambda x: np.array(jax.device_get(x.addressable_shards[0].data)), tree)


def least(value: float) -> float:
    """The smallest of what all processes say, to float32."""
    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import process_allgather

    return float(np.min(process_allgather(np.float32(value))))


def agree(facts: dict) -> None:
    """Compares what every process is about to do, `facts` as JSON; nothing with one process.

    Raises:
      HistoError: a process differs from process 0; all processes raise, and name the same.
    """
    if jax.process_count() == 1:
        return
    from jax.experimental.multihost_utils import process_allgather

    text = json.dumps(facts, sort_keys=True).encode()
    longest = int(np.max(process_allgather(np.int32(len(text)))))
    mine = np.frombuffer(text.ljust(longest), np.uint8)
    first, *others = (json.loads(row.tobytes()) for row in np.asarray(process_allgather(mine)))
    for index, other in enumerate(others, 1):
        names = differences(other, first)
        if names:
            what = f"differs from process 0 in {', '.join(names[:5])}"
            remedy = "start all processes by the same command, with the same data and versions"
            raise HistoError(f"process {index}", "processes-differ", what, remedy)
