"""What a frozen encoder says about images: running BN statistics, no augmentation."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from histo_jax.data.images import read_images
from histo_jax.data.prepared import Prepared
from histo_jax.errors import HistoError

LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4", "pooled")
HELD = 2**30  # bytes of decoded images kept between initialisations; above it they are read again


@dataclasses.dataclass(frozen=True)
class Network:
    """An architecture and how its images are scaled; hashable, so that compilations are shared.

    Attributes:
      encoder: of `build_encoder`.
      mean, std: three numbers each in 0..1, those of pretraining.
    """

    encoder: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalise(self, images: jax.Array) -> jax.Array:
        """uint8 [b, h, w, 3] to float32."""
        mean, std = (jnp.array(v, jnp.float32)[None, None, None] for v in (self.mean, self.std))
        return (images.astype(jnp.float32) / 255 - mean) / std


Reader = Callable[[np.ndarray], Iterable[np.ndarray]]


def reader(prepared: Prepared, rows: np.ndarray, image_size: int, batch_size: int) -> Reader:
    """Gives `read(at) -> uint8 [<=batch_size, S, S, 3]...`, `at` counting within `rows`.

    Sets that fit in `HELD` bytes are decoded once.
    """
    if len(rows) * image_size**2 * 3 > HELD:
        return lambda at: read_images(prepared, rows[at], image_size, batch_size)
    images = np.concatenate(list(read_images(prepared, rows, image_size, batch_size)))

    def held(at: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(at), batch_size):
            yield images[at[start : start + batch_size]]

    return held


def extract(
    network: Network, layer: str, params: dict, batch_stats: dict,
    batches: Iterable[np.ndarray], batch_size: int,
) -> np.ndarray:  # fmt: skip
    """Features float32 [n, width] of all images, see `describe`.

    Raises:
      HistoError: the encoder gives a number that is not finite.
    """
    made = describe(network, layer, params, batch_stats, batches, batch_size)
    return finite(np.concatenate(list(made)))


def describe(
    network: Network, layer: str, params: dict, batch_stats: dict,
    batches: Iterable[np.ndarray], batch_size: int,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Features float32 [b, width] of each batch; a layer before the last is averaged over space.

    `batches` are uint8 [<=batch_size, h, w, 3]; the last is padded, so that one program serves all.
    """
    params, batch_stats = jax.device_put((params, batch_stats))
    for images in batches:
        full = np.pad(images, ((0, batch_size - len(images)), (0, 0), (0, 0), (0, 0)))
        out = _forward(network, layer, params, batch_stats, full)
        yield np.asarray(out)[: len(images)]


def width(network: Network, layer: str, params: dict, batch_stats: dict, side: int) -> int:
    """Numbers an image of `side` pixels, nothing computed."""
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)
    made = functools.partial(_forward, network, layer)
    return jax.eval_shape(made, params, batch_stats, image).shape[1]


def finite(features: np.ndarray) -> np.ndarray:
    """Features [n, width] as they are.

    Raises:
      HistoError: `features-not-finite`.
    """
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features).all(1)).sum())
        what = f"gives features that are not finite for {bad} of {len(features)} images"
        raise HistoError("encoder", "features-not-finite", what, "was the pretraining stable?")
    return features


@functools.partial(jax.jit, static_argnums=(0, 1))
def _forward(
    network: Network, layer: str, params: dict, batch_stats: dict, images: jax.Array
) -> jax.Array:
    variables = {"params": params, "batch_stats": batch_stats}
    out = network.encoder.apply(variables, network.normalise(images), train=False)[layer]
    out = out.astype(jnp.float32)
    return out if out.ndim == 2 else out.mean((1, 2))
