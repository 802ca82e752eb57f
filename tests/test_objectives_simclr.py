"""SimCLR: the same numbers on any number of devices, and what crosses between them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from histo_jax.errors import HistoError
from histo_jax.losses import ntxent
from histo_jax.models import build_encoder, build_projector
from histo_jax.objectives import OBJECTIVES, SimCLR, build_objective

AXIS, SIZE = "batch", 32


def objective(axis, dtype="float32", projector="google_v1", param_dtype=None):
    wide = param_dtype or dtype
    encoder = build_encoder("resnet_tiny", 8, dtype, wide, axis)
    head = build_projector(projector, encoder.features, 16, dtype, wide, axis)
    return build_objective("simclr", encoder=encoder, projector=head, temperature=0.2)


def views(n, dtype=np.float32):
    random = np.random.default_rng(0)
    one = random.uniform(-0.7, 0.7, size=(n, 1, SIZE, SIZE, 3))
    return (one + random.uniform(-0.3, 0.3, size=(n, 2, SIZE, SIZE, 3))).astype(dtype)


def fresh(task, dtype=np.float32):
    """Parameters and state, drawn by numpy: compiling `init` takes longer than the step."""
    random = np.random.default_rng(0)
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), dtype)
    params, state = jax.eval_shape(task.init, jax.random.key(0), image)

    def draw(leaf):
        law = random.normal(size=leaf.shape) / np.sqrt(max(1, np.prod(leaf.shape[:-1])))
        return (law if leaf.ndim > 1 else 1 + 0.1 * random.normal(size=leaf.shape)).astype(dtype)

    return jax.tree.map(draw, params), jax.tree.map(lambda x: np.ones(x.shape, dtype), state)


def step(task, axis):
    """Loss, metrics, new statistics and gradient, as training computes them."""

    def run(params, model_state, pair):
        f = jax.value_and_grad(
            lambda p: task.loss(p, model_state, pair, jax.random.key(1), axis), has_aux=True
        )
        (loss, (state, metrics)), grads = f(params)
        return loss, metrics, state, jax.lax.pmean(grads, axis) if axis else grads

    return run


def over_devices(task, mapper, devices):
    some, run = jax.devices()[:devices], step(task, AXIS)
    if mapper == "pmap":
        f = jax.pmap(run, AXIS, in_axes=(None, None, 0), out_axes=None, devices=some)
        return lambda p, s, v: f(p, s, v.reshape(devices, -1, *v.shape[1:]))
    mesh = Mesh(np.array(some), (AXIS,))
    return jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(P(), P(), P(AXIS)), out_specs=P()))


def close(got, want, rtol):
    """Each leaf to `rtol` of the largest value of its kind."""
    paths = jax.tree.leaves_with_path(want)
    for (path, exact), leaf in zip(paths, jax.tree.leaves(got), strict=True):
        scale = np.abs(exact).max() + 1e-6
        np.testing.assert_allclose(
            leaf, exact, rtol=0, atol=rtol * scale, err_msg=jax.tree_util.keystr(path)
        )


@pytest.fixture(scope="module")
def truth():
    """Sixteen pairs on one device in float64."""
    with jax.enable_x64(True):
        task = objective(None, "float64")
        params, state = fresh(task, np.float64)
        result = jax.jit(step(task, None))(params, state, views(16, np.float64))
        return jax.device_get((params, state, result))


@pytest.fixture(scope="module")
def one_device():
    """The float32 step on one device, compiled once."""
    return jax.jit(step(objective(None), None))


@pytest.mark.parametrize(
    "devices, mapper",
    [
        (8, "pmap"),
        pytest.param(8, "shard_map", marks=pytest.mark.slow),
        pytest.param(2, "shard_map", marks=pytest.mark.slow),
    ],
)
def test_any_number_of_devices_gives_the_same_numbers(devices, mapper, truth):
    params, state, want = truth
    with jax.enable_x64(True):
        task = objective(AXIS, "float64")
        got = jax.device_get(
            over_devices(task, mapper, devices)(params, state, views(16, np.float64))
        )
    close(got, want, 1e-10)


@pytest.mark.slow
def test_float32_on_eight_devices(truth, one_device):
    params, state, want = truth
    params, state = jax.tree.map(np.float32, (params, state))
    got = over_devices(objective(AXIS), "pmap", 8)(params, state, views(16))
    close(got[:3], want[:3], 1e-4)
    one = one_device(params, state, views(16))
    close(got[0], one[0], 1e-5)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(one[3])))
    for a, b in zip(jax.tree.leaves(got[3]), jax.tree.leaves(one[3]), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * norm)


def test_both_views_share_one_forward_pass(truth):
    params, state, want = truth
    pair = views(16, np.float64)
    with jax.enable_x64(True):
        task = objective(None, "float64")

        def by_hand(params):
            images = jnp.concatenate([pair[:, 0], pair[:, 1]])
            variables = {
                "params": params["encoder"],
                "batch_stats": state["batch_stats"]["encoder"],
            }
            out, new = task.encoder.apply(variables, images, train=True, mutable=["batch_stats"])
            head = {"params": params["projector"], "batch_stats": state["batch_stats"]["projector"]}
            z, _ = task.projector.apply(head, out["pooled"], train=True, mutable=["batch_stats"])
            return ntxent(z[:16], z[16:], 0.2)[0], new

        loss, new = jax.jit(by_hand)(params)
    np.testing.assert_allclose(want[0], loss, rtol=1e-12)
    close(want[2]["batch_stats"]["encoder"], new["batch_stats"], 1e-12)


def test_devices_exchange_embeddings_and_no_images():
    task = objective(AXIS)
    params, state = jax.eval_shape(
        task.init, jax.random.key(0), jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    )
    pair = jax.ShapeDtypeStruct((16, 2, SIZE, SIZE, 3), jnp.float32)
    text = over_devices(task, "shard_map", 8).lower(params, state, pair).compile().as_text()
    gathered = re.findall(r"= (\S+\[[\d,]*\])\S* all-gather(?:-start)?\(", text)
    assert gathered and set(gathered) == {"f32[16,16]"}  # each view's [N, d]


def test_state_has_the_shape_that_others_rely_on(one_device):
    params, state = fresh(objective(None))
    assert set(params) == {"encoder", "projector"}
    assert set(state) == {"batch_stats"}
    assert set(state["batch_stats"]) == {"encoder", "projector"}
    _, metrics, new, _ = one_device(params, state, views(16))
    assert set(metrics) == {"top1", "alignment", "uniformity", "spread"}
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, state)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), new, state)
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("projector, dtype", [("plain", "float32"), ("google_v1", "bfloat16")])
def test_other_heads_and_precisions_keep_the_state_float32(projector, dtype):
    task = objective(None, dtype, projector, "float32")
    shape = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    params, state = jax.eval_shape(task.init, jax.random.key(0), shape)
    pair = jax.ShapeDtypeStruct((4, 2, SIZE, SIZE, 3), jnp.float32)
    out = jax.eval_shape(step(task, None), params, state, pair)
    assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {jnp.dtype("float32")}
    assert jax.tree.structure(out[2]) == jax.tree.structure(state)
    assert state["batch_stats"].keys() == {"encoder", "projector"}


def test_a_few_steps_pull_pairs_together(one_device):
    params, state = fresh(objective(None))
    pair = views(16)
    losses = []
    for _ in range(12):
        loss, _, state, grads = one_device(params, state, pair)
        params = jax.tree.map(lambda p, g: p - 0.05 * g, params, grads)
        losses.append(float(loss))
    assert losses[-1] < losses[0] - 0.1, losses


def test_table():
    assert OBJECTIVES["simclr"][0] is SimCLR
    with pytest.raises(HistoError, match="simclr"):
        build_objective("byol", encoder=None, projector=None, temperature=0.1)
