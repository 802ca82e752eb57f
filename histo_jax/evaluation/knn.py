"""Nearest neighbours: what the features say with no training at all (InstDisc, DINO)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

NEIGHBOURS = (20, 200)
TEMPERATURE = 0.07
CHUNK = 512  # queries at a time


def neighbours(train: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines float32 [n, k] and rows int32 [n, k] of the nearest training images, nearest first.

    `k` is capped at the number of training images; of equals the lower row comes first.
    """
    k = min(k, len(train))
    unit_train = jnp.asarray(_unit(train))
    unit_queries = _unit(queries)
    similar, rows = [], []
    for start in range(0, len(queries), CHUNK):
        chunk = unit_queries[start : start + CHUNK]
        full = np.pad(chunk, ((0, CHUNK - len(chunk)), (0, 0)))
        top, at = jax.device_get(_nearest(unit_train, full, k))
        similar.append(top[: len(chunk)])
        rows.append(at[: len(chunk)])
    return np.concatenate(similar), np.concatenate(rows)


def vote(
    similar: np.ndarray, labels: np.ndarray, classes: int, temperature: float = TEMPERATURE
) -> np.ndarray:
    """Class shares float64 [n, classes]; each neighbour's vote weighs exp(cosine / temperature).

    `similar` and `labels` are [n, k], cosines and classes of the neighbours.
    """
    weights = _weights(similar, temperature)
    one_hot = labels[..., None] == np.arange(classes)
    return np.einsum("nk,nkc->nc", weights, one_hot.astype(np.float64))


def average(
    similar: np.ndarray, targets: np.ndarray, temperature: float = TEMPERATURE
) -> np.ndarray:
    """The neighbours' mean target float64 [n], weighted as `vote` does; `targets` is [n, k]."""
    return (_weights(similar, temperature) * targets).sum(1)


def _weights(similar: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp((similar - similar.max(1, keepdims=True)).astype(np.float64) / temperature)
    return weights / weights.sum(1, keepdims=True)


def _unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


@functools.partial(jax.jit, static_argnums=2)
def _nearest(train: jax.Array, queries: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    cosines = jnp.matmul(queries, train.T, precision=jax.lax.Precision.HIGHEST)
    return jax.lax.top_k(cosines, k)
