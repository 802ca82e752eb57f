"""From named arrays to an encoder: every one placed or known to be of no use, every leaf filled."""

import collections
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from histo_jax.errors import HistoError
from histo_jax.models import ENCODERS, LAYER_NORM
from histo_jax.weights.names import nested, table, to_ours

PREFIX = re.compile(r"^((model|resnet|module|encoder|backbone)\.)+")
# Heads and torch's counters: read by nobody here.
IGNORED = re.compile(r"(fc|projector|projection_head)\..+|.+\.num_batches_tracked")
BLOCK = re.compile(r"layer(\d)\.(\d+)\.")
FLOATS = ("float32", "float64", "float16", "bfloat16")
SHOWN = 8  # problems in one line


class Filled(NamedTuple):
    """An encoder's arrays.

    Attributes:
      encoder: a key of `ENCODERS`.
      width: channels of the stem.
      params, batch_stats: nested dicts of float32.
      ignored: names in the file that were left out.
    """

    encoder: str
    width: int
    params: dict
    batch_stats: dict
    ignored: list[str]


def fill(
    path: Path, tensors: dict[str, np.ndarray | str], want: str | None = None,
    layer_norm: bool = False,
) -> Filled:  # fmt: skip
    """Finds the architecture and places every array.

    float16 and bfloat16 become float32 exactly, float64 is rounded to the nearest float32.

    Args:
      path: the file, for messages.
      tensors: see `histo_jax.weights.read.Contents`; prefixes of `PREFIX` are taken off.
      want: the encoder it must be, or None for any.
      layer_norm: whether it has that in place of batch norm: its arrays alone would not say so,
        running statistics may be missing for another reason.

    Raises:
      HistoError: another architecture, or names, shapes, types or values that don't fit; one line
        with all that is wrong.
    """
    ignored, found, wrong = [], {}, []
    for name, value in tensors.items():
        bare = PREFIX.sub("", name)
        if IGNORED.fullmatch(bare):
            ignored.append(name)
        elif bare in found:
            wrong.append(f"{name}: {bare} is there twice")
        else:
            found[bare] = value
    encoder, width = architecture(path, found)
    encoder += LAYER_NORM if layer_norm else ""
    check_encoder(path, encoder, want)
    trees: dict[str, dict] = {"params": {}, "batch_stats": {}}
    for leaf in table(encoder, width):
        value = found.pop(leaf.torch, "is not there")
        array = to_ours(value) if isinstance(value, np.ndarray) else value
        problem = array if isinstance(array, str) else _problem(array, leaf.shape)
        if problem:
            wrong.append(f"{leaf.torch}: {problem}")
        else:
            trees[leaf.tree][leaf.path] = array.astype(np.float32)
    wrong += [f"{name}: unexpected" for name in found]
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        what = f"is no {encoder} of width {width}, {len(wrong)} of its arrays don't fit: "
        what += "; ".join(text[:160] for text in wrong[:SHOWN]) + more
        remedy = "give the encoder's state dict in torchvision's names"
        raise HistoError(path, "weights-foreign", what, remedy)
    return Filled(encoder, width, nested(trees["params"]), nested(trees["batch_stats"]), ignored)


def _problem(array: np.ndarray, shape: tuple[int, ...]) -> str | None:
    """What keeps an array in our order from its place, told in torch's order."""
    if array.shape != shape:
        told = [
            tuple(s[i] for i in (3, 2, 0, 1)) if len(s) == 4 else s for s in (array.shape, shape)
        ]
        return f"has shape {told[0]}, not {told[1]}"
    if array.dtype.name not in FLOATS:
        return f"is {array.dtype.name}"
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32)).all()
    return None if finite else "holds values that are not finite"


def architecture(path: Path, tensors: dict[str, np.ndarray | str]) -> tuple[str, int]:
    """Encoder and width, from the blocks that are named and the shape of the stem.

    Raises:
      HistoError: no encoder we know has these blocks.
    """
    blocks = {(int(m[1]), int(m[2])) for m in map(BLOCK.match, tensors) if m}
    counted = collections.Counter(stage for stage, _ in blocks)
    stages = tuple(counted[stage] for stage in range(1, max(counted, default=0) + 1))
    bottleneck = any(re.fullmatch(r"layer1\.0\.conv3\.weight", name) for name in tensors)
    stem = [tensors.get(name) for name in ("conv1.weight", "bn1.weight", "bn1.bias")]
    widths = [array.shape[0] for array in stem if isinstance(array, np.ndarray) and array.ndim]
    for name, known in ENCODERS.items():
        if known == (stages, bottleneck) and widths:
            return name, widths[0]
    kind = "bottlenecks" if bottleneck else "blocks"
    what = f"is no encoder we know: {stages} {kind} in layers, "
    what += f"{len(tensors)} names: {', '.join(list(tensors)[:3])[:160]} …"
    raise HistoError(path, "weights-foreign", what, "known: " + ", ".join(ENCODERS))


def check_encoder(path: object, encoder: str, want: str | None) -> None:
    """Refuses another encoder than is wanted.

    Raises:
      HistoError: it is another.
    """
    if want not in (None, encoder):
        what = f"holds a {encoder}, wanted is a {want}"
        raise HistoError(path, "weights-foreign", what, f"set config.model.encoder={encoder}")
