"""Bytes to pixels: always TensorFlow's, by whichever decoder."""

import io
import subprocess
import sys

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageFile

from histo_jax.data import decode
from histo_jax.data.with_tensorflow import tensorflow_image

SIZE = 40
X, Y, COLOUR = np.meshgrid(np.arange(SIZE), np.arange(SIZE), np.arange(3))
PICTURES = {
    "smooth": 127 + 100 * np.sin(X / 9 + COLOUR) * np.cos(Y / 7 - COLOUR),
    "noise": np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)),
}


def jpeg(picture, mode="RGB", **options):
    buffer = io.BytesIO()
    Image.fromarray(PICTURES[picture].astype(np.uint8)).convert(mode).save(
        buffer, "JPEG", **options
    )
    return buffer.getvalue()


def into(encoded, size=SIZE):
    out = np.zeros((size, size, 3), np.uint8)
    decode.decode_into(encoded, out)
    return out


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
def test_fast_jpeg_has_tensorflows_pixels(picture, mode, progressive, subsampling, monkeypatch):
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 2**20)  # Pillow's is too small for noise
    for quality in (30, 75, 90, 100):
        data = jpeg(
            picture, mode, quality=quality, progressive=progressive, subsampling=subsampling
        )
        known = tensorflow_image(data)
        np.testing.assert_array_equal(decode.decode_image(data), known)
        np.testing.assert_array_equal(into(data), known)


def test_a_jpeg_of_the_right_size_takes_the_fast_way(monkeypatch):
    monkeypatch.setattr(decode, "tensorflow_image", None)
    assert into(jpeg("smooth", quality=90)).any()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_another_size_is_resized(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (60, 44), (10, 200, 90)).save(buffer, kind)
    assert np.abs(into(buffer.getvalue()).astype(int) - (10, 200, 90)).max() <= 2


def test_odd_bytes_are_tensorflows_to_judge():
    """Junk between markers: a warning in libjpeg, an error in simplejpeg, nothing in TensorFlow."""
    data = jpeg("smooth", quality=90)
    at = data.index(b"\xff\xda")
    odd = data[:at] + b"junk" + data[at:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(odd)
    np.testing.assert_array_equal(into(odd), tensorflow_image(odd))


@pytest.mark.parametrize("data", [b"", b"no image", jpeg("noise")[:700], b"\xff\xd8\xff"], ids=len)
def test_what_does_not_decode_is_a_value_error(data):
    with pytest.raises(ValueError):
        into(data)


def test_arrays_come_in_order_whatever_takes_long():
    def fill(name, out):
        out[:] = name

    made = decode.filled_ahead(lambda n: range(n, n + 35), range(0, 200, 35), fill, 2)
    arrays = list(made)
    assert [len(a) for a in arrays] == [35] * 6
    np.testing.assert_array_equal(np.concatenate(arrays)[:, 0, 0, 0], np.arange(210))


def test_an_error_comes_in_its_turn_and_ends_the_work():
    begun = []

    def fill(name, out):
        begun.append(name)
        if name == 3:
            raise OSError("made for this test")

    made = decode.filled_ahead(lambda n: [n], range(10**9), fill, 2)
    assert len(next(made)) == len(next(made)) == len(next(made)) == 1
    with pytest.raises(OSError, match="made for this test"):
        next(made)
    assert max(begun) <= 3 + decode.AHEAD


def test_a_read_that_hangs_keeps_no_process_alive():
    """The error comes and the process ends, though a thread still waits for the disk."""
    program = """
import time
from histo_jax.data import decode
from histo_jax.data.feed import feed

made = decode.filled_ahead(lambda n: [n], range(9), lambda name, out: time.sleep(600), 2)
next(feed(made, lambda batch: batch, timeout=0.5))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert done.returncode == 1 and b"no batch for 0.5 s" in done.stderr
