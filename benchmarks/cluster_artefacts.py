"""Whether glass, fat and pen fall into clusters of their own, on real tissue.

    python benchmarks/cluster_artefacts.py TISSUE [--checkpoint random:resnet18 …] [--k 12]

Squares of 224 pixels, 96 apart, of the images in TISSUE/histolab_tiles: at most 16 an image. Pen is
a square of a marked image of which a quarter or more is red ink; squares of tissue that are white
but for a tenth are glass. Printed is how much of a tile's cluster is of its own group, mean over
the group; chance is the group's share of all tiles. Median and range of five seeds of k-means.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax.features import kmeans
from histo_jax.features.encoder import open_encoder

SIDE, STEP, MOST = 224, 96, 512
GLASS = ("almost-white-1", "no-tissue", "no-tissue-line")
FAT = ("low-nuclei-score-level0", "low-nuclei-score-level1")
SEEDS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tissue", type=Path)
    parser.add_argument("--checkpoint", nargs="+", default=["random:resnet18"], metavar="SOURCE")
    parser.add_argument("--k", type=int, default=12)
    flags = parser.parse_args()
    tiles, groups = squares(flags.tissue)
    names = ("glass", "fat", "pen", "tissue")
    chance = [np.mean(groups == name) for name in names]
    print(f"{len(tiles)} tiles, k={flags.k}")
    print(f"{'':44}" + "".join(f"{name:>24}" for name in names))
    print(f"{'chance':44}" + "".join(f"{100 * share:22.0f} %" for share in chance))
    for source in flags.checkpoint:
        x = described(tiles, source)
        for l2 in (False, True):
            given = x / np.linalg.norm(x, axis=1, keepdims=True) if l2 else x
            found = [alike(labels(given, flags.k, seed), groups) for seed in range(SEEDS)]
            cells = [_cell([one[name] for one in found]) for name in names]
            name = source[-38:] + (", l2" if l2 else "")
            print(f"{name:44}" + "".join(f"{cell:>24}" for cell in cells))
    return 0


def squares(tissue: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """uint8 [224, 224, 3] each, and its group; images smaller than that give none."""
    tiles, groups = [], []
    for path in sorted((tissue / "histolab_tiles").glob("*.png")):
        image = np.asarray(Image.open(path).convert("RGB"))[:MOST, :MOST]
        for y in range(0, image.shape[0] - SIDE + 1, STEP):
            for x in range(0, image.shape[1] - SIDE + 1, STEP):
                tile = image[y : y + SIDE, x : x + SIDE]
                if (group := _group(path.stem, tile)) is not None:
                    tiles.append(tile)
                    groups.append(group)
    return tiles, np.array(groups)


def _group(name: str, tile: np.ndarray) -> str | None:
    """None: a marked image's square with less ink than a quarter, which is neither."""
    if name in GLASS:
        return "glass"
    if name in FAT:
        return "fat"
    red, green, blue = np.moveaxis(tile.astype(int), -1, 0)
    if "red-pen" in name:
        ink = ((red - green > 90) & (red - blue > 60)).mean()
        return "pen" if ink >= 0.25 else None
    return "glass" if (tile.min(-1) > 220).mean() >= 0.9 else "tissue"


def described(tiles: list[np.ndarray], source: str) -> np.ndarray:
    """Features float32 [n, width], the squares resized to what the encoder was trained on."""
    encoder, size = open_encoder(source), 32
    fit = (encoder.size, encoder.size)
    seen = [np.asarray(Image.fromarray(t).resize(fit, Image.Resampling.BILINEAR)) for t in tiles]
    batches = (np.stack(seen[i : i + size]) for i in range(0, len(seen), size))
    return np.concatenate(list(encoder.describe(batches, size)))


def labels(x: np.ndarray, k: int, seed: int) -> np.ndarray:
    return kmeans.assign(x, kmeans.fit(x, k, seed)).labels


def alike(of: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """For each group, the mean share of its tiles' clusters that is of the same group."""
    names, kind = np.unique(groups, return_inverse=True)
    counts = np.zeros((of.max() + 1, len(names)))
    np.add.at(counts, (of, kind), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return {name: float(shares[of[kind == i], i].mean()) for i, name in enumerate(names)}


def _cell(values: list[float]) -> str:
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return f"{100 * middle:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


if __name__ == "__main__":
    sys.exit(main())
