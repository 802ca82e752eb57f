"""What makes images the same, or look alike: a digest of their pixels and a perceptual hash."""

import contextlib
import dataclasses
import hashlib
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.fft import dctn
from tqdm import tqdm

from histo_jax import files
from histo_jax.data import images, raw
from histo_jax.data.prepared import Prepared
from histo_jax.errors import HistoError

NEAR = 6  # bits of 64 in which two hashes of one picture may differ: see docs/data.md
FLAT = 4.0  # of 255, standard deviation of the shrunk gray: below, the hash is of noise
_SIDE, _LOW = 32, 8  # pixels of the shrunk image, and of its low frequencies
_BANDS = NEAR + 1  # hashes that differ in NEAR bits are equal in one of these
_BAND = sum(1 << bit for bit in range(0, 64, _BANDS))  # spread: neighbours are alike


@dataclasses.dataclass(frozen=True, eq=False)
class Fingerprints:
    """One row an image.

    Attributes:
      pixels: S32, the first hex digits of the sha256 of height, width and pixels.
      look: uint64, the hash.
      flat: bool, nothing is on it by which it could be known again.
    """

    pixels: np.ndarray
    look: np.ndarray
    flat: np.ndarray


def fingerprints(prepared: Prepared) -> Fingerprints:
    """Of every record of a set, in the order of its index.

    Decodes each image once and keeps the result in `<data_dir>/.fingerprints/`.

    Raises:
      HistoError: a damaged record.
    """
    path = prepared.path.parents[2] / ".fingerprints" / f"{prepared.card['content_hash']}.npz"
    keys = raw.keys_digest(prepared)
    kept = _read(path, keys)
    if kept is None:
        kept = _made(prepared)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, keys=np.array(keys), **vars(kept))
        # Where the folder can't be written they are made anew next time.
        with contextlib.suppress(HistoError), files.atomic(path) as file:
            file.write(buffer.getbuffer())
    return kept


def of(image: np.ndarray) -> tuple[str, int, bool]:
    """Digest, hash and flatness of an image, uint8 [h, w, 3].

    The hash is pHash: which of the 8x8 lowest frequencies of the image, gray and 32 pixels a side,
    are above their median. It stays nearly the same when an image is compressed, resized or
    brightened, not when it is turned or cropped.
    """
    digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:32]
    shrunk = Image.fromarray(image).convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    gray = np.asarray(shrunk, np.float64)
    low = dctn(gray, norm="ortho")[:_LOW, :_LOW].ravel()
    bits = low > np.median(low[1:])  # the first is the brightness
    return digest, int.from_bytes(np.packbits(bits).tobytes()), bool(gray.std() < FLAT)


def near_pairs(hashes: np.ndarray) -> np.ndarray:
    """Pairs of hashes that differ in at most `NEAR` bits.

    Args:
      hashes: uint64 [n], no two alike.

    Returns:
      int64 [pairs, 2] into them, the smaller first.
    """
    found = [np.zeros((0, 2), np.int64)]
    for band in range(_BANDS):
        part = hashes & np.uint64((_BAND << band) & (2**64 - 1))
        order = np.argsort(part, kind="stable")
        part, ordered = part[order], hashes[order]
        for step in range(1, len(hashes)):
            here = np.flatnonzero(part[step:] == part[:-step])
            if not len(here):
                break
            apart = np.bitwise_count(ordered[here] ^ ordered[here + step])
            hit = here[apart <= NEAR]
            found.append(np.stack([order[hit], order[hit + step]], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _made(prepared: Prepared) -> Fingerprints:
    rows = np.arange(prepared.n)
    looked = images.each(prepared, rows, of)
    bar = tqdm(looked, f"Fingerprints of {prepared.name}", prepared.n, unit=" images", leave=False)
    columns = list(zip(*bar, strict=True)) or [(), (), ()]
    kinds = ("S32", np.uint64, bool)
    return Fingerprints(*(np.array(c, kind) for c, kind in zip(columns, kinds, strict=True)))


def _read(path: Path, keys: str) -> Fingerprints | None:
    """What is kept there; None where it is absent, damaged or of another order."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["keys"]) != keys:
                return None
            return Fingerprints(*(kept[f.name] for f in dataclasses.fields(Fingerprints)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
