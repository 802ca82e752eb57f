"""The raw cache: a set's pixels as one memory-mapped array, read without TensorFlow."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from histo_jax import files
from histo_jax.data import decode
from histo_jax.data.prepared import Prepared
from histo_jax.data.reader import Reader
from histo_jax.errors import HistoError

BATCH = 128  # images decoded at a time while building
SAMPLE = 16  # images compared whenever a cache is opened: 3 ms at 224 pixels


def raw_path(prepared: Prepared, image_size: int) -> Path:
    """`<data.dir>/.raw/<content hash>-<size>.npy`."""
    folder = prepared.path.parents[2] / ".raw"
    return folder / f"{prepared.card['content_hash']}-{image_size}.npy"


def has_raw(prepared: Prepared, image_size: int) -> bool:
    """Whether a finished cache is there; the sidecar is written last."""
    return raw_path(prepared, image_size).with_suffix(".json").exists()


def build_raw(prepared: Prepared, image_size: int) -> Path:
    """Decodes every record once into `uint8[n, size, size, 3]`, in the order of the index.

    A good cache is left as it is. The file appears whole or not at all, then its `.json`: digest
    of the keys, sha256 of the pixels and of a sample of the images, n, size.

    Raises:
      HistoError: a damaged record, too little space, another process building the same file.
    """
    path = raw_path(prepared, image_size)
    if has_raw(prepared, image_size):
        open_raw(prepared, image_size)
        return path
    with files.lock(path.with_suffix(".lock")):
        files.sweep(path.parent, path.name)
        facts = _write(prepared, path, image_size)
        files.write_json(path.with_suffix(".json"), facts)
    return path


def _write(prepared: Prepared, path: Path, image_size: int) -> dict[str, Any]:
    """Writes the pixels; what is to be known of them."""
    shape = (prepared.n, image_size, image_size, 3)
    needed, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if needed > free:
        what = f"needs {needed / 1e9:,.1f} GB, {free / 1e9:,.1f} GB are free"
        raise HistoError(path, "no-space", what, "free some, or use data.cache=none")

    rows, pixels = np.arange(prepared.n), hashlib.sha256()
    chosen, sample, done = _sample(prepared), {}, 0
    bar = tqdm(total=prepared.n, unit=" images", unit_scale=True, dynamic_ncols=True)
    with files.atomic(path) as file, bar:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for images in decode.decode_images(rows, Reader(prepared).fill, image_size, BATCH):
            file.write(images.data)
            pixels.update(images.data)
            for row in chosen[(chosen >= done) & (chosen < done + len(images))].tolist():
                sample[str(row)] = _digest(images[row - done])
            done += len(images)
            bar.update(len(images))
    return {"keys": keys_digest(prepared), "sha256": pixels.hexdigest(), "sample": sample,
            "n": prepared.n, "size": image_size}  # fmt: skip


def open_raw(prepared: Prepared, image_size: int) -> np.ndarray:
    """Opens the cache as a read-only memory map, uint8[n, size, size, 3], rows as in the index.

    Raises:
      HistoError: no cache of this size, or one that is cut or holds other images.
    """
    path = raw_path(prepared, image_size)
    make = (
        f"make it with `python -m histo_jax.data cache {prepared.name} --size {image_size} "
        f"--data_dir {prepared.path.parents[2]}`"
    )
    if not has_raw(prepared, image_size):
        raise HistoError(path, "no-cache", "no raw cache of this set and size", make)
    again = f"remove it and {make}"
    facts = files.read_json(path.with_suffix(".json"), again)
    try:
        pixels = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise HistoError(path, "damaged", f"raw cache is missing or cut: {error}", again) from error
    if pixels.shape != (prepared.n, image_size, image_size, 3) or pixels.dtype != np.uint8:
        what = (
            f"raw cache holds {pixels.dtype}{list(pixels.shape)}, the set has {prepared.n} images"
        )
        raise HistoError(path, "damaged", what, again)
    if facts.get("keys") != keys_digest(prepared):
        raise HistoError(path, "other-keys", "raw cache is of other images or another order", again)
    for row, digest in facts.get("sample", {}).items():
        if _digest(pixels[int(row)]) != digest:
            raise HistoError(path, "damaged", f"image {row} is not the one written there", again)
    return pixels


def verify_raw(prepared: Prepared) -> list[Path]:
    """Hashes the pixels of every raw cache of a set; returns the caches.

    Raises:
      HistoError: the first that differs from what was written.
    """
    paths = []
    for path in sorted(raw_path(prepared, 0).parent.glob(f"{prepared.card['content_hash']}-*.npy")):
        size = int(path.stem.rpartition("-")[2])
        pixels, digest = open_raw(prepared, size), hashlib.sha256()
        for begin in range(0, len(pixels), BATCH):
            digest.update(pixels[begin : begin + BATCH].data)
        if digest.hexdigest() != files.read_json(path.with_suffix(".json"))["sha256"]:
            raise HistoError(path, "damaged", "pixels differ from those written", "remove it")
        paths.append(path)
    return paths


def _sample(prepared: Prepared) -> np.ndarray:
    """Some rows, int64: of their own for every set, so that pixels in another order are noticed."""
    seed = int(prepared.card["content_hash"][:16], 16)
    drawn = np.random.PCG64(seed).random_raw(SAMPLE) % max(prepared.n, 1)
    return np.unique(drawn[: prepared.n].astype(np.int64))


def _digest(image: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()[:16]


def keys_digest(prepared: Prepared) -> str:
    """Identifies the images and their order."""
    return hashlib.sha256("\n".join(prepared.table["key"]).encode()).hexdigest()
