"""A file of weights as the encoder's `apply` takes them."""

import dataclasses
from pathlib import Path

from histo_jax import files
from histo_jax.errors import HistoError
from histo_jax.models import LAYER_NORM
from histo_jax.weights import cards, strict
from histo_jax.weights.read import read


@dataclasses.dataclass(frozen=True)
class Weights:
    """An encoder from a file.

    Attributes:
      params, batch_stats: nested dicts of float32 arrays, as the encoder's `apply` takes them.
      card: encoder, width, image_size, mean, std, mpp, datasets, `sha256` of the arrays, and
        `source`: file, its sha256 and the names in it that were ignored. Files that we exported
        also have what their run's card says.
      path: the file.
    """

    params: dict
    batch_stats: dict
    card: dict
    path: Path


def load(path: str | Path, *, imagenet: bool = False, want: str | None = None) -> Weights:
    """Reads `.safetensors`, `.pth`, `.pt` or `.ckpt`, ours or other people's, without torch.

    Args:
      path: the file.
      imagenet: its images are scaled as ImageNet's, not to [-1, 1]; for files without our card.
      want: the encoder it must be, or None for any.

    Raises:
      HistoError: it can't be read, asks for code, or is not exactly an encoder we know.
    """
    path = Path(path)
    tensors, text = read(path)
    sealed = cards.unseal(path, text) if text is not None else None
    layer_norm = sealed is not None and sealed["encoder"].endswith(LAYER_NORM)
    filled = strict.fill(path, tensors, want, layer_norm)
    sha256 = cards.digest(filled.params, filled.batch_stats)
    if sealed is None:
        card = cards.foreign(filled.encoder, filled.width, imagenet) | {"sha256": sha256}
    else:
        card = sealed
        about = {"encoder": filled.encoder, "width": filled.width, "sha256": sha256}
        if any(card[name] != value for name, value in about.items()):
            what = "its arrays are not those that were written (sha256 differs)"
            raise HistoError(path, "weights-damaged", what, "export it again")
        if imagenet:
            what, remedy = "has a card that says how images are scaled", "leave out imagenet"
            raise HistoError(path, "weights-foreign", what, remedy)
    source = {"file": path.name, "sha256": files.file_digest(path), "ignored": filled.ignored}
    return Weights(filled.params, filled.batch_stats, card | {"source": source}, path)
