"""What slides and sets share: whether a file is there already, and what a batch becomes."""

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histo_jax.data.cores import cores
from histo_jax.errors import HistoError
from histo_jax.features.encoder import Encoder
from histo_jax.features.store import SlideFeatures

# What must be equal for a file to be the one that is wanted, and what to call it.
MADE_BY = {
    "encoder": "of another encoder",
    "layer": "of another layer",
    "checkpoint": "by another checkpoint",
    "scale": "with images scaled otherwise",
    "patch_size": "of tiles of another size",
    "identity": "of another slide or set of this name",
    "options": "with other options",
}


def is_done(path: Path, wanted: dict[str, Any], overwrite: bool) -> bool:
    """Whether the file is there already; one that can't be read is to be made again.

    Args:
      path: the file.
      wanted: the facts that `MADE_BY` names.
      overwrite: whether a file of other facts may be replaced.

    Raises:
      HistoError: `features-changed`: it may not.
    """
    if not path.exists():
        return False
    try:
        facts = SlideFeatures(path).facts
    except HistoError:
        return False
    for name, how in MADE_BY.items():
        if wanted[name] != getattr(facts, name):
            if overwrite:
                return False
            what = f"was made {how}: {_short(getattr(facts, name))}, not {_short(wanted[name])}"
            raise HistoError(path, "features-changed", what, "--overwrite, or another --out")
    return True


def described(
    encoder: Encoder, batches: Iterable[np.ndarray], batch_size: int, side: int
) -> Iterator[tuple[np.ndarray, list[bytes] | None]]:
    """Of each batch uint8 [b, S, S, 3] its features float32 [b, width], and its pictures.

    Pictures are JPEGs of `side` pixels; 0 makes none. They are made while the encoder computes.
    """
    with ThreadPoolExecutor(cores()) as pool:
        asked = []

        def passed_on() -> Iterator[np.ndarray]:
            for images in batches:
                asked[:] = [pool.submit(picture, image, side) for image in images if side]
                yield images

        for features in encoder.describe(passed_on(), batch_size):
            yield features, [made.result() for made in asked] if side else None


def picture(pixels: np.ndarray, side: int) -> bytes:
    """A tile uint8 [S, S, 3] as a JPEG of at most `side` pixels."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    if side < image.width:
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _short(value: object) -> str:
    return str(value)[:16]
