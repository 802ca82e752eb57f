import functools
import itertools
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from prepared_sets import make_set, pixels, refused

from histo_jax.data import pipeline, raw, with_tensorflow
from histo_jax.data.mixture import open_mixture

SIZE = 16


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, n, seed in (("histo_patches/one", 41, 1), ("histo_wsi/two", 18, 2)):
        raw.build_raw(make_set(folder, name, n, seed=seed, odd=True), SIZE)
    return open_mixture(folder, "auto")


@pytest.fixture(scope="module")
def weighted(mixture):
    folder = mixture.sets[0].path.parents[2]
    return open_mixture(folder, (("histo_patches/one", 1.0), ("histo_wsi/two", 3.0)))


def run(mixture, cache="none", start=0, total=9, **options):
    options = {"seed": 5, "batch_size": 12, "image_size": SIZE, "split": "train"} | options
    made = pipeline.batches(mixture, cache=cache, start_step=start, total_steps=total, **options)
    return list(made)


@jax.jit
def flips(images, step, index):
    """A stand-in for the views that uses pixels, step, index and floating point."""
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(jax.random.key(1), step), i))(
        index
    )
    x = images.astype(jnp.float32) / 127.5 - 1.0

    def pair(key, image):
        side, gain = jax.random.bernoulli(key), jax.random.uniform(key, (), minval=0.5)
        return jnp.stack([jnp.where(side, image[:, ::-1], image), jnp.tanh(image * gain)])

    return jax.vmap(pair)(keys, x)


def assert_equal(a, b):
    assert len(a) == len(b) > 0
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for name in x:
            assert x[name].dtype == y[name].dtype
            np.testing.assert_array_equal(x[name], y[name])


@pytest.mark.parametrize("which", ["mixture", "weighted"])
def test_caches_agree_batch_by_batch(which, request):
    sets = request.getfixturevalue(which)
    records, copies = run(sets), run(sets, "raw")
    assert_equal(records, copies)
    assert records[0]["image"].dtype == np.uint8
    assert records[0]["image"].shape == (12, SIZE, SIZE, 3)
    np.testing.assert_array_equal(records[3]["index"], np.arange(12, dtype=np.int32))


def test_an_epoch_shows_each_image_once_and_drops_the_rest(mixture):
    per_epoch = pipeline.steps_per_epoch(mixture.n, 12)
    assert per_epoch == 4
    images = pipeline.step_images(mixture, 5, 12)
    for epoch in range(3):
        seen = np.concatenate([images(epoch * per_epoch + k) for k in range(per_epoch)])
        assert len(np.unique(seen)) == 48
    assert (images(0) != images(4)).any()


def test_batch_holds_the_images_it_should(mixture):
    batch = run(mixture, image_size=24, total=1)[0]["image"]
    which, rows = mixture.locate(pipeline.step_images(mixture, 5, 12)(0))
    checked = 0
    for image, w, row in zip(batch, which, rows, strict=True):
        if row % 2 and row % 3:  # a PNG of the right size: exact
            np.testing.assert_array_equal(image, pixels(2 - w, row))
            checked += 1
    assert checked


@pytest.mark.parametrize("cache", ["none", "raw"])
@pytest.mark.parametrize("views", [None, flips], ids=["images", "views"])
def test_resume_at_any_step_gives_the_same_batches(mixture, cache, views):
    whole = run(mixture, cache, views=views)
    for start in (1, 4, 5, 8):
        assert_equal(whole[start:], run(mixture, cache, start, views=views))
    assert run(mixture, cache, 9, views=views) == []


@pytest.mark.parametrize("cache", ["none", "raw"])
@pytest.mark.parametrize("views", [None, flips], ids=["images", "views"])
def test_two_processes_read_what_one_reads(mixture, cache, views):
    one = run(mixture, cache, total=5, views=views)
    two = [
        run(mixture, cache, total=5, process_index=i, process_count=2, views=views) for i in (0, 1)
    ]
    joined = [
        {name: np.concatenate([a[name], b[name]]) for name in a} for a, b in zip(*two, strict=True)
    ]
    assert_equal(one, joined)
    assert two[1][0]["index"].tolist() == [6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("cache", ["none", "raw"])
@pytest.mark.parametrize("batch_size", [12, 17, 32])  # one chunk; a prime: chunks of 1; two chunks
def test_views_on_the_host_are_the_views_of_a_direct_call(mixture, cache, batch_size):
    host = run(mixture, cache, 1, 4, batch_size=batch_size, views=flips)
    images = run(mixture, cache, 1, 4, batch_size=batch_size)
    for step, (a, b) in enumerate(zip(host, images, strict=True), start=1):
        assert a["views"].shape == (batch_size, 2, SIZE, SIZE, 3)
        direct = flips(b["image"], jnp.int32(step), b["index"])
        np.testing.assert_allclose(a["views"], direct, atol=1e-6, rtol=0)
        np.testing.assert_array_equal(a["views"][:, 0], direct[:, 0])  # no transcendental in it


def test_real_views_on_the_host_are_the_views_of_a_direct_call(mixture):
    recipes = pytest.importorskip("histo_jax.augment.recipes")
    make = functools.partial(
        recipes.make_views, seed=1, recipe="ciga2021", size=SIZE, crop_min=0.2, jitter="medium"
    )
    views = make(branches=True)
    images = run(mixture, total=2)
    for step, (a, b) in enumerate(zip(run(mixture, total=2, views=views), images, strict=True)):
        direct = jax.jit(views)(b["image"], jnp.int32(step), b["index"])
        np.testing.assert_allclose(a["views"], direct, atol=1e-4, rtol=0)


def test_what_is_refused_before_the_first_step(mixture):
    with refused("batch", "config.data.batch_size", "60 images a batch.* only 59", "at most 59"):
        run(mixture, batch_size=60)
    with refused("batch", "0 images a batch"):
        run(mixture, batch_size=0)
    with refused("batch", "12 images can't be shared equally by 5 processes", "10"):
        run(mixture, process_count=5)
    with refused("split", "config.data.split", "is test, the mixture was opened with train"):
        run(mixture, split="test")
    with refused("config", "config.data.cache", "'ram' is not none, raw or device"):
        run(mixture, "ram")
    with refused("no-cache", "-20.npy", "cache histo_wsi/two --size 20 --data_dir"):
        run(mixture, "raw", image_size=20)


def test_damage_while_reading_names_shard_and_record(tmp_path):
    prepared = make_set(tmp_path, n=40)
    mixture = open_mixture(tmp_path, "auto")
    images = pipeline.step_images(mixture, 5, 8)
    row = mixture.locate(images(3))[1][5]
    shard = prepared.shards[prepared.table["shard"][row]]
    with open(shard, "r+b") as file:
        file.seek(int(prepared.table["offset"][row]) + 200)
        file.write(b"\xff\x00\xff")
    made = pipeline.batches(
        mixture, split="train", seed=5, image_size=SIZE, batch_size=8, cache="none",
        start_step=1, total_steps=5,
    )  # fmt: skip
    good = list(itertools.islice(made, 2))  # steps 1 and 2 are whole
    assert len(good) == 2
    key = prepared.table["key"][row]
    with refused("damaged", shard.name, f"record {key}", f"verify {prepared.path} --deep"):
        next(made)


def test_a_fault_in_the_views_is_not_blamed_on_the_data(mixture):
    def wrong(images, step, index):
        raise ValueError("made for this test")

    with pytest.raises(ValueError, match="made for this test"):
        run(mixture, views=wrong)


def test_tensorflow_is_kept_off_the_accelerators_as_soon_as_it_is_imported(monkeypatch):
    calls = []
    config = SimpleNamespace(set_visible_devices=lambda *a: calls.append(a))
    monkeypatch.setitem(
        sys.modules, "tensorflow", SimpleNamespace(config=config, constant=calls.append)
    )
    with_tensorflow.load_tensorflow.__wrapped__()
    assert calls == [([], "GPU"), 0]  # hidden before the first operation


def test_has_tensorflow(monkeypatch):
    assert pipeline.has_tensorflow()
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # as if not installed
    assert not pipeline.has_tensorflow()
