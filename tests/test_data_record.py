"""Which images become records, and as which bytes."""

import io

import numpy as np
import pytest
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


def test_files_are_judged_by_content(tmp_path):
    (tmp_path / "a.tif").write_bytes(JPEG)
    assert record.encode_image(tmp_path / "a.tif") == JPEG


def test_damaged_images_raise_nothing_but_the_refusal():
    """And what is kept is read in training: Pillow takes files that TensorFlow doesn't."""
    rng = np.random.default_rng(0)
    for data in (JPEG, saved(RGB, "PNG"), saved(RGB, "TIFF")):
        for end in range(1, 25):
            with refused("damaged", "does not decode"):
                record.encode_image(data[:-end])
        for _ in range(150):
            broken = bytearray(data)
            at = rng.integers(0, len(broken), 3)
            for i in at:
                broken[i] = rng.integers(256)
            for whole in (bytes(broken), bytes(broken[: rng.integers(1, len(broken) + 1)])):
                try:
                    pixels(record.encode_image(whole))
                except record.HistoError as error:
                    assert error.reason in record.REASONS


def test_tiles_do_not_overlap_and_leave_out_the_rest():
    image = Image.fromarray(np.arange(7 * 10 * 3, dtype=np.uint8).reshape(7, 10, 3))
    tiles = list(record.cut(image, 3, "image"))
    assert [(x, y) for x, y, _ in tiles] == [(x, y) for y in (0, 3) for x in (0, 3, 6)]
    for x, y, tile in tiles:
        np.testing.assert_array_equal(np.asarray(tile), np.asarray(image)[y : y + 3, x : x + 3])


def test_masks_hold_classes_or_objects(tmp_path):
    values = np.array([[0, 1, 255], [300, 2, 0]], np.uint16)
    Image.fromarray(values).save(tmp_path / "objects.png")
    mask = masks.read_mask(tmp_path / "objects.png", "image", (3, 2), instances=True)
    np.testing.assert_array_equal(np.asarray(mask), [[0, 1, 1], [1, 1, 0]])
    Image.fromarray(values[:1].astype(np.uint8)).save(tmp_path / "classes.png")
    mask = masks.read_mask(tmp_path / "classes.png", "image", (3, 1), instances=False)
    np.testing.assert_array_equal(np.asarray(mask), [[0, 1, 255]])


def test_a_record_says_what_is_unknown():
    example = record.example(b"x", "k", "d")
    assert (example["slide"], example["patient"], example["x"]) == ("", "", 0)
    assert np.isnan(example["mpp"])
    assert record.example(b"x", "k", "d", mpp=0.5, label=3)["label"] == 3
