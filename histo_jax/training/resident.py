"""The images of a run in the memory of its devices (`data.cache=device`)."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from histo_jax.data import pipeline
from histo_jax.errors import HistoError
from histo_jax.training import parallel
from histo_jax.training.parallel import AXIS, Mapper

PIECE = 2**26  # bytes sent at a time: the host never holds more
WHOLE_SHARE = 0.25  # of a device's free memory: a set up to this is copied to every device
SPREAD_SHARE = 0.75  # … and a block of a larger one may take this; the rest is for the step


class Resident:
    """The uint8 pixels of a mixture on the devices, and the batches gathered from them.

    A small set lies whole on every device, and nothing crosses devices. A larger one is spread, an
    equal block of images each; then every device hands out what it holds of the whole batch.

    Attributes:
      size: bytes of all images.
      spread: whether each device holds a block only.
    """

    def __init__(self, mapper: Mapper, mixture: Any, image_size: int):
        """Reads the raw caches and sends them, in pieces, once.

        Raises:
          HistoError: a missing or damaged raw cache; more bytes than the devices have room for.
        """
        read, shape = pipeline.raw_reader(mixture, image_size), (image_size, image_size, 3)
        count = len(mapper.devices)
        self.image_bytes = int(np.prod(shape))
        self.size = mixture.n * self.image_bytes
        block = -(-mixture.n // count)
        free = parallel.least(min(map(free_bytes, jax.local_devices())))
        self.spread = count > 1 and self.size > WHOLE_SHARE * free
        needed = block * self.image_bytes if self.spread else self.size
        if needed > SPREAD_SHARE * free:
            each = f", {needed / 1e9:,.1f} on each" if count > 1 else ""
            room = f"{count} of {free / 1e9:,.1f} GB free, of which {SPREAD_SHARE:.0%} may be taken"
            raise HistoError(
                "config.data.cache", "device-memory",
                f"needs {self.size / 1e9:,.1f} GB{each}; devices: {room}",
                "set config.data.cache=raw, or take more devices",
            )  # fmt: skip
        rows = block if self.spread else mixture.n

        def images_of(device: jax.Device) -> jax.Array:
            first = mapper.devices.index(device) * block if self.spread else 0
            held = jnp.zeros((rows, *shape), jnp.uint8, device=device)
            step = max(1, PIECE // self.image_bytes)
            for at in range(first, min(first + rows, mixture.n), step):
                numbers = np.arange(at, min(at + step, first + rows, mixture.n))
                held = _write(held, jax.device_put(read(numbers), device), np.int32(at - first))
            return held

        self.pixels = mapper.on_devices(images_of, split=self.spread)
        self._gather = mapper.map_gather(take_spread if self.spread else take, self.spread)

    def gather(self, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Turns `row` int32, images' numbers in the mixture, into `image` uint8 [n, s, s, 3].

        Runs on the devices, before the step; each ends with its share of the batch. To be called
        by the thread that starts the steps: programs that exchange data must start in one order.
        """
        return {"index": batch["index"], "image": self._gather(self.pixels, batch["row"])}

    def describe(self, batch_size: int) -> str:
        """Where the images lie, and what gathering a batch moves: a line for the start of a run."""
        size = f"{self.size / 1e6:,.1f} MB"
        if not self.spread:
            return f"{size} on every device"
        moved = f"each sends up to {batch_size * self.image_bytes / 1e6:,.1f} MB a step"
        return f"{size} spread over the devices, {moved}"


def take(pixels: jax.Array, rows: jax.Array) -> jax.Array:
    """This device's images: `pixels` [N, s, s, 3] are all there are, `rows` int32 [n]."""
    return pixels[rows]


def take_spread(pixels: jax.Array, rows: jax.Array) -> jax.Array:
    """This device's images where `pixels` [m, s, s, 3] is its block, on the axis `AXIS`.

    Each device looks up what it holds of the global batch, zeros elsewhere; the sum over devices,
    of which each receives its part, has one term that is not zero: exact in uint8.
    """
    wanted = jax.lax.all_gather(rows, AXIS, tiled=True)
    at = wanted - jax.lax.axis_index(AXIS) * pixels.shape[0]
    mine = (at >= 0) & (at < pixels.shape[0])
    found = pixels[jnp.clip(at, 0, pixels.shape[0] - 1)]
    found = jnp.where(mine[:, None, None, None], found, jnp.uint8(0))
    return jax.lax.psum_scatter(found, AXIS, tiled=True)


@jax.jit(donate_argnums=0)
def _write(pixels: jax.Array, piece: jax.Array, at: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(pixels, piece, at, 0)


def free_bytes(device: jax.Device) -> int:
    """What a device can still hold; of one that doesn't say, its part of the machine's memory."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return memory // len(jax.local_devices())
