"""What a record holds, and which images may become one."""

import hashlib
import io
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from histo_jax.errors import HistoError
from histo_jax.files import is_page

MOST_PIXELS = 2**26  # of one image
MOST_BYTES = 2**29  # of one file
IGNORE = 255  # mask value of pixels that count for nothing

# Pillow's mode: what becomes of it. Whatever is not here is refused as `colour-other`.
MODES = {
    "RGB": "as it is",
    "L": "gray to RGB",
    "1": "gray to RGB",
    "P": "palette to RGB, on white where it is transparent",
    "PA": "on white",
    "LA": "on white",
    "RGBA": "on white",
    "CMYK": "colour-cmyk",
    "I;16": "colour-16-bit",
    "I;16B": "colour-16-bit",
    "I": "colour-16-bit",
    "F": "colour-float",
}
DEEP = ("I;16", "I;16B", "I")  # modes that `depth="scale"` makes 8-bit
# 8-bit RGB of each.
FORMATS = {"JPEG": "kept", "MPO": "kept", "PNG": "kept", "TIFF": "to PNG", "BMP": "to PNG"}
TIFF = (b"II*\0", b"MM\0*")
# Where the last piece of an image begins, and how it ends: Pillow takes one without end for whole,
# TensorFlow doesn't.
ENDS = {"JPEG": (b"\xff\xda", b"\xff\xd9"), "PNG": (b"IDAT", b"\0\0\0\0IEND\xaeB`\x82")}
ENDS["MPO"] = ENDS["JPEG"]
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", *TIFF)

# Why an image is refused: code and remedy.
REASONS = {
    "empty": "fetch the file again",
    "html": "the download failed: fetch the file again",
    "not-an-image": "give PNG, JPEG, TIFF or BMP",
    "unreadable": "check permissions and the disk",
    "damaged": "fetch the file again",
    "too-many-pixels": "whole slides go to histo_wsi",
    "too-small": "ask for a smaller tile, or fit='resize'",
    "several-images": "give one image a file",
    "unsupported-codec": "save it as PNG",
    "colour-cmyk": "convert it to 8-bit RGB",
    "colour-16-bit": "convert it to 8-bit RGB",
    "colour-float": "convert it to 8-bit RGB",
    "colour-other": "convert it to 8-bit RGB",
}


def features(
    classes: tuple[str, ...] | None = None, target: bool = False, mask: bool = False
) -> Any:
    """The TFDS features of a record.

    Args:
      classes: names in label order; None leaves `label` out.
      target: whether records carry a float32 `target`.
      mask: whether records carry a `mask`, uint8 [h, w, 1], 255 = ignore.
    """
    import tensorflow_datasets as tfds

    columns = {
        "image": tfds.features.Image(shape=(None, None, 3), doc="JPEG or PNG bytes"),
        "key": tfds.features.Text(doc="<id>-<level>-<x>-<y>"),
        "dataset": tfds.features.Text(),
        "slide": tfds.features.Text(doc="empty: unknown"),
        "patient": tfds.features.Text(doc="empty: unknown"),
        "x": tfds.features.Scalar(np.int64, doc="level-0 pixels of the top-left corner"),
        "y": tfds.features.Scalar(np.int64, doc="level-0 pixels of the top-left corner"),
        "level": tfds.features.Scalar(np.int32),
        "mpp": tfds.features.Scalar(np.float32, doc="µm per stored pixel; nan: unknown"),
    }
    if classes is not None:
        columns["label"] = tfds.features.ClassLabel(names=list(classes))
    if target:
        columns["target"] = tfds.features.Scalar(np.float32, doc="nan: unknown")
    if mask:
        columns["mask"] = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
    return tfds.features.FeaturesDict(columns)


def example(image: bytes, key: str, dataset: str, **known: Any) -> dict[str, Any]:
    """One record; what is not `known` is stored as unknown."""
    mpp = known.pop("mpp", None)
    return {
        "image": image, "key": key, "dataset": dataset,
        "slide": "", "patient": "", "x": 0, "y": 0, "level": 0,
        "mpp": math.nan if mpp is None else mpp,
        **known,
    }  # fmt: skip


def image_id(data: bytes) -> str:
    """Who an image is: the first 16 hex digits of its file's sha256."""
    return hashlib.sha256(data).hexdigest()[:16]


def read_bytes(path: str | os.PathLike) -> bytes:
    """The bytes of an image file.

    Raises:
      HistoError: `unreadable`, `empty` or `too-many-pixels`.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
            raise _refusal(path, "unreadable", "is a pipe or device, not a file")
        size = os.path.getsize(path)
        if size > MOST_BYTES:
            raise _refusal(path, "too-many-pixels", f"has {size:,} bytes")
        data = Path(path).read_bytes()
    except OSError as error:
        raise _refusal(path, "unreadable", f"cannot be read: {error.strerror}") from error
    if not data:
        raise _refusal(path, "empty", "is empty")
    return data


def open_image(
    data: bytes, path: object, alpha: str = "white", depth: str = "refuse"
) -> tuple[Image.Image, bool]:
    """Decodes and judges an image: 8-bit RGB, and whether `data` already is the JPEG or PNG of it.

    Transparency goes on white and an EXIF orientation is applied, so that every reader of the
    record sees the same pixels.

    Args:
      data: the file's bytes.
      path: what to call it in errors.
      alpha: `drop` takes colours as they are, also where they are transparent.
      depth: `scale` maps gray of more than 8 bits from its 1st to its 99th percentile.

    Raises:
      HistoError: one of `REASONS`.
    """
    if is_page(data[:64]):
        raise _refusal(path, "html", "holds a web page, not an image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata, which nobody here reads
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "TIFF", "BMP"))
            _judge(image, data, path, depth)
            check_end(image, data)
            image.load()
            plain = image.mode == "RGB" and "transparency" not in image.info
            keep = plain and FORMATS[image.format] == "kept"
            turned = ImageOps.exif_transpose(image)
            keep &= image.getexif().get(0x0112, 1) == 1
            return (turned if plain else _flatten(turned, alpha)), keep
    except HistoError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _refusal(path, "too-many-pixels", "claims too many pixels") from error
    except Image.UnidentifiedImageError as error:
        if data.startswith(TIFF):
            _judge_tiff(data, path)
        if data.startswith(MAGIC):
            raise _refusal(path, "damaged", "its header is damaged") from error
        what = f"no PNG, JPEG, TIFF or BMP: begins {data[:8]!r}"
        raise _refusal(path, "not-an-image", what) from error
    except Exception as error:  # decoders raise whatever they like on damaged input
        raise _refusal(path, "damaged", f"does not decode: {error}") from error


def _judge(image: Image.Image, data: bytes, path: object, depth: str) -> None:
    """Looks at the header, before a pixel is decoded."""
    if image.width * image.height > MOST_PIXELS:
        what = f"has {image.width}x{image.height} pixels"
        raise _refusal(path, "too-many-pixels", what)
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise _refusal(path, "several-images", f"holds {image.n_frames} images")
    if depth == "scale" and image.mode in DEEP:
        return
    verdict, bits = MODES.get(image.mode, "colour-other"), _bits(image, data)
    if verdict == "colour-16-bit" or (verdict not in REASONS and bits > 8):  # Pillow drops some
        raise _refusal(path, "colour-16-bit", f"holds {bits} bits a channel, not 8")
    if verdict in REASONS:
        raise _refusal(path, verdict, f"is no 8-bit RGB image but of mode {image.mode}")


def check_end(image: Image.Image, data: bytes) -> None:
    """The checksums of a PNG, and the end of it or of a JPEG; raises what decoders raise."""
    begin, end = ENDS.get(image.format, (b"", b""))
    if data.rfind(end) < data.rfind(begin):
        raise OSError("cut before its end")
    if image.format == "PNG":
        Image.open(io.BytesIO(data), formats=("PNG",)).verify()


def _judge_tiff(data: bytes, path: object) -> None:
    """What Pillow does not know at all, it does not name either: 16-bit RGB, floats, codecs."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            kind, codec = file.pages[0].dtype, file.pages[0].compression
    except Exception:  # it is damaged
        return
    if kind is not None and kind != np.uint8:
        verdict = "colour-float" if kind.kind in "fc" else "colour-16-bit"
        raise _refusal(path, verdict, f"holds {kind} values, not 8 bits a channel")
    if codec not in TiffImagePlugin.COMPRESSION_INFO:
        name = getattr(codec, "name", f"TIFF compression {codec}")
        raise _refusal(path, "unsupported-codec", f"compressed as {name}")


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits a channel in the file."""
    if image.format == "PNG":
        return data[24]
    return max(image.tag_v2.get(258, (8,))) if image.format == "TIFF" else 8


def _flatten(image: Image.Image, alpha: str) -> Image.Image:
    """Any accepted mode to RGB, transparent parts on white unless alpha is dropped."""
    if image.mode in DEEP:
        values = np.asarray(image, np.float64)
        low, high = np.percentile(values, (1, 99))
        gray = np.rint(255 * (values - low) / max(high - low, 1)).clip(0, 255)
        return Image.fromarray(gray.astype(np.uint8)).convert("RGB")
    if alpha == "drop" and image.mode in ("RGBA", "LA"):
        return image.convert("RGB")
    if image.mode in ("L", "1") and "transparency" not in image.info:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def encode_image(source: str | os.PathLike | bytes) -> bytes:
    """The bytes a record stores: the original ones where they are 8-bit RGB JPEG or PNG, else PNG.

    Raises:
      HistoError: one of `REASONS`.
    """
    data = source if isinstance(source, bytes) else read_bytes(source)
    image, keep = open_image(data, "image" if isinstance(source, bytes) else source)
    return data if keep else encode_png(image)


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes without any metadata."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "PNG")
    return buffer.getvalue()


def cut(image: Image.Image, tile: int, path: object) -> Iterator[tuple[int, int, Image.Image]]:
    """Yields (x, y, square) row by row, without overlap; what is left right and below is dropped.

    Raises:
      HistoError: `too-small`.
    """
    check_side(image, tile, path)
    for y in range(0, image.height - tile + 1, tile):
        for x in range(0, image.width - tile + 1, tile):
            yield x, y, image.crop((x, y, x + tile, y + tile))


def centre(image: Image.Image, side: int, path: object) -> Iterator[tuple[int, int, Image.Image]]:
    """Yields (x, y, square), the one in the middle.

    Raises:
      HistoError: `too-small`.
    """
    check_side(image, side, path)
    x, y = (image.width - side) // 2, (image.height - side) // 2
    yield x, y, image.crop((x, y, x + side, y + side))


def check_side(image: Image.Image, side: int, path: object) -> None:
    """Refuses, as `too-small`, an image that holds no square of `side` pixels."""
    if min(image.size) < side:
        what = f"{image.width}x{image.height} pixels hold no tile of {side}"
        raise _refusal(path, "too-small", what)


def _refusal(path: object, reason: str, what: str) -> HistoError:
    return HistoError(path, reason, what, REASONS[reason])
