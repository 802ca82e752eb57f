"""What to look for: tiles of the table, or images that its encoder has yet to see."""

import dataclasses
import difflib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax.data import decode, record
from histo_jax.data.folders import IMAGE_SUFFIXES, name_in
from histo_jax.errors import HistoError
from histo_jax.features.table import Table

BATCH = 64
ID = 16  # characters of a key that say which slide or image it is of
MOST_LOOKED = 20000  # keys among which a near one is looked for


@dataclasses.dataclass(frozen=True, eq=False)
class Query:
    """One thing to look for.

    Attributes:
      name: a tile's key, or an image's file name.
      vector: float32 [width].
      picture: of it; None where the table has none.
      row: of the table; None for an image.
    """

    name: str
    vector: np.ndarray
    picture: Image.Image | None
    row: int | None = None


def tile(table: Table, row: int) -> Query:
    """A tile of the table."""
    slide, inside = table.where(row)
    return Query(str(slide.keys[inside]), slide.features[inside], table.picture(row), row)


def row_of(table: Table, key: str) -> int:
    """The row of a key.

    Raises:
      HistoError: `config`: there is none, with a near one.
    """
    for start, slide in zip(table.starts.tolist(), table.slides, strict=False):
        found = np.flatnonzero(slide.keys == key)
        if len(found):
            return start + int(found[0])
    keys = table.keys
    alike = keys[np.char.startswith(keys, key[:ID])]
    some = (alike if len(alike) else keys)[:MOST_LOOKED].tolist()
    near = difflib.get_close_matches(key, some, 1, 0)
    hint = f"did you mean {near[0]}?" if near else "the files hold no tile"
    raise HistoError("--key", "config", f"no tile has the key {key!r}", hint)


def row_at(table: Table, slide: str, x: int, y: int) -> int:
    """The row of the tile of a slide that covers a level-0 pixel.

    Raises:
      HistoError: `config`: no such slide, patches, or no tile there.
    """
    [number, *_] = slides_named(table, slide, "--slide")
    of = table.slides[number]
    side, coords = of.facts.patch_size_level0, of.coords
    if not side or not of.n:
        what = f"{slide!r} is a set of patches, which lie nowhere" if of.n else "has no tile"
        raise HistoError("--slide", "config", what, "give --key")
    beside = np.array([x, y]) - coords
    inside = np.flatnonzero(((beside >= 0) & (beside < side)).all(1))
    if not len(inside):
        away = ((beside - side / 2) ** 2).sum(1)
        near = ",".join(map(str, coords[away.argmin()].tolist()))
        what = f"{slide!r} has no tile at {x},{y}"
        raise HistoError("--xy", "config", what, f"the nearest is at {near}")
    return int(table.starts[number] + inside[0])


def slides_named(table: Table, name: str, flag: str) -> list[int]:
    """The numbers of the slides of a name.

    Raises:
      HistoError: `config`: there is none.
    """
    names = [slide.facts.slide for slide in table.slides]
    found = [i for i, known in enumerate(names) if known == name]
    if not found:
        near = difflib.get_close_matches(name, names, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"one of {len(names)}, e.g. {names[0]}"
        raise HistoError(flag, "config", f"no slide is called {name!r}", hint)
    return found


def image_files(places: Sequence[Path]) -> list[Path]:
    """Files as they are named, and the images of a folder in the order of their names.

    Raises:
      HistoError: `missing` or `no-images`.
    """
    found = []
    for place in places:
        if not place.exists():
            raise HistoError(place, "missing", "no such image or folder", "check the path")
        inside = [place]
        if place.is_dir():
            inside = sorted(p for p in place.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not inside:
            known = ", ".join(IMAGE_SUFFIXES)
            raise HistoError(place, "no-images", "no image in it", f"give images as {known}")
        found += inside
    return found


def images(table: Table, paths: Sequence[Path], checkpoint: str) -> list[Query]:
    """Images as the table's encoder sees them; each is resized to the size of its tiles.

    Args:
      table: whose encoder.
      paths: files.
      checkpoint: where the encoder is, as in `--checkpoint`.

    Raises:
      HistoError: `features-foreign`: another encoder; an image or the encoder can't be read.
    """
    from histo_jax.features import encoder  # brings the network's libraries

    facts = table.slides[0].facts
    encoded = [record.encode_image(path) for path in paths]  # judged as a set's images are
    seeing = encoder.open_encoder(checkpoint, facts.layer)
    for name, its in seeing.facts.items():
        mine = getattr(facts, name)
        if mine != its:
            what = f"is of {name} {str(its)[:12]}, {table.slides[0].path} of {str(mine)[:12]}"
            remedy = "give the encoder that the features were made with"
            raise HistoError(checkpoint, "features-foreign", what, remedy)

    def fill(number: int, out: np.ndarray) -> None:
        try:
            decode.decode_into(encoded[number], out)
        except ValueError as error:
            what = f"does not decode: {error}"
            raise HistoError(paths[number], "damaged", what, "fetch the file again") from error

    batches = decode.decode_images(range(len(encoded)), fill, seeing.size, BATCH)
    x = np.concatenate(list(seeing.describe(batches, BATCH)))
    opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in encoded]
    names = [name_in(path.parent, path) for path in paths]
    return [Query(*found) for found in zip(names, x, opened, strict=True)]
