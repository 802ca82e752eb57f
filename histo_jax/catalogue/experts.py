"""One class an image from what several experts drew, pixel by pixel."""

from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax.catalogue.entries import Experts
from histo_jax.errors import HistoError

STEP = 4  # every 4th pixel of every 4th row is looked at: a class needs no outlines
LEAST = 0.01  # of what is drawn: smaller areas of a grade are strokes of the pen
READINGS = ("largest", "highest")


def consensus(paths: list[Path], said: Experts) -> np.ndarray:
    """What most experts say of every `STEP`th pixel: uint8 [h, w]; a tie goes to the lower value.

    Raises:
      HistoError: `mask`: a map that does not decode, of another size, or with strange values.
    """
    values = np.array(sorted({said.nothing, *said.values}), np.uint8)
    votes = None
    for path in paths:
        drawn = _drawn(path, said)
        strange = np.setdiff1d(drawn, values)
        if len(strange):
            raise HistoError(path, "mask", f"holds the values {strange[:5].tolist()}")
        if votes is None:
            votes = np.zeros((len(values), *drawn.shape), np.uint8)
        if votes.shape[1:] != drawn.shape:
            what = f"is of another size than {paths[0].parent.name}'s"
            raise HistoError(path, "mask", what, "fetch both again")
        votes += drawn[None] == values[:, None, None]
    return values[votes.argmax(axis=0)]


def read_class(paths: list[Path], said: Experts, reading: str) -> str | None:
    """The class of an image; None where nobody drew anything.

    Args:
      paths: one map an expert.
      said: what their values mean.
      reading: `largest` area of the consensus, or `highest` value with 1 % of what is drawn.

    Raises:
      HistoError: as `consensus`.
    """
    if not paths:
        return None
    areas = np.bincount(consensus(paths, said).ravel(), minlength=256)
    areas[said.nothing] = 0
    if not areas.any():
        return None
    enough = np.flatnonzero(areas >= max(1, LEAST * areas.sum()))
    return said.values[int(areas.argmax() if reading == "largest" else enough[-1])]


def _drawn(path: Path, said: Experts) -> np.ndarray:
    try:
        with Image.open(path, formats=("PNG",)) as opened:
            drawn, mode = np.asarray(opened), opened.mode
    except Exception as error:  # decoders raise whatever they like
        raise HistoError(path, "mask", f"does not decode: {error}", "fetch it again") from error
    if drawn.ndim != 2 or drawn.dtype != np.uint8:
        raise HistoError(path, "mask", f"is of mode {mode}, not one 8-bit channel")
    drawn = drawn[::STEP, ::STEP].copy()
    for value, meant in said.same.items():
        drawn[drawn == value] = meant
    return drawn
