"""Micro-batches: the plain step's numbers, any number of devices, less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from histo_jax.errors import HistoError
from histo_jax.losses import ntxent
from histo_jax.training import parallel
from histo_jax.training.state import TrainState
from histo_jax.training.step import cut_in, joined, make_step
from tests import hlo, test_training_step

pytestmark = pytest.mark.usefixtures("quick_compile")

BATCH, WIDTH = 32, 5


@dataclasses.dataclass(frozen=True)
class Small:
    """Two layers on the pixels, no batch norm; `seen` counts the forward passes that updated it."""

    def embed(self, params, model_state, views, key):
        x = jnp.tanh(views.reshape(*views.shape[:2], -1) @ params["first"])
        seen = jax.lax.pmean(jnp.mean(x), parallel.AXIS)
        return x @ params["second"], {"seen": model_state["seen"] + 1, "mean": seen}

    def loss_from_embeddings(self, z, axis):
        return ntxent(z[:, 0], z[:, 1], 0.2, axis)

    def loss(self, params, model_state, views, key, axis):
        z, state = self.embed(params, model_state, views, key)
        loss, metrics = self.loss_from_embeddings(z, axis)
        return loss, (state, metrics)


def problem(batch=BATCH, hidden=7):
    """A state and a batch, float64."""
    random = np.random.default_rng(0)
    params = {
        "first": random.normal(size=(WIDTH * WIDTH * 3, hidden)),
        "second": random.normal(size=(hidden, 6)),
    }
    tx = optax.sgd(0.1)
    state = TrainState(
        np.zeros((), np.int32),
        params,
        {"seen": np.zeros(()), "mean": np.zeros(())},
        tx.init(params),
    )
    views = random.uniform(-1, 1, (batch, 2, WIDTH, WIDTH, 3))
    return tx, state, {"views": views, "index": np.arange(batch, dtype=np.int32)}


def run(parts, mapper, views=None):
    tx, state, batch = problem()
    if views:
        batch["image"] = batch.pop("views")
    step = make_step(Small(), tx, optax.constant_schedule(0.1), views, 0, parts)
    update = mapper.map_step(step)
    return jax.tree.map(np.asarray, update(mapper.replicate(state), mapper.place(batch)))


def mapper(name, count):
    return parallel.Mapper(name, tuple(jax.devices()[:count]))


@pytest.mark.parametrize(
    ("name", "count", "parts"),
    [
        ("pmap", 1, 4), ("shard_map", 8, 4), pytest.param("pmap", 8, 2, marks=pytest.mark.slow),
        pytest.param("pmap", 8, 4, marks=pytest.mark.slow),
        pytest.param("shard_map", 1, 2, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_without_batch_norm_it_is_the_plain_step(name, count, parts):
    with jax.enable_x64(True):
        want, wanted = run(1, mapper("pmap", 1))
        got, seen = run(parts, mapper(name, count))
    _, start, _ = problem()
    assert np.abs(want.params["first"] - start.params["first"]).max() > 1e-4
    for a, b in zip(jax.tree.leaves(got.params), jax.tree.leaves(want.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    for metric in wanted:
        np.testing.assert_allclose(seen[metric], wanted[metric], rtol=1e-10, err_msg=metric)
    assert (want.model_state["seen"], got.model_state["seen"]) == (1, parts)


def test_it_is_exact_under_shard_maps_check_too():
    """… which proves that the state it gives is the same on all devices."""
    with jax.enable_x64(True):
        want, _ = run(1, mapper("pmap", 1))
        tx, state, batch = problem()
        step = make_step(Small(), tx, optax.constant_schedule(0.1), None, 0, 2)
        mesh = Mesh(np.array(jax.devices()), (parallel.AXIS,))
        specs = {"in_specs": (P(), P(parallel.AXIS)), "out_specs": (P(), P()), "check_vma": True}
        got, _ = jax.jit(jax.shard_map(step, mesh=mesh, **specs))(state, batch)
        for a, b in zip(jax.tree.leaves(got.params), jax.tree.leaves(want.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_views_are_made_for_each_image_at_its_place():
    def views(images, step, index):
        return images + (step + index).astype(images.dtype)[:, None, None, None, None] / 100.0

    with jax.enable_x64(True):
        _, want = run(1, mapper("pmap", 1), views)
        _, got = run(2, mapper("pmap", 8), views)
        _, other = run(1, mapper("pmap", 1))
    np.testing.assert_allclose(got["loss"], want["loss"], rtol=1e-10)
    assert abs(got["loss"] - other["loss"]) > 1e-6


def test_gradients_cross_devices_once_however_many_parts():
    tx, state, batch = problem()
    state, batch = jax.tree.map(
        lambda x: np.asarray(x, np.float32 if x.dtype == float else None), (state, batch)
    )
    embeddings, sent = BATCH * 2 * 6 * 4, []
    for parts in (1, 4):
        update = mapper("pmap", 8).map_step(
            make_step(Small(), tx, optax.constant_schedule(0.1), None, 0, parts)
        )
        given = mapper("pmap", 8).replicate(state), mapper("pmap", 8).place(batch)
        text = update.lower(*given).compile().as_text()
        sent.append(sum(hlo.collectives(text).values()))
    assert sent[0] < sent[1] <= sent[0] + embeddings + 64  # the gradient of embeddings, scalars


def test_cards_are_dealt_and_gathered_again():
    x = np.arange(24).reshape(12, 2)
    assert cut_in(3, x)[1, :, 0].tolist() == [2, 8, 14, 20]
    np.testing.assert_array_equal(joined(cut_in(3, x)), x)


def tiny(parts, count):
    """Compiled SimCLR with batch norm on so many devices, and what it takes."""
    objective, tx, rate, fresh = test_training_step.setup("float32")
    some = mapper("pmap", count)
    update = some.map_step(make_step(objective, tx, rate, None, 0, parts))
    given = some.replicate(fresh), some.place(next(test_training_step.batches("float32", 1)))
    return update.lower(*given).compile(), given, objective


@pytest.mark.slow
def test_with_batch_norm_devices_still_change_nothing_and_parts_update_in_turn():
    one, given, objective = tiny(2, 1)
    pair = np.asarray(given[1]["views"])[0]
    state = jax.tree.map(np.asarray, given[0].model_state)
    params = jax.tree.map(np.asarray, given[0].params)
    plain = jax.pmap(
        lambda v, s: objective.embed(params, s, v, jax.random.key(0))[1],
        parallel.AXIS, in_axes=(0, None), out_axes=None, devices=jax.devices()[:1],
    )  # fmt: skip
    for part in cut_in(2, pair):
        state = plain(part[None], state)
    (now, seen), (eight, given8, _) = one(*given), tiny(2, 8)
    for a, b in zip(jax.tree.leaves(now.model_state), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    _, other = eight(*given8)
    np.testing.assert_allclose(other["loss"], seen["loss"], rtol=1e-5)
    np.testing.assert_allclose(other["gradient_norm"], seen["gradient_norm"], rtol=1e-4)


def temporaries(compiled):
    return compiled.memory_analysis().temp_size_in_bytes


def test_more_parts_take_less_memory():
    tx, state, batch = problem(batch=128, hidden=2048)
    taken, one = [], mapper("pmap", 1)
    for parts in (1, 2, 8):
        step = make_step(Small(), tx, optax.constant_schedule(0.1), None, 0, parts)
        lowered = one.map_step(step).lower(one.replicate(state), one.place(batch))
        taken.append(temporaries(lowered.compile()))
    assert taken[1] < 0.7 * taken[0] and taken[2] < 0.4 * taken[0], taken


@pytest.mark.slow
def test_more_parts_of_a_network_take_less_memory():
    taken = [temporaries(tiny(parts, 1)[0]) for parts in (1, 4)]
    assert taken[1] < 0.6 * taken[0], taken


def test_what_can_not_be_cut_is_refused():
    told = "48 images can't be shared equally by 8 devices, 4 micro-batches each .*: 64"
    with pytest.raises(HistoError, match=told):
        parallel.Mapper("pmap").check_batch(48, 4)
    parallel.Mapper("pmap").check_batch(64, 4)
    with pytest.raises(HistoError, match="micro_batches: is 2, but the objective gives no embed"):
        make_step(object(), None, None, None, 0, 2)
