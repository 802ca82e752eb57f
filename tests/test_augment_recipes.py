"""Whole views: rates, keys, the agreement of the two forms, and what users can get wrong."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_jax.augment import recipes
from histo_jax.augment.keys import example_keys
from histo_jax.errors import HistoError

SIZE, B, N = 40, 6, 20_000
CALM = recipes.Recipe(
    crop_min=1.0, turns=False, hflip=0.0, vflip=0.0, jitter="medium", jitter_probability=0.0,
    gray=0.0, blur=0.0,
)  # fmt: skip


def photographs(n, side=SIZE):
    """Smooth colours with some noise: uint8 [n, side, side, 3]."""
    rng = np.random.default_rng(1)
    coarse = rng.random((n, 5, 5, 3)).repeat(side // 5, axis=1).repeat(side // 5, axis=2)
    return (255 * (0.8 * coarse + 0.2 * rng.random(coarse.shape))).astype(np.uint8)


def made(images, step=0, index=None, *, branches=True, **options):
    options = {"seed": 7, "recipe": "ciga2021", "size": SIZE, "branches": branches} | options
    index = np.arange(len(images)) if index is None else np.asarray(index)
    views = compiled(**options)
    return np.asarray(views(jnp.asarray(images), jnp.int32(step), index.astype(np.int32)))


@functools.cache
def compiled(**options):
    return jax.jit(recipes.make_views(**options))


def drawn(recipe, n=N):
    keys = jax.vmap(lambda k: jax.random.split(k, 2))(
        example_keys(3, jnp.int32(5), jnp.arange(n, dtype=jnp.int32))
    )
    sample = jax.vmap(jax.vmap(lambda k: recipes.sample_view(k, recipe, 224, 224)))
    return jax.tree.map(np.asarray, jax.jit(sample)(keys))


@pytest.fixture(scope="module")
def paper():
    return drawn(recipes.RECIPES["ciga2021"])


def test_keys_are_the_stated_folds():
    got = example_keys(3, jnp.int32(5), jnp.asarray([0, 9], jnp.int32))
    want = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 5), 9)
    assert jax.random.key_data(got[1]).tolist() == jax.random.key_data(want).tolist()
    other = example_keys(4, jnp.int32(5), jnp.asarray([0, 9], jnp.int32))
    assert (jax.random.key_data(got) != jax.random.key_data(other)).any(axis=1).all()


def test_rates_are_the_papers(paper):
    rate = 3 * np.sqrt(0.25 / N)
    assert abs(paper.blurred.mean(axis=0) - 0.5).max() < rate
    assert abs(paper.jittered.mean(axis=0) - 0.8).max() < rate
    assert not paper.grayed.any()
    assert 0.1 <= paper.sigma.min() < 0.11 and 1.99 < paper.sigma.max() <= 2.0
    assert abs(paper.sigma.mean() - 1.05) < 0.012


def test_symmetries_are_uniform_over_all_eight(paper):
    cell = 4 * paper.side.turned + 2 * paper.side.reverse_y + paper.side.reverse_x
    for view in range(2):
        counts = np.bincount(cell[:, view], minlength=8)
        assert len(counts) == 8
        assert ((counts - N / 8) ** 2 / (N / 8)).sum() < 24.3  # df 7 at 1e-3


def test_simclr_keeps_its_own_defaults():
    simclr = recipes.RECIPES["simclr"]
    assert recipes.choose("simclr") == simclr and simclr.crop_min == 0.08
    view = drawn(simclr)
    assert not view.side.turned.any() and not view.side.reverse_y.any()
    assert abs(view.side.reverse_x.mean() - 0.5) < 0.011
    assert abs(view.grayed.mean() - 0.2) < 0.011


def test_the_two_views_and_their_parameters_are_independent(paper):
    area = paper.box.height * paper.box.width
    values = [
        area, (paper.box.top + 0.5) / (225 - paper.box.height), paper.jittered, paper.blurred, paper.sigma,
        *np.moveaxis(paper.factors, -1, 0), paper.side.turned,
    ]  # fmt: skip
    table = np.stack([v[:, view].astype(np.float64) for view in range(2) for v in values])
    off = np.corrcoef(table) - np.eye(len(table))
    assert np.abs(off).max() < 0.03  # 190 pairs, 4.2 sigma
    first, second = table[: len(values)], table[len(values) :]
    same = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    assert np.abs(same).max() < 0.02


@pytest.mark.parametrize("recipe", list(recipes.RECIPES))
def test_views_have_the_promised_form_and_both_forms_agree(recipe):
    images = photographs(B)
    loop = made(images, recipe=recipe)
    assert loop.shape == (B, 2, SIZE, SIZE, 3) and loop.dtype == np.float32
    assert loop.min() >= -1 and loop.max() <= 1
    assert np.abs(loop[:, 0] - loop[:, 1]).mean() > 0.05
    dense = made(images, recipe=recipe, branches=False)
    np.testing.assert_allclose(loop, dense, atol=1e-4)
    assert np.abs(loop - dense).mean() < 1e-6


def test_a_view_depends_on_step_and_index_alone():
    images = photographs(B)
    whole = made(images, step=3, index=[4, 5, 6, 7, 8, 9])
    np.testing.assert_array_equal(whole, made(images, step=3, index=[4, 5, 6, 7, 8, 9]))
    np.testing.assert_array_equal(whole[2:4], made(images[2:4], step=3, index=[6, 7]))
    for other in ({"step": 4}, {"index": [9, 8, 7, 6, 5, 4]}):
        changed = made(images, **({"step": 3, "index": [4, 5, 6, 7, 8, 9]} | other))
        assert (np.abs(changed - whole).mean(axis=(2, 3, 4)) > 1e-3).all()


def test_views_do_not_change_in_x64():
    images = photographs(B)
    with jax.enable_x64(True):
        double = made(images)
    assert double.dtype == np.float32
    np.testing.assert_allclose(double, made(images), atol=1e-5)


def test_other_source_sizes():
    wide = np.random.default_rng(0).integers(0, 256, (2, 30, 70, 3), np.uint8)
    forms = (made(wide, size=32, jitter="none", branches=branches) for branches in (True, False))
    np.testing.assert_allclose(*forms, atol=1e-4)


@pytest.mark.parametrize("branches", [True, False])
def test_what_is_never_drawn_changes_nothing(monkeypatch, branches):
    monkeypatch.setitem(recipes.RECIPES, "calm", CALM)
    images = photographs(B)
    want = np.repeat(images[:, None] / 127.5 - 1, 2, axis=1)
    np.testing.assert_allclose(made(images, recipe="calm", branches=branches), want, atol=1e-6)
    always = dataclasses.replace(CALM, jitter_probability=1.0)
    monkeypatch.setitem(recipes.RECIPES, "always", always)
    still = made(images, recipe="always", jitter="none", branches=branches)
    np.testing.assert_allclose(still, want, atol=1e-6)
    if branches:
        assert np.abs(made(images, recipe="always") - want).mean() > 0.05


def test_given_options_replace_the_recipes_own():
    chosen = recipes.choose("simclr", crop_min=0.3, jitter="heavy")
    assert chosen == dataclasses.replace(recipes.RECIPES["simclr"], crop_min=0.3, jitter="heavy")


@pytest.mark.parametrize(
    ("options", "path", "named"),
    [
        ({"recipe": "byol"}, "augment.recipe", "ciga2021, simclr"),
        ({"jitter": "mild"}, "augment.jitter", "none, light, medium, heavy"),
        ({"crop_min": 0.0}, "augment.crop_min", "0 < v <= 1"),
        ({"crop_min": 1.5}, "augment.crop_min", "0 < v <= 1"),
    ],
)
def test_unknown_names_are_told_the_known_ones(options, path, named):
    with pytest.raises(HistoError, match=named) as error:
        recipes.make_views(
            **({"seed": 0, "recipe": "simclr", "size": 8, "branches": True} | options)
        )
    assert error.value.path == path


def test_views_run_inside_tf_data_with_the_same_views():
    tf = pytest.importorskip("tensorflow")
    from jax.experimental import jax2tf

    images = photographs(2 * B)
    views = compiled(seed=7, recipe="ciga2021", size=SIZE, branches=True)
    converted = jax2tf.convert(views, native_serialization_platforms=("cpu",), with_gradient=False)
    batches = (
        tf.data.Dataset.from_tensor_slices((images, np.arange(2 * B, dtype=np.int32)))
        .batch(B, drop_remainder=True)
        .enumerate()
    )

    def view(step, batch):
        return tf.autograph.experimental.do_not_convert(converted)(
            batch[0], tf.cast(step, tf.int32), batch[1]
        )

    got = list(batches.map(view, num_parallel_calls=2).as_numpy_iterator())
    for step, pair in enumerate(got):
        rows = slice(B * step, B * step + B)
        want = views(images[rows], jnp.int32(step), np.arange(2 * B, dtype=np.int32)[rows])
        np.testing.assert_allclose(pair, want, atol=1e-5)  # TensorFlow compiles with another XLA
