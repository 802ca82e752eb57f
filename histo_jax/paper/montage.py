"""Fig. 2: patches evenly from all sets of pretraining, beside as many of one set of slides."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax import files
from histo_jax.data import contact_sheet, mixture
from histo_jax.data.prepared import Prepared
from histo_jax.data.reader import Reader
from histo_jax.paper import cells
from histo_jax.paper.cells import Setup

SIDE, ACROSS, DOWN, GAP = 96, 6, 6, 4  # pixels, patches, patches, pixels
PARTS = {"a": "auto", "b": "histo_wsi/camelyon17"}


def paths(setup: Setup) -> dict[str, Path]:
    """Where the two pictures lie."""
    return {part: setup.folder / f"fig-2-{part}.jpg" for part in PARTS}


def write(setup: Setup) -> None:
    """Draws both.

    Raises:
      HistoError: there are no sets, or a damaged record.
    """
    for part, path in paths(setup).items():
        named = cells.renamed(PARTS[part], setup.names)
        sets = mixture.open_mixture(setup.data_dir, named).sets
        buffer = io.BytesIO()
        Image.fromarray(_sheet(sets)).save(buffer, "JPEG", quality=85, subsampling=0)
        with files.atomic(path) as file:
            file.write(buffer.getvalue())


def _sheet(sets: tuple[Prepared, ...]) -> np.ndarray:
    """uint8 [h, w, 3], the sets in turn."""
    step = SIDE + GAP
    sheet = np.full((DOWN * step - GAP, ACROSS * step - GAP, 3), 255, np.uint8)
    for number, patch in zip(range(ACROSS * DOWN), _in_turn(sets), strict=False):
        y, x = (step * place for place in divmod(number, ACROSS))
        sheet[y : y + SIDE, x : x + SIDE] = patch
    return sheet


def _in_turn(sets: tuple[Prepared, ...]) -> Iterator[np.ndarray]:
    chosen = [(Reader(made), contact_sheet.choose(made.table)) for made in sets]
    for turn in range(max(len(rows) for _, rows in chosen)):
        for reader, rows in chosen:
            if turn < len(rows):
                image = Image.fromarray(reader.image(int(rows[turn])))
                yield np.asarray(image.resize((SIDE, SIDE)))
