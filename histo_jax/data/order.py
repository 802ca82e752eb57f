"""The order of the images: a pure function of seed and epoch, kind to disks, stored nowhere."""

import itertools

import numpy as np

BLOCK = 16  # neighbouring records that stay near each other, so that a disk reads them together
WINDOW = 256  # blocks whose records are mixed


def epoch_order(
    seed: int, epoch: int, sizes: tuple[int, ...], weights: tuple[float, ...] | None = None
) -> np.ndarray:
    """Returns which image comes when in one epoch: int64[n], n = sum(sizes).

    Entries index the concatenation of the sets. Without weights every image comes exactly once.
    With weights each set takes its share of the n places (largest remainder), from consecutive
    positions of its own endless stream of permutations: over the epochs each image of a set is
    seen equally often.

    Blocks of 16 neighbours are permuted, then the images inside windows of 256 blocks. Only raw
    bits and stable sorts are used: NumPy promises these never to change, its `permutation` may.
    """
    if weights is None:
        return _permutation(_bits(seed, 0, epoch), sizes)
    offsets = np.cumsum([0, *sizes])
    draws, times = [], []
    for i, count in enumerate(shares(sum(sizes), weights)):
        draws.append(offsets[i] + _stream(seed, i, sizes[i], epoch * count, count))
        jitter = _bits(seed, 1, epoch, i).random_raw(count) / 2.0**64
        times.append((np.arange(count) + jitter) / max(count, 1))  # spreads each set evenly
    return np.concatenate(draws)[np.argsort(np.concatenate(times), kind="stable")]


def shares(total: int, weights: tuple[float, ...]) -> list[int]:
    """Splits `total` places in proportion to `weights` by largest remainder."""
    exact = total * np.asarray(weights, np.float64) / np.sum(weights)
    counts = np.floor(exact).astype(np.int64)
    most_owed = np.argsort(counts - exact, kind="stable")
    counts[most_owed[: total - counts.sum()]] += 1
    return counts.tolist()


def _bits(*address: int) -> np.random.Philox:
    seed, *path = address
    return np.random.Philox(np.random.SeedSequence(seed, spawn_key=tuple(path)))


def _permutation(bits: np.random.Philox, sizes: tuple[int, ...]) -> np.ndarray:
    """Permutes blocks, then images inside windows. A block never spans two sets."""
    offsets = np.cumsum([0, *sizes])
    starts = np.concatenate([np.arange(a, b, BLOCK) for a, b in itertools.pairwise(offsets)])
    ends = np.minimum(starts + BLOCK, offsets[np.searchsorted(offsets, starts, side="right")])
    order = np.argsort(bits.random_raw(len(starts)), kind="stable")
    starts, lengths = starts[order], (ends - starts)[order]
    place = np.cumsum(lengths) - lengths
    images = np.repeat(starts - place, lengths) + np.arange(offsets[-1])
    window = np.arange(len(images)) // (BLOCK * WINDOW)
    return images[np.lexsort((bits.random_raw(len(images)), window))]


def _stream(seed: int, which: int, size: int, first: int, count: int) -> np.ndarray:
    """Positions [first, first + count) of permutation after permutation of one set."""
    parts = [np.empty(0, np.int64)]
    while count > 0:
        turn, skip = divmod(first, size)
        part = _permutation(_bits(seed, 2, which, turn), (size,))[skip : skip + count]
        parts.append(part)
        first, count = first + len(part), count - len(part)
    return np.concatenate(parts)
