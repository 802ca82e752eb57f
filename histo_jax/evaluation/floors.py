"""What any encoder must beat: untrained networks, colour counts, hand-made texture."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from histo_jax.evaluation.features import Network

CALIBRATION_IMAGES = 2048  # training images that set the BN statistics
NEW_SHARE = 0.1  # of a batch in the running statistics (momentum 0.9)


def shapes(encoder: Any) -> dict:
    """The shapes and dtypes of `params` and `batch_stats`, nothing computed."""
    return jax.eval_shape(functools.partial(_init, encoder), jax.random.key(0))


def random_init(encoder: Any, seed: int) -> tuple[dict, dict]:
    """torchvision's initialisation, literally: params, and statistics of mean 0 and variance 1.

    In eval mode activations then grow with depth (the paper's L1 of 2490.7 for ResNet-101).
    """
    variables = _init(encoder, jax.random.key(seed))
    return variables["params"], variables.get("batch_stats", {})  # layer norm has none


def calibrated(
    network: Network, params: dict, batch_stats: dict, batches: Iterable[np.ndarray]
) -> dict:
    """BN statistics of an untrained network: those of train-mode passes, averaged by batch size.

    `batches` are uint8 [b, h, w, 3] of the training part.
    """
    total, count = jax.tree.map(jnp.zeros_like, batch_stats), 0
    for images in batches:
        found, n = _statistics(network, params, batch_stats, images), float(len(images))
        total = jax.tree.map(lambda t, s, n=n: t + n * s, total, found)
        count += len(images)
    return jax.tree.map(lambda t: t / count, total)


@functools.partial(jax.jit, static_argnums=0)
def _init(encoder: Any, key: jax.Array) -> dict:
    # Parameters don't depend on the image's size: a small one.
    return encoder.init(key, jnp.zeros((1, 32, 32, 3), jnp.float32), train=False)


@functools.partial(jax.jit, static_argnums=0)
def _statistics(network: Network, params: dict, batch_stats: dict, images: jax.Array) -> dict:
    # From zero, one update leaves NEW_SHARE of the batch's own statistics.
    zero = jax.tree.map(jnp.zeros_like, batch_stats)
    variables, x = {"params": params, "batch_stats": zero}, network.normalise(images)
    _, new = network.encoder.apply(variables, x, train=True, mutable=["batch_stats"])
    return jax.tree.map(lambda s: s / NEW_SHARE, new.get("batch_stats", {}))


def colour_histogram(images: np.ndarray) -> np.ndarray:
    """Square root of the joint RGB 8×8×8 shares: uint8 [b, h, w, 3] to float32 [b, 512]."""
    n = len(images)
    bins = (images >> 5).reshape(n, -1, 3).astype(np.int64) @ np.array([64, 8, 1])
    counts = np.bincount((bins + 512 * np.arange(n)[:, None]).ravel(), minlength=512 * n)
    return np.sqrt(counts.reshape(n, 512) / bins.shape[1]).astype(np.float32)


def mean_rgb(images: np.ndarray) -> np.ndarray:
    """Mean colour in 0..1: uint8 [b, h, w, 3] to float32 [b, 3]."""
    return (images.mean((1, 2)) / 255).astype(np.float32)


def texture(images: np.ndarray) -> np.ndarray:
    """Classical texture: uint8 [b, h, w, 3], h and w at least 8, to float32 [b, 414].

    Uniform local binary patterns at radius 1, 2 and 3 (54 shares), histograms of oriented gradients
    on a 4×4 grid (324), colour mean and deviation in six rings about the centre (36).
    """
    return np.stack([_texture(image) for image in images]).astype(np.float32)


def _texture(image: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2gray
    from skimage.feature import hog, local_binary_pattern

    height, width = image.shape[:2]
    grey = np.round(255 * rgb2gray(image)).astype(np.uint8)
    parts = []
    for points, radius in ((8, 1), (16, 2), (24, 3)):
        codes = local_binary_pattern(grey, points, radius, "uniform").astype(np.int64)
        parts.append(np.bincount(codes.ravel(), minlength=points + 2) / codes.size)
    cell = (height // 4, width // 4)
    square = grey[: 4 * cell[0], : 4 * cell[1]]
    parts.append(hog(square, orientations=9, pixels_per_cell=cell, cells_per_block=(2, 2)))
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5)
    ring = np.minimum((distance / 0.5 * 6).astype(int), 5).ravel()
    count = np.maximum(np.bincount(ring, minlength=6), 1)
    for channel in np.moveaxis(image, -1, 0).reshape(3, -1) / 255:
        mean = np.bincount(ring, channel, 6) / count
        square_mean = np.bincount(ring, channel**2, 6) / count
        parts += [mean, np.sqrt(np.maximum(square_mean - mean**2, 0))]
    return np.concatenate(parts)


PIXELS = {"colour_histogram": colour_histogram, "mean_rgb": mean_rgb, "texture": texture}
FLOORS = ("random", "random_calibrated", *PIXELS)
MASKS = ("constant", "otsu", "colour_pixels")  # of `segment`: the commonest class, colour alone
