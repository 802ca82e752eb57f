"""Floors of known images, an untrained network, frozen features."""

import jax
import numpy as np
import pytest

from histo_jax.errors import HistoError
from histo_jax.evaluation import features, floors, linear
from histo_jax.models import build_encoder

HALF = (0.5,) * 3


@pytest.fixture(scope="module")
def tiny():
    return features.Network(build_encoder("resnet_tiny", width=8), HALF, HALF)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)


def test_colour_histogram_of_a_known_image():
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[0, :, :2] = (255, 31, 32)  # bins 7, 0, 1
    found = floors.colour_histogram(np.concatenate([image, image[:, ::-1]]))
    assert found.shape == (2, 512) and found.dtype == np.float32
    assert set(np.flatnonzero(found[0]).tolist()) == {0, 7 * 64 + 1}
    np.testing.assert_allclose(found[0][[0, 449]], np.sqrt(0.5), rtol=1e-6)
    np.testing.assert_array_equal(found[0], found[1])  # where a colour is plays no part


def test_mean_rgb_of_a_known_image():
    image = np.broadcast_to(np.array([255, 0, 51], np.uint8), (2, 3, 5, 3))
    np.testing.assert_allclose(floors.mean_rgb(image), [[1, 0, 0.2]] * 2, rtol=1e-6)


def test_texture_sees_stripes_that_colour_counts_do_not():
    rows = np.zeros((1, 32, 32, 3), np.uint8)
    rows[:, ::4] = rows[:, 1::4] = 200
    columns = rows.transpose(0, 2, 1, 3)
    found = floors.texture(np.concatenate([rows, columns]))
    assert found.shape == (2, 414) and np.isfinite(found).all()
    assert np.abs(found[0] - found[1]).max() > 0.1
    np.testing.assert_array_equal(*floors.colour_histogram(np.concatenate([rows, columns])))
    np.testing.assert_allclose(found[0, :10].sum(), 1, rtol=1e-6)  # shares


@pytest.mark.parametrize("size", [8, 30, 48, 96])
def test_texture_has_one_width_at_every_size(size):
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    assert floors.texture(image).shape == (1, 414)


def test_texture_rings_hold_mean_and_deviation():
    image = np.full((1, 24, 24, 3), (10, 20, 30), np.uint8)
    image[0, 11:13, 11:13] = (250, 20, 30)  # the centre
    rings = floors.texture(image)[0, -36:].reshape(3, 2, 6)
    np.testing.assert_allclose(rings[1:, 1], 0, atol=1e-4)
    np.testing.assert_allclose(rings[0, 0, 1:], 10 / 255, rtol=1e-5)
    assert rings[0, 0, 0] > 0.1 and rings[0, 1, 0] > 0.1


def test_calibration_on_one_batch_is_batch_normalisation(tiny, images):
    """Running statistics set from a batch must give what train mode gives on that batch."""
    params, stats = floors.random_init(tiny.encoder, seed=0)
    assert all((np.asarray(v) == 1).all() for v in (stats["bn1"]["var"], params["bn1"]["scale"]))
    known = floors.calibrated(tiny, params, stats, [images])
    x = images.astype(np.float32) / 127.5 - 1
    train = jax.jit(lambda v, x: tiny.encoder.apply(v, x, train=True, mutable=["batch_stats"])[0])
    found = features.extract(tiny, "pooled", params, known, [images], batch_size=20)
    np.testing.assert_allclose(
        found, train({"params": params, "batch_stats": stats}, x)["pooled"], rtol=1e-3, atol=1e-4
    )


def test_calibration_averages_batches_by_size(tiny, images):
    params, stats = floors.random_init(tiny.encoder, seed=0)
    both = floors.calibrated(tiny, params, stats, [images[:15], images[15:]])
    parts = [floors.calibrated(tiny, params, stats, [b]) for b in (images[:15], images[15:])]
    wanted = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, *parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), both, wanted)


def test_random_init_is_seeded(tiny):
    first, again, other = (floors.random_init(tiny.encoder, seed)[0] for seed in (0, 0, 1))
    kernel = [p["conv1"]["kernel"] for p in (first, again, other)]
    np.testing.assert_array_equal(kernel[0], kernel[1])
    assert not np.array_equal(kernel[0], kernel[2])


@pytest.mark.parametrize("layer", features.LAYERS)
def test_features_do_not_depend_on_batches(tiny, images, layer):
    params, stats = floors.random_init(tiny.encoder, seed=0)
    split = [images[:8], images[8:16], images[16:]]
    found = features.extract(tiny, layer, params, stats, split, batch_size=8)
    x = images.astype(np.float32) / 127.5 - 1
    wanted = tiny.encoder.apply({"params": params, "batch_stats": stats}, x, train=False)[layer]
    wanted = np.asarray(wanted if layer == "pooled" else wanted.mean((1, 2)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_features_that_are_not_finite_are_refused(tiny, images):
    params, stats = floors.random_init(tiny.encoder, seed=0)
    stats = stats | {"bn1": stats["bn1"] | {"mean": stats["bn1"]["mean"] * np.nan}}
    with pytest.raises(HistoError, match="not finite for 20 of 20"):
        features.extract(tiny, "pooled", params, stats, [images], batch_size=20)


def test_reader_reads_once_what_fits_and_again_what_does_not(monkeypatch, images):
    calls = []

    def read_images(prepared, rows, image_size, batch_size):
        calls.append(len(rows))
        for start in range(0, len(rows), batch_size):
            yield images[rows[start : start + batch_size]]

    monkeypatch.setattr(features, "read_images", read_images)
    rows, at = np.arange(19, -1, -1), np.array([3, 1, 19, 0, 7])
    wanted = images[rows[at]]
    for held, reads in ((2**30, [20]), (10, [5, 5])):
        calls.clear()
        monkeypatch.setattr(features, "HELD", held)
        read = features.reader(None, rows, 32, 2)
        for _ in range(2):
            batches = list(read(at))
            assert [len(b) for b in batches] == [2, 2, 1]
            np.testing.assert_array_equal(np.concatenate(batches), wanted)
        assert calls == reads


@pytest.mark.slow
def test_untrained_features_grow_with_depth():
    """The paper's L1 of 2490.7: eval-mode activations of an untrained ResNet-101 explode."""
    means = {}
    image = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    for name in ("resnet18", "resnet101"):
        network = features.Network(build_encoder(name), HALF, HALF)
        params, stats = floors.random_init(network.encoder, seed=0)
        means[name] = features.extract(network, "pooled", params, stats, [image], 4).mean()
    assert means["resnet101"] > 100 * means["resnet18"]
    even = linear.standardise(np.random.default_rng(0).normal(size=(9, 3)) * means["resnet101"])
    assert np.abs(even[0]).max() < 4
