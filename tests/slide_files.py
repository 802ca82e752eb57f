"""Writes tiny tiled slides, whole and damaged ones, for the tests of the slide room.

Run as a program it is a worker that does to itself what the slide's name says.
"""

import os
import struct
import time
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

PURPLE = (148, 90, 160)  # tissue to every rule
WHITE = (245, 245, 245)


def tissue_image(width: int, height: int, seed: int = 0) -> np.ndarray:
    """White glass with purple, slightly noisy blobs: uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), WHITE, np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for _ in range(6):
        y, x = rng.integers(0, height), rng.integers(0, width)
        inside = (rows - y) ** 2 + (columns - x) ** 2 < (min(width, height) // 4) ** 2
        image[inside] = PURPLE
    noise = rng.integers(-6, 7, image.shape, dtype=np.int16)
    return np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def write_slide(
    path: Path,
    image: np.ndarray,
    *,
    mpp: object = 0.5,
    power: int | None = None,
    levels: int = 1,
    step: int = 2,
    mean: bool = False,
    tile: int = 64,
    **options: object,
) -> Path:
    """A deflate-compressed Aperio SVS; each further level is `step` times smaller, by picking
    pixels or by their mean."""
    fields = ["Aperio Image Library v1.0"]
    fields += [f"MPP = {mpp}"] if mpp is not None else []
    fields += [f"AppMag = {power}"] if power is not None else []
    options = {"photometric": "rgb", "compression": "adobe_deflate"} | options
    with tifffile.TiffWriter(path, bigtiff=bool(options.pop("bigtiff", False))) as out:
        for level in range(levels):
            factor = step**level
            picked = image[::factor, ::factor]
            out.write(
                np.asarray(Image.fromarray(image).reduce(factor)) if mean else picked,
                tile=(tile, tile),
                description="|".join(fields),
                metadata=None,
                subfiletype=0,
                **options,
            )
            if level == 0:  # an SVS has its thumbnail second
                small = np.ascontiguousarray(image[::8, ::8])
                out.write(
                    small, description=fields[0], metadata=None, photometric=options["photometric"]
                )
    return path


def write_generic(path: Path, image: np.ndarray, **options: object) -> Path:
    """A generic tiled TIFF; `resolution` and `resolutionunit` give its mpp."""
    defaults = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
    tifffile.imwrite(path, image, **(defaults | options))
    return path


def tile_places(path: Path) -> list[tuple[int, int]]:
    """(offset, bytes) of every tile of level 0."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        return list(zip(page.dataoffsets, page.databytecounts, strict=True))


def zero_tiles(path: Path, which: list[int]) -> Path:
    """Overwrites the bytes of some level-0 tiles with zeros."""
    places = tile_places(path)
    with open(path, "r+b") as file:
        for i in which:
            offset, count = places[i]
            file.seek(offset)
            file.write(bytes(count))
    return path


def set_tag(path: Path, tag: int, value: int) -> Path:
    """Overwrites the value of a short or long tag of the first page, in place, as a long."""
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[tag]
        offset, order = entry.offset, file.byteorder
    with open(path, "r+b") as file:
        file.seek(offset + 2)
        file.write(struct.pack(order + "HII", 4, 1, value))
    return path


def misbehave(path: str, rule, mpp, regions, **options):
    """Cuts a slide, or not: `die…` aborts, `once…` aborts the first time, `sleep…` never ends,
    `greedy…` wants 64 GiB, `unguarded…` reads without looking at tile sizes first."""
    from histo_jax.slides import source, tiles

    name = Path(path).name
    print("library noise on stdout")
    if name.startswith("once"):
        marker = Path(f"{path}.tried")
        if not marker.exists():
            marker.touch()
            os.abort()
    if name.startswith("die"):
        os.abort()
    if name.startswith("sleep"):
        time.sleep(1000)
    if name.startswith("greedy"):
        np.ones(2**33)
    if name.startswith("unguarded"):
        source.TILE = (1, 2**40)
    if name.startswith("broken"):
        raise ZeroDivisionError("a mistake of ours")
    return tiles.cut(path, rule, mpp, regions, **options)


if __name__ == "__main__":
    from histo_jax.slides import worker

    worker.main(misbehave)
