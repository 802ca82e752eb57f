"""The one place that maps the step over devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from histo_jax.errors import HistoError

AXIS = "batch"


def mesh() -> Mesh:
    """All devices of all processes along the one axis."""
    return Mesh(np.array(jax.devices()), (AXIS,))


def map_step(step: Callable, mapper: str) -> Callable:
    """Compiles `step(state, batch) -> (state, metrics)`, written for one device, over all of them.

    The state is the same on every device and has no device axis; the batch is split along its
    first axis. `pmap` is what was asked for; `shard_map` is where JAX is going. Both run the same
    function and give the same numbers.
    """
    if mapper == "pmap":
        return jax.pmap(
            step, axis_name=AXIS, in_axes=(None, 0), out_axes=(None, None), donate_argnums=0
        )
    split, whole = PartitionSpec(AXIS), PartitionSpec()
    mapped = jax.shard_map(step, mesh=mesh(), in_specs=(whole, split), out_specs=(whole, whole))
    return jax.jit(mapped, donate_argnums=0)


def check_batch(batch_size: int) -> None:
    """Refuses a batch that the devices can't share equally: pmap would drop the rest in silence."""
    devices = jax.device_count()
    if batch_size % devices:
        nearest = max(devices, round(batch_size / devices) * devices)
        raise HistoError(
            "config.data.batch_size",
            "batch",
            f"{batch_size} images can't be shared equally by {devices} devices",
            f"the nearest that can: {nearest}",
        )


def place(batch: dict[str, np.ndarray], mapper: str) -> dict[str, jax.Array]:
    """Puts this process's share of a batch, [b, …] each, on its devices."""
    local = jax.local_device_count()
    sharding = NamedSharding(mesh(), PartitionSpec(AXIS))

    def put(array: np.ndarray) -> jax.Array:
        if mapper == "pmap":
            array = array.reshape(local, -1, *array.shape[1:])
        return jax.make_array_from_process_local_data(sharding, array)

    return {name: put(array) for name, array in batch.items()}


def replicate(tree: Any) -> Any:
    """The same values on every device, as arrays without a device axis."""
    sharding = NamedSharding(mesh(), PartitionSpec())
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.array(x)), tree
    )


def to_host(tree: Any) -> Any:
    """Copies replicated arrays to numpy; the copies outlive a donated buffer."""
    return jax.tree.map(lambda x: np.array(x.addressable_shards[0].data), tree)
