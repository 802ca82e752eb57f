"""A few images that stand for a set: the same ones whenever and wherever it is built."""

import dataclasses
import hashlib
import io

import numpy as np
from PIL import Image

from histo_jax import pages
from histo_jax.data.counts import class_names
from histo_jax.data.prepared import Prepared
from histo_jax.data.reader import Reader

MOST = 48  # images
SIDE = 96  # pixels, of the longer side as shown


@dataclasses.dataclass(frozen=True)
class Group:
    """The images of one class, or of all: how many records it has, and those shown.

    `images` are (key and slide in words, data URI).
    """

    name: str | None
    records: int
    images: list[tuple[str, str]]


def sheet(made: Prepared) -> list[Group]:
    """The chosen images class by class, those without a label last; one group without labels.

    Raises:
      HistoError: a damaged record.
    """
    chosen, table, reader = choose(made.table), made.table, Reader(made)
    names = class_names(table, made.card["classes"])
    if names is None:
        return [Group(None, made.n, [_shown(reader, table, row) for row in chosen])]
    groups = []
    for label, name in [*enumerate(names), (-1, None)]:
        images = [_shown(reader, table, row) for row in chosen if table["label"][row] == label]
        if images:
            groups.append(Group(name, int((table["label"] == label).sum()), images))
    return groups


def choose(table: dict[str, np.ndarray]) -> np.ndarray:
    """Rows of at most `MOST` records, int64: as many of each class, else of each slide.

    Their order is that of a hash of the key, so neither shards nor other records change it.
    """
    digests = b"".join(hashlib.sha256(key.encode()).digest()[:8] for key in table["key"].tolist())
    hashes = np.frombuffer(digests, ">u8")
    group = (
        table["label"] if "label" in table else np.unique(table["slide"], return_inverse=True)[1]
    )
    order = np.lexsort((hashes, group))
    turn = np.arange(len(order)) - np.searchsorted(group[order], group[order])  # within its group
    return order[np.lexsort((hashes[order], turn))][:MOST]


def _shown(reader: Reader, table: dict[str, np.ndarray], row: int) -> tuple[str, str]:
    slide, key = str(table["slide"][row]), str(table["key"][row])
    with Image.open(io.BytesIO(reader.read(row))) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))  # a large JPEG is decoded small
        picture = pages.jpeg(np.asarray(image.convert("RGB")), 75, SIDE)
    return (f"{slide}, {key}" if slide else key), picture
