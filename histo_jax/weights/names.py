"""One table of names, read both ways: torchvision's state dict and our trees."""

import re
from typing import Any, NamedTuple

import numpy as np

from histo_jax.models import architecture

NORM = (
    ("weight", "params", "scale"),
    ("bias", "params", "bias"),
    ("running_mean", "batch_stats", "mean"),
    ("running_var", "batch_stats", "var"),
)


class Leaf(NamedTuple):
    """One array under both names.

    Attributes:
      torch: torchvision's name, `layer1.0.conv1.weight`.
      tree: `params` or `batch_stats`.
      path: dotted place in that tree, `layer1_0.conv1.kernel`.
      shape: ours; a kernel is [height, width, in, out], in torch [out, in, height, width].
    """

    torch: str
    tree: str
    path: str
    shape: tuple[int, ...]


def table(encoder: str, width: int) -> list[Leaf]:
    """All arrays of an encoder, in the order of torchvision's modules.

    Layer norm is torchvision's with `norm_layer=lambda c: torch.nn.GroupNorm(1, c)`.
    """
    stages, bottleneck, layer_norm = architecture(encoder)
    norm = [entry for entry in NORM if entry[1] == "params"] if layer_norm else NORM
    leaves, channels = _pair("conv1", "bn1", 7, 3, width, norm), width
    for stage, blocks in enumerate(stages):
        inner = width * 2**stage
        out = 4 * inner if bottleneck else inner
        kernels = ((1, inner), (3, inner), (1, out)) if bottleneck else ((3, inner), (3, out))
        for block in range(blocks):
            where, before = f"layer{stage + 1}.{block}", channels
            for i, (kernel, after) in enumerate(kernels, 1):
                leaves += _pair(f"{where}.conv{i}", f"{where}.bn{i}", kernel, before, after, norm)
                before = after
            if (stage and not block) or channels != out:
                shortcut = f"{where}.downsample"
                leaves += _pair(f"{shortcut}.0", f"{shortcut}.1", 1, channels, out, norm)
            channels = out
    return leaves


def _pair(conv: str, norm: str, kernel: int, before: int, after: int, of_norm: Any) -> list[Leaf]:
    """A convolution without bias and the norm after it, by torch's names."""
    shape = (kernel, kernel, before, after)
    kernels = Leaf(f"{conv}.weight", "params", f"{_ours(conv)}.kernel", shape)
    return [
        kernels,
        *(Leaf(f"{norm}.{a}", tree, f"{_ours(norm)}.{b}", (after,)) for a, tree, b in of_norm),
    ]


def _ours(module: str) -> str:
    """`layer1.0.downsample.0` as `layer1_0.downsample_0`."""
    return re.sub(r"\.(\d+)", r"_\1", module)


def to_torch(array: np.ndarray) -> np.ndarray:
    """A kernel [h, w, in, out] as torch has it; other arrays as they are."""
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array)


def to_ours(array: np.ndarray) -> np.ndarray:
    """A kernel [out, in, h, w] as we have it; other arrays as they are."""
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)


def flat(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as `{"layer1_0.conv1.kernel": array, …}`."""
    found = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        found |= flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return found


def nested(arrays: dict[str, Any]) -> dict:
    """Undoes `flat`."""
    tree: dict = {}
    for path, array in arrays.items():
        *parents, last = path.split(".")
        where = tree
        for parent in parents:
            where = where.setdefault(parent, {})
        where[last] = array
    return tree
