"""Writes tiny prepared sets the way TFDS writes them, for the tests of the data room."""

import contextlib
import hashlib
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_jax.data.prepared import Prepared, open_prepared, write_card, write_index
from histo_jax.errors import HistoError


def pixels(seed: int, i: int, height: int = 24, width: int = 24) -> np.ndarray:
    """Smooth noise, so that JPEG and resizing keep it recognisable."""
    coarse = np.random.default_rng((seed, i)).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=95, subsampling=0)
    return buffer.getvalue()


def write_shard(path: Path, examples: list[dict]) -> None:
    import tensorflow as tf

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            features = tf.train.Features(feature={k: feature(v) for k, v in example.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())


def make_set(
    data_dir: Path,
    name: str = "histo_patches/tiny",
    n: int = 53,
    *,
    splits: tuple[str, ...] = ("train",),
    seed: int = 0,
    odd: bool = False,
    extra: dict | None = None,
) -> Prepared:
    """Two shards a split; PNG and JPEG take turns; `odd` gives every third image another shape."""
    examples: dict[str, list[dict]] = {split: [] for split in splits}
    for split, i in itertools.product(splits, range(n)):
        shape = (20, 31) if odd and i % 3 == 0 else (24, 24)
        image = encode(pixels(seed, i, *shape), "PNG" if i % 2 else "JPEG")
        known = {"slide": f"s{i // 10}".encode(), "x": i * 24, "mpp": 0.5, **(extra or {})}
        examples[split].append({"image": image, "key": f"{split}-é{i:04d}".encode(), **known})
    return write_set(data_dir, name, examples)


def write_set(
    data_dir: Path, name: str, examples: dict[str, list[dict]], options: dict | None = None
) -> Prepared:
    """A set of the examples of each split, in two shards; what they don't say is unknown."""
    builder, config = name.split("/")
    folder = Path(data_dir) / name / "1.0.0"
    folder.mkdir(parents=True)
    known = {"dataset": config.encode(), "slide": b"", "patient": b"", "x": 0, "y": 0, "level": 0}
    for split, rows in examples.items():
        rows = [known | row for row in rows]
        half = len(rows) // 2
        for number, part in enumerate((rows[:half], rows[half:])):
            shard = f"{builder}-{split}.tfrecord-{number:05d}-of-00002"
            write_shard(folder / shard, part)
    facts = {"options": options or {}, "options_digest": "", "sources": {}, "summary": {}}
    write_card(write_index(folder, facts))
    return open_prepared(data_dir, name)


def digest(image: bytes) -> bytes:
    return hashlib.sha256(image).hexdigest().encode()


@contextlib.contextmanager
def refused(reason: str, *words: str) -> Iterator[None]:
    """The block must raise a one-line `HistoError` of this reason that says these words in turn."""
    with pytest.raises(HistoError, match=".*".join(words)) as caught:
        yield
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)
