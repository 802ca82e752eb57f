"""Tiles to measure with: drawn tissue as pixels, as JPEG, as a prepared set."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax.data.drawn import stain
from histo_jax.data.drawn.slides import canvas_of
from histo_jax.data.drawn.tissue import CLASSES

ACROSS = 5  # tiles along a side of a drawn square
QUALITY = 90


def draw(count: int, size: int) -> np.ndarray:
    """uint8 [count, size, size, 3]: squares of every tissue and of several patients, cut up."""
    rng, tiles = np.random.default_rng(0), []
    for number in range(-(-count // ACROSS**2)):
        name = list(CLASSES)[number % len(CLASSES)]
        patient = stain.draw_patient(0, number)
        canvas = canvas_of(name, ACROSS * size, patient, rng)
        square = stain.develop(canvas.haematoxylin, canvas.eosin, patient, rng)
        rows = square.reshape(ACROSS, size, ACROSS, size, 3).swapaxes(1, 2)
        tiles.append(rows.reshape(-1, size, size, 3))
    return np.concatenate(tiles)[:count]


def as_jpeg(tiles: np.ndarray, subsampling: str) -> list[bytes]:
    """Each tile as JPEG of quality 90; `subsampling` is `4:2:0` or `4:4:4`."""
    encoded = []
    for tile in tiles:
        buffer = io.BytesIO()
        Image.fromarray(tile).save(buffer, "JPEG", quality=QUALITY, subsampling=subsampling)
        encoded.append(buffer.getvalue())
    return encoded


def prepare(data_dir: Path, name: str, encoded: list[bytes]) -> None:
    """Writes them as the prepared set `histo_patches/<name>`; needs TensorFlow."""
    from histo_jax.data.prepared import write_card, write_index
    from histo_jax.data.with_tensorflow import load_tensorflow

    tf = load_tensorflow()
    folder = data_dir / "histo_patches" / name / "1.0.0"
    folder.mkdir(parents=True)

    def feature(value: bytes | float | int) -> object:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    known = {"dataset": name.encode(), "slide": b"", "patient": b"", "mpp": 0.5}
    known |= {"x": 0, "y": 0, "level": 0}
    shard = folder / "histo_patches-train.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for number, image in enumerate(encoded):
            record = known | {"image": image, "key": f"{number:016d}".encode()}
            features = {key: feature(value) for key, value in record.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    facts = {"options": {}, "options_digest": "", "sources": {}, "summary": {}}
    write_card(write_index(folder, facts))
