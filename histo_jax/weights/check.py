"""What an encoder says about one fixed input: numbers to hold against torch's."""

import functools

import jax
import numpy as np

from histo_jax.models import PARTS, build_encoder
from histo_jax.weights.importing import Weights

IMAGES, SIDE, STREAM = 2, 64, 9999
COUNTER = "num_batches_tracked"


def fixed_images() -> np.ndarray:
    """float32 [2, 64, 64, 3] in [-1, 1], an integer hash that is the same in every language."""
    mask, factor = np.uint64(0xFFFFFFFF), np.uint64(0x45D9F3B)
    h = np.arange(IMAGES * SIDE * SIDE * 3, dtype=np.uint64)
    h = h + np.uint64(1 + STREAM * 1_000_003) & mask
    for _ in range(2):
        h ^= h >> np.uint64(16)
        h = h * factor & mask
    h ^= h >> np.uint64(16)
    return (2 * (h / 2**32) - 1).astype(np.float32).reshape(IMAGES, SIDE, SIDE, 3)


def features(weights: Weights) -> dict[str, np.ndarray]:
    """Every level of the encoder's features of `fixed_images`, running statistics, float32."""
    encoder = build_encoder(weights.card["encoder"], weights.card["width"])
    apply = jax.jit(functools.partial(encoder.apply, train=False))
    variables = {"params": weights.params, "batch_stats": weights.batch_stats}
    out = apply(variables, fixed_images())
    return {name: np.asarray(out[name]) for name in (*PARTS, "pooled")}


def describe(weights: Weights) -> str:
    """One screen: what the file holds, and mean, deviation and first number of each level."""
    card, source = weights.card, weights.card["source"]
    count = sum(x.size for x in jax.tree.leaves(weights.params))
    named = [name for name in source["ignored"] if not name.endswith(COUNTER)]
    told = [f"{len(source['ignored']) - len(named)} {COUNTER}", *named[:3]]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    lines = [
        f"file     {weights.path}, {weights.path.stat().st_size:,} bytes",
        f"sha256   {source['sha256']} of the file",
        f"         {card['sha256']} of the arrays, in any format",
        f"encoder  {card['encoder']}, width {card['width']}, {count:,} parameters",
        f"ignored  {', '.join(told)}{more}",
        f"images   {card['image_size']} pixels, mean {card['mean']}, std {card['std']}",
        "",
        f"{'level':9}{'mean':>14}{'std':>14}{'first':>14}   of the fixed input",
    ]
    for name, x in features(weights).items():
        lines.append(f"{name:9}{x.mean():14.6f}{x.std():14.6f}{x.ravel()[0]:14.6f}")
    return "\n".join(lines)
