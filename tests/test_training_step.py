"""Devices don't change results: the project's signature test, on the whole update."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from histo_jax.errors import HistoError
from histo_jax.models import build_encoder, build_projector
from histo_jax.objectives import build_objective
from histo_jax.training import optimizer, parallel, state
from histo_jax.training.step import make_step
from tests import hlo

pytestmark = pytest.mark.usefixtures("quick_compile")

SIZE, BATCH = 24, 16


def setup(dtype: str):
    """A tiny SimCLR, LARS at a rate that moves things, and a fresh state on the host."""
    kind = {"dtype": dtype, "param_dtype": dtype, "axis": parallel.AXIS}
    encoder = build_encoder("resnet_tiny", 8, **kind)
    projector = build_projector("google_v1", encoder.features, 16, **kind)
    objective = build_objective("simclr", encoder=encoder, projector=projector, temperature=0.2)
    rate = optax.constant_schedule(0.3)
    tx = optimizer.lars(rate, 1e-6)
    fresh = jax.device_get(state.create(objective, tx, seed=0, size=SIZE))
    return objective, tx, rate, fresh


def batches(dtype: str, count: int):
    rng = np.random.default_rng(0)
    for _ in range(count):
        views = rng.uniform(-1, 1, (BATCH, 2, SIZE, SIZE, 3)).astype(dtype)
        yield {"views": views, "index": np.arange(BATCH, dtype=np.int32)}


def run(mapper: parallel.Mapper, dtype: str, steps: int = 3):
    objective, tx, rate, fresh = setup(dtype)
    update = mapper.map_step(make_step(objective, tx, rate, None, seed=0))
    now, seen = mapper.replicate(fresh), []
    for batch in batches(dtype, steps):
        now, metrics = update(now, mapper.place(batch))
        seen.append(parallel.to_host(metrics))
    return parallel.to_host(now), seen


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (1, "pmap"), (8, "pmap"), (2, "shard_map"),
        pytest.param(2, "pmap", marks=pytest.mark.slow),
        pytest.param(1, "shard_map", marks=pytest.mark.slow),
        pytest.param(8, "shard_map", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_devices_and_mappers_do_not_change_results(name, count):
    with jax.enable_x64(True):
        want_state, want = reference()
        mapper = parallel.Mapper(name, tuple(jax.devices()[:count]))
        got_state, got = run(mapper, "float64")
        for a, b in zip(got, want, strict=True):
            for metric in b:
                np.testing.assert_allclose(a[metric], b[metric], rtol=1e-10, atol=1e-12)
        pairs = zip(jax.tree.leaves(got_state), jax.tree.leaves(want_state), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


_REFERENCE = []


def reference():
    """One device, computed once."""
    if not _REFERENCE:
        _REFERENCE.append(run(parallel.Mapper("shard_map", tuple(jax.devices()[:1])), "float64"))
    return _REFERENCE[0]


@pytest.mark.parametrize("name", ["pmap", pytest.param("shard_map", marks=pytest.mark.slow)])
def test_float32_loss_on_8_devices(name):
    _, one = run(parallel.Mapper(name, tuple(jax.devices()[:1])), "float32", steps=1)
    _, eight = run(parallel.Mapper(name, tuple(jax.devices())), "float32", steps=1)
    np.testing.assert_allclose(eight[0]["loss"], one[0]["loss"], rtol=1e-5)
    np.testing.assert_allclose(eight[0]["gradient_norm"], one[0]["gradient_norm"], rtol=1e-4)


def test_the_reference_learns():
    """Guards the tests above: a step that changes nothing would be equal everywhere."""
    with jax.enable_x64(True):
        final, seen = reference()
        _, _, _, fresh = setup("float64")
        assert int(final.step) == 3
        moved = np.abs(
            final.params["encoder"]["conv1"]["kernel"] - fresh.params["encoder"]["conv1"]["kernel"]
        )
        assert moved.max() > 1e-6
        means = final.model_state["batch_stats"]["encoder"]["bn1"]["mean"]
        assert np.abs(means).max() > 1e-3
        assert seen[0]["loss"] != seen[2]["loss"]


def exchanged(name, count, objective, tx, rate, fresh, batch):
    """What the compiled step sends between so many devices: kind, bytes, line of HLO each."""
    mapper = parallel.Mapper(name, tuple(jax.devices()[:count]))
    update = mapper.map_step(make_step(objective, tx, rate, None, seed=0))
    if name == "pmap":  # a device axis in front
        batch = jax.tree.map(
            lambda x: np.empty((count, len(x) // count, *x.shape[1:]), x.dtype), batch
        )
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (fresh, batch))
    return hlo.instructions(update.lower(*shapes).compile().as_text())


def least(fresh, embeddings):
    """Bytes no step can do without: gradients, statistics there and back, embeddings and theirs."""
    parameters, statistics = (
        sum(x.nbytes for x in jax.tree.leaves(tree)) for tree in (fresh.params, fresh.model_state)
    )
    return parameters + 2 * statistics + 2 * embeddings


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (8, "pmap"), (8, "shard_map"), pytest.param(1, "pmap", marks=pytest.mark.slow),
        pytest.param(2, "pmap", marks=pytest.mark.slow), pytest.param(4, "pmap", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_the_compiled_step_exchanges_embeddings_gradients_and_no_images(name, count):
    *parts, fresh = setup("float32")
    found = exchanged(name, count, *parts, fresh, next(batches("float32", 1)))
    gathered = [nbytes for kind, nbytes, _ in found if kind == "all-gather"]
    embeddings = BATCH * 2 * 16 * 4
    assert sum(gathered) == embeddings, "other than both views' projections are gathered"
    for _, _, line in found:
        assert f"{SIZE},{SIZE}" not in line.split("(")[0], f"an image crosses devices: {line}"
    total, fewest = sum(nbytes for _, nbytes, _ in found), least(fresh, embeddings)
    assert 0.95 * fewest < total < 1.02 * fewest, (total, fewest)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pmap", "shard_map"])
def test_bytes_exchanged_by_resnet18(name):
    """The table of docs/training.md: `pytest tests/test_training_step.py -m slow -k resnet18 -s`."""
    images, size = 512, 32  # nothing of the image's size crosses: small ones compile sooner
    encoder = build_encoder("resnet18", axis=parallel.AXIS)
    projector = build_projector("google_v1", encoder.features, axis=parallel.AXIS)
    objective = build_objective("simclr", encoder=encoder, projector=projector, temperature=0.1)
    rate = optax.constant_schedule(0.3)
    tx = optimizer.lars(rate, 1e-6)
    fresh = jax.device_get(state.create(objective, tx, seed=0, size=size))
    batch = {
        "views": np.empty((images, 2, size, size, 3), np.float32),
        "index": np.arange(images, dtype=np.int32),
    }
    fewest = least(fresh, images * 2 * 128 * 4)
    for count in (1, 2, 4, 8):
        found = exchanged(name, count, objective, tx, rate, fresh, batch)
        kinds = sorted({kind for kind, _, _ in found})
        sums = {kind: sum(n for k, n, _ in found if k == kind) for kind in kinds}
        print(f"{name} {count}: {sums}, {sum(sums.values()) / fewest:.4f} of {fewest:,}")
        assert 0.98 * fewest < sum(sums.values()) < 1.01 * fewest


def test_views_on_the_device_see_the_global_index():
    """The step hands each image's place in the global batch to the views."""
    objective, tx, rate, fresh = setup("float32")

    def views(images, step, index):
        value = (step * 100 + index).astype(jnp.float32)[:, None, None, None, None] / 1000.0
        noise = jnp.stack([images, images[:, ::-1]], 1).astype(jnp.float32) / 255.0
        return noise + value

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype(np.uint8)
    batch = {"image": images, "index": np.arange(BATCH, dtype=np.int32)}
    losses = []
    for count in (1, 8):
        mapper = parallel.Mapper("pmap", tuple(jax.devices()[:count]))
        update = mapper.map_step(make_step(objective, tx, rate, views, seed=0))
        _, metrics = update(mapper.replicate(fresh), mapper.place(batch))
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_a_batch_the_devices_cannot_share_is_refused():
    with pytest.raises(HistoError, match="100 images can't be shared equally by 8 devices .*96"):
        parallel.Mapper("pmap").check_batch(100)
    with pytest.raises(HistoError, match="nearest that can: 8"):
        parallel.Mapper("pmap").check_batch(3)
    parallel.Mapper("pmap").check_batch(64)
