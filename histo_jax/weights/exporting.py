"""An encoder of ours as a file that torchvision's ResNet loads, strictly."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from histo_jax import files
from histo_jax.errors import HistoError
from histo_jax.weights import cards
from histo_jax.weights.names import flat, table, to_torch
from histo_jax.weights.read import CARD


def state_dict(params: dict, batch_stats: dict, encoder: str, width: int) -> dict[str, np.ndarray]:
    """Arrays in torchvision's names and order, torch's counters of batches (0) among them.

    Raises:
      HistoError: the trees are not that encoder's.
    """
    arrays = flat({"params": params, "batch_stats": batch_stats})
    found = {}
    for leaf in table(encoder, width):
        array = arrays.pop(f"{leaf.tree}.{leaf.path}", None)
        if array is None or array.shape != leaf.shape:
            what = f"is no {encoder} of width {width}"
            raise HistoError(leaf.path, "weights-foreign", what, "give the card of these arrays")
        found[leaf.torch] = to_torch(np.asarray(array, np.float32))
        if leaf.path.endswith(".var"):
            counter = leaf.torch.replace("running_var", "num_batches_tracked")
            found[counter] = np.zeros((), np.int64)
    if arrays:
        what = f"has no place in a {encoder} of width {width}"
        raise HistoError(next(iter(arrays)), "weights-foreign", what)
    return found


def save(params: dict, batch_stats: dict, card: dict, path: str | Path) -> None:
    """Writes `.safetensors`, or with torch `.pth`, whole or not at all.

    Args:
      params, batch_stats: nested dicts of float32 arrays.
      card: of the run's checkpoint, or of `Weights`.
      path: the file; its suffix says the format.

    Raises:
      HistoError: another suffix, no torch, the trees are not what the card says, or the disk does
        not take it.
    """
    path = Path(path)
    arrays = state_dict(params, batch_stats, card["encoder"], card["width"])
    text = cards.seal(card, cards.digest(params, batch_stats))
    if path.suffix == ".safetensors":
        data = safetensors.numpy.save(arrays, {CARD: text})
        with files.atomic(path) as file:
            file.write(data)
    elif path.suffix == ".pth":
        torch = _torch(path)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        with files.atomic(path) as file:
            torch.save({"state_dict": tensors, "card": text}, file)
    else:
        what = f"has the suffix {path.suffix or '(none)'}"
        raise HistoError(path, "weights-format", what, "write .safetensors or .pth")


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        remedy = "write .safetensors, or pip install torch"
        raise HistoError(path, "weights-torch", "only torch writes .pth", remedy) from error
    return torch
