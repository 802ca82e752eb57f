"""A finished slide on disk: `<slide id>.zip` with `slide.json`, a thumbnail and a JPEG a tile."""

import contextlib
import dataclasses
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from histo_jax.errors import HistoError
from histo_jax.files import atomic
from histo_jax.slides.reasons import refusal
from histo_jax.slides.tiles import SlideTiles, Tile

_CARD, _THUMBNAIL = "slide.json", "thumbnail.jpg"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a member's time must not make equal parts differ


def write_part(parts_dir: str | os.PathLike, slide: SlideTiles, seconds: float) -> Path:
    """Writes a part atomically under its slide's id; returns its path."""
    path = Path(parts_dir) / f"{slide.id}.zip"
    with writing(path) as part:
        for tile in slide.tiles:
            part.add(tile)
        part.finish(slide, seconds)
    return path


class Part:
    """A part that is being written, tile by tile."""

    def __init__(self, file: zipfile.ZipFile, path: Path):
        self._file, self._path = file, path

    def add(self, tile: Tile) -> None:
        """Writes a tile's pixels."""
        self._write(f"{tile.key}.jpg", tile.jpeg)

    def finish(self, slide: SlideTiles, seconds: float) -> None:
        """Writes what is known of the slide, whose tiles were added."""
        card = {
            field.name: getattr(slide, field.name)
            for field in dataclasses.fields(slide)
            if field.name not in ("tiles", "thumbnail")
        }
        tiles = [{k: v for k, v in vars(tile).items() if k != "jpeg"} for tile in slide.tiles]
        card |= {"kept": len(tiles), "seconds": round(seconds, 3), "tiles": tiles}
        self._write(_CARD, json.dumps(card, indent=1))
        self._write(_THUMBNAIL, slide.thumbnail)

    def _write(self, name: str, data: str | bytes) -> None:
        try:
            self._file.writestr(zipfile.ZipInfo(name, _EPOCH), data)
        except OSError as error:  # amid the reading of a slide, whose own errors are other ones
            what = f"cannot write: {error.strerror}"
            raise HistoError(self._path, "write-failed", what) from error


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[Part]:
    """A part that appears under `path` once the block is left without an error."""
    with atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as part:
        yield Part(part, Path(path))


def read_card(path: str | os.PathLike) -> dict:
    """The `slide.json` of a part, without its tiles' pixels.

    Raises:
      HistoError: `damaged-part`.
    """
    try:
        with zipfile.ZipFile(path) as part:
            card = json.loads(part.read(_CARD))
            names = set(part.namelist())
        if names != {_CARD, _THUMBNAIL, *(f"{tile['key']}.jpg" for tile in card["tiles"])}:
            raise ValueError("its tiles are not those it lists")
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise refusal(path, "damaged-part", f"not a whole part: {error}") from error
    return card


def read_thumbnail(path: str | os.PathLike) -> bytes:
    """The JPEG of the whole slide.

    Raises:
      HistoError: `damaged-part`.
    """
    try:
        with zipfile.ZipFile(path) as part:
            return part.read(_THUMBNAIL)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise refusal(path, "damaged-part", f"not a whole part: {error}") from error


def read_part(path: str | os.PathLike) -> tuple[dict, Iterator[tuple[dict, bytes]]]:
    """The card of a part and its tiles one by one: ({key, x, y, level, mpp, …}, JPEG bytes).

    Raises:
      HistoError: `damaged-part`; each tile's checksum is checked as it is read.
    """
    card = read_card(path)

    def tiles() -> Iterator[tuple[dict, bytes]]:
        try:
            with zipfile.ZipFile(path) as part:
                for tile in card["tiles"]:
                    yield tile, part.read(f"{tile['key']}.jpg")
        except (OSError, zipfile.BadZipFile) as error:
            raise refusal(path, "damaged-part", f"not a whole part: {error}") from error

    return card, tiles()


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[Callable[[str], bytes]]:
    """Gives `read(key)`, the JPEG bytes of a tile, which threads may share.

    Raises:
      HistoError: `damaged-part`, also when a tile is read.
    """

    def read(key: str) -> bytes:
        try:
            return part.read(f"{key}.jpg")
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise refusal(path, "damaged-part", f"not a whole part: {error}") from error

    try:
        part = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise refusal(path, "damaged-part", f"not a whole part: {error}") from error
    with part:
        yield read


def part_is_current(
    path: str | os.PathLike, slide_id: str, digest: str, size: int, slide: str | os.PathLike
) -> bool:
    """Whether a finished part of this slide, cut by these options, lies at `path`.

    A file `slide` of the name that was cut, but of another time, was fetched again: the id does
    not see a change in the middle of a large file. A copy by another name is the same slide.
    """
    if not os.path.exists(path):
        return False
    try:
        card = read_card(path)
    except Exception:  # whatever is wrong with it, it is cut again
        return False
    if card.get("name") == Path(slide).name and card.get("mtime_ns") != os.stat(slide).st_mtime_ns:
        return False
    wanted = {"id": slide_id, "options_digest": digest, "size": size}
    return all(card.get(key) == value for key, value in wanted.items())
