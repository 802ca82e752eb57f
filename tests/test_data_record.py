"""Which images become records, and as which bytes."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from histo_jax.data import masks, record
from tests.folder_builders import picture
from tests.prepared_sets import refused


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    """As the training pipeline sees them."""
    import tensorflow as tf

    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


RGB = picture(1, 40)
GRAY = RGB.convert("L")


def with_exif(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    return saved(RGB.crop((0, 0, 40, 24)), kind, exif=exif, quality=100, subsampling=0)


def png16(channels: int) -> bytes:
    """A 16-bit PNG, which Pillow reads as 8-bit without a word when it has colours."""
    rows = b"".join(b"\0" + bytes(range(8 * 2 * channels)) for _ in range(8))

    return png(8, 16, {1: 0, 3: 2}[channels], rows)


def tiff(values: np.ndarray) -> bytes:
    """A TIFF that Pillow does not know."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="rgb")
    return buffer.getvalue()


def png(side: int, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image


@pytest.mark.parametrize(
    "data", [saved(RGB, "JPEG", quality=90), saved(RGB, "PNG")], ids=["jpeg", "png"]
)
def test_rgb_jpeg_and_png_keep_their_bytes(data):
    assert record.encode_image(data) == data


HALF = RGB.copy()
HALF.putalpha(Image.linear_gradient("L").resize(RGB.size))
ON_WHITE = np.asarray(HALF, np.float64)
ON_WHITE = ON_WHITE[..., :3] * ON_WHITE[..., 3:] / 255 + 255 - ON_WHITE[..., 3:]
PALETTE = RGB.convert("P")
GRAY3 = np.repeat(np.asarray(GRAY)[..., None], 3, -1)
TURNED = np.rot90(np.asarray(RGB)[:24], -1)


@pytest.mark.parametrize(
    ("data", "wanted", "tolerance"),
    [
        pytest.param(saved(HALF, "PNG"), ON_WHITE, 1, id="RGBA on white"),
        pytest.param(saved(GRAY, "PNG"), GRAY3, 0, id="gray"),
        pytest.param(saved(GRAY, "JPEG", quality=100), GRAY3, 3, id="gray jpeg"),
        pytest.param(saved(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), 0, id="palette"),
        pytest.param(
            saved(RGB.convert("1"), "PNG"), np.asarray(RGB.convert("1").convert("RGB")), 0, id="1 bit"
        ),
        pytest.param(
            saved(Image.merge("LA", (GRAY, HALF.getchannel("A"))), "PNG"),
            GRAY3 * (np.asarray(HALF)[..., 3:] / 255.0) + 255 - np.asarray(HALF)[..., 3:], 1, id="LA",
        ),
        pytest.param(saved(RGB, "TIFF"), np.asarray(RGB), 0, id="tiff"),
        pytest.param(with_exif("JPEG"), TURNED, 6, id="EXIF jpeg"),
        pytest.param(with_exif("PNG"), TURNED, 0, id="EXIF png"),
        pytest.param(saved(RGB, "PNG", transparency=(255, 255, 255)), np.asarray(RGB), 0, id="tRNS"),
    ],
)  # fmt: skip
def test_other_images_become_png_that_every_reader_sees_alike(data, wanted, tolerance):
    encoded = record.encode_image(data)
    assert encoded != data and encoded.startswith(b"\x89PNG")
    seen = pixels(encoded)
    np.testing.assert_array_equal(seen, np.asarray(Image.open(io.BytesIO(encoded))))
    assert seen.shape == wanted.shape
    assert np.abs(seen - wanted.astype(float)).max() <= tolerance
    assert np.abs(seen - wanted.astype(float)).mean() <= min(tolerance, 3)


JPEG = saved(RGB, "JPEG", quality=90)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(saved(RGB.convert("CMYK"), "JPEG"), "colour-cmyk", id="CMYK"),
        pytest.param(saved(RGB.convert("CMYK"), "TIFF"), "colour-cmyk", id="CMYK tiff"),
        pytest.param(png16(1), "colour-16-bit", id="gray 16"),
        pytest.param(png16(3), "colour-16-bit", id="RGB 16"),
        pytest.param(saved(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "colour-float", id="float"),
        pytest.param(tiff(np.ones((9, 9, 3), np.uint16)), "colour-16-bit", id="RGB 16 tiff"),
        pytest.param(tiff(np.ones((9, 9, 3), np.float32)), "colour-float", id="RGB float tiff"),
        pytest.param(saved(RGB.convert("LAB"), "TIFF"), "colour-other", id="Lab"),
        pytest.param(JPEG[: len(JPEG) // 2], "damaged", id="cut jpeg"),
        pytest.param(saved(RGB, "PNG")[:-300], "damaged", id="cut png"),
        pytest.param(saved(RGB, "TIFF")[:-300], "damaged", id="cut tiff"),
        pytest.param(png(9000, 8, 2, b""), "too-many-pixels", id="large"),
        pytest.param(png(11000, 8, 2, b""), "too-many-pixels", id="larger"),  # Pillow warns
        pytest.param(png(20000, 8, 2, b""), "too-many-pixels", id="bomb"),  # Pillow refuses
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"no more", "damaged", id="no header"),
        pytest.param(saved(RGB, "GIF"), "not-an-image", id="gif"),
        pytest.param(b"nothing", "not-an-image", id="no image"),
        pytest.param(b"\n<!DOCTYPE html><html>", "html", id="html"),
        pytest.param(saved(RGB, "TIFF", save_all=True, append_images=[RGB]), "several-images", id="pages"),
    ],
)  # fmt: skip
def test_what_is_no_8_bit_image_is_refused_with_its_reason(data, reason):
    with refused(reason, "image: "):
        record.encode_image(data)


def test_files_are_judged_by_content(tmp_path):
    (tmp_path / "a.tif").write_bytes(JPEG)
    assert record.encode_image(tmp_path / "a.tif") == JPEG
    (tmp_path / "empty.png").write_bytes(b"")
    with refused("empty", "empty.png: is empty"):
        record.encode_image(tmp_path / "empty.png")
    with refused("unreadable", "No such file"):
        record.encode_image(tmp_path / "missing.png")


def test_damaged_images_raise_nothing_but_the_refusal():
    rng = np.random.default_rng(0)
    for data in (JPEG, saved(RGB, "PNG"), saved(RGB, "TIFF")):
        for _ in range(150):
            broken = bytearray(data)
            at = rng.integers(0, len(broken), 3)
            for i in at:
                broken[i] = rng.integers(256)
            try:
                record.encode_image(bytes(broken[: rng.integers(1, len(broken) + 1)]))
            except record.HistoError as error:
                assert error.reason in record.REASONS


def test_tiles_do_not_overlap_and_leave_out_the_rest():
    image = Image.fromarray(np.arange(7 * 10 * 3, dtype=np.uint8).reshape(7, 10, 3))
    tiles = list(record.cut(image, 3, "image"))
    assert [(x, y) for x, y, _ in tiles] == [(x, y) for y in (0, 3) for x in (0, 3, 6)]
    for x, y, tile in tiles:
        np.testing.assert_array_equal(np.asarray(tile), np.asarray(image)[y : y + 3, x : x + 3])
    with refused("too-small", "10x7 pixels hold no tile of 8"):
        list(record.cut(image, 8, "image"))


def test_masks_hold_classes_or_objects(tmp_path):
    values = np.array([[0, 1, 255], [300, 2, 0]], np.uint16)
    Image.fromarray(values).save(tmp_path / "objects.png")
    mask = masks.read_mask(tmp_path / "objects.png", "image", (3, 2), instances=True)
    np.testing.assert_array_equal(np.asarray(mask), [[0, 1, 1], [1, 1, 0]])
    with refused(
        "mask", "objects.png: mask of image holds the classes \\[300\\]", "instance_masks"
    ):
        masks.read_mask(tmp_path / "objects.png", "image", (3, 2), instances=False)
    with refused("mask", "has 3x2 pixels, image 3x3"):
        masks.read_mask(tmp_path / "objects.png", "image", (3, 3), instances=True)
    Image.fromarray(values[:1].astype(np.uint8)).save(tmp_path / "classes.png")
    mask = masks.read_mask(tmp_path / "classes.png", "image", (3, 1), instances=False)
    np.testing.assert_array_equal(np.asarray(mask), [[0, 1, 255]])
    RGB.save(tmp_path / "colours.png")
    with refused("mask", "is of mode RGB"):
        masks.read_mask(tmp_path / "colours.png", "image", RGB.size, instances=False)


def test_a_record_says_what_is_unknown():
    example = record.example(b"x", "k", "d")
    assert (example["slide"], example["patient"], example["x"]) == ("", "", 0)
    assert np.isnan(example["mpp"])
    assert record.example(b"x", "k", "d", mpp=0.5, label=3)["label"] == 3
