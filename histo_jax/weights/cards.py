"""What a file of weights says of itself, and the digests that prove it."""

import hashlib
import json
from pathlib import Path

import numpy as np

from histo_jax.errors import HistoError
from histo_jax.weights.names import flat

HALF = [0.5, 0.5, 0.5]  # to [-1, 1], as the paper's author says
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
ABOUT = ("encoder", "width", "image_size", "mean", "std", "mpp", "datasets", "sha256")
OF_A_STEP = ("arrays", "schema", "sha256")  # true of a checkpoint, not of its export


def digest(params: dict, batch_stats: dict) -> str:
    """sha256 of an encoder's arrays by name, type, shape and bytes: the same in every format."""
    arrays = flat({"params": params, "batch_stats": batch_stats})
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def foreign(encoder: str, width: int, imagenet: bool) -> dict:
    """The card of a file that has none."""
    scale = IMAGENET if imagenet else {"mean": HALF, "std": HALF}
    return {
        "encoder": encoder,
        "width": width,
        "image_size": 224,
        **{name: list(values) for name, values in scale.items()},
        "mpp": None,
        "datasets": [],
    }


def seal(card: dict, sha256: str) -> str:
    """A run's card as JSON for an export, with the digests of the arrays and of itself."""
    kept = {name: value for name, value in card.items() if name not in OF_A_STEP}
    kept["sha256"] = sha256
    return json.dumps(kept | {"card_sha256": _of_card(kept)}, sort_keys=True)


def unseal(path: Path, text: str) -> dict:
    """The card in an export of ours, proven.

    Raises:
      HistoError: it is not what was written.
    """
    try:
        card = json.loads(text)
        said = card.pop("card_sha256")
        whole = said == _of_card(card) and all(name in card for name in ABOUT)
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        what = "its card is not what was written (sha256 differs)"
        raise HistoError(path, "weights-damaged", what, "export it again")
    return card


def _of_card(card: dict) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
