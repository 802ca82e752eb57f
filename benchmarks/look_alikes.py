"""How well the perceptual hash of `overlap` knows an image again, on real tissue.

python benchmarks/look_alikes.py TISSUE

TISSUE holds images (.png, .tif, .jpg) at any depth, one picture a file; masks are left out. Prints
which pairs are within NEAR bits of each other, how far the nearest other pair is, and how many
images stay within NEAR bits of themselves after a change. Flat ones are left out, as by `overlap`.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from histo_jax.data.fingerprints import NEAR, of

MOST = 256  # pixels a side: of larger images the middle


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return change


def trimmed(left: float, right: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        w, h = image.size
        return image.crop((int(left * w), int(left * h), int(w - right * w), int(h - right * h)))

    return change


def scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize(
        (int(image.width * factor), int(image.height * factor)), Image.Resampling.BICUBIC
    )


CHANGES = {
    "JPEG of quality 90": jpeg(90),
    "JPEG of quality 50": jpeg(50),
    "half the size": scaled(0.5),
    "1.5 times the size": scaled(1.5),
    "10 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "30 % more colour": lambda image: ImageEnhance.Color(image).enhance(1.3),
    "1 % cut off left and above": trimmed(0.01, 0),
    "3 % cut off left and above": trimmed(0.03, 0),
    "5 % cut off all around": trimmed(0.05, 0.05),
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tissue", type=Path)
    folder = parser.parse_args().tissue
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".tif", ".jpg"))
    paths = [path for path in paths if "mask" not in str(path.relative_to(folder))]
    images = [middle(Image.open(path).convert("RGB")) for path in paths]
    prints = [of(np.asarray(image)) for image in images]
    flat = sum(is_flat for _, _, is_flat in prints)
    kept = [(i, look) for i, (_, look, is_flat) in enumerate(prints) if not is_flat]
    looks = np.array([look for _, look in kept], np.uint64)
    pairs = np.argwhere(np.triu(np.ones((len(looks), len(looks)), bool), 1))
    apart = np.bitwise_count(looks[pairs[:, 0]] ^ looks[pairs[:, 1]])
    print(f"{len(images)} images, {flat} of them flat; {len(apart):,} pairs of the others")
    for a, b in pairs[apart <= NEAR]:
        print("alike:", *(paths[kept[i][0]].relative_to(folder) for i in (a, b)), sep="\n  ")
    print(f"the nearest other pair: {apart[apart > NEAR].min()} bits")
    for name, change in CHANGES.items():
        after = np.array([of(np.asarray(change(images[i])))[1] for i, _ in kept], np.uint64)
        share = (np.bitwise_count(looks ^ after) <= NEAR).mean()
        print(f"{name:28} {share:4.0%}")


def middle(image: Image.Image) -> Image.Image:
    x, y = max(0, image.width - MOST) // 2, max(0, image.height - MOST) // 2
    return image.crop((x, y, x + min(MOST, image.width), y + min(MOST, image.height)))


if __name__ == "__main__":
    main()
