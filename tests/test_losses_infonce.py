"""InfoNCE and the context network of CPC."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from histo_jax.losses import infonce
from histo_jax.models import Context

MODULE = sys.modules["histo_jax.losses.infonce"]


@pytest.mark.parametrize(("scale", "want"), [(0.1, 1.7969426675067897), (1.0, 1.9147742940377999)])
def test_vector(scale, want):
    with jax.enable_x64(True):
        said = np.array([[0.5, 0.2], [0.1, -0.3], [0.7, 0.7], [0.2, 0.1]])
        known = np.array([[1, 0], [0, 1], [1, 1], [-1, 0.5], [0.3, -0.2], [2, 0]])
        loss, _ = infonce(
            jnp.asarray(scale * said), jnp.asarray(known), jnp.arange(2, 6, dtype=jnp.int32)
        )
        np.testing.assert_allclose(loss, want, rtol=1e-12)


def test_equal_logits_cost_the_logarithm_of_all_and_find_nothing():
    f = jax.jit(infonce)
    loss, metrics = f(jnp.zeros((5, 3)), jnp.ones((7, 3)), jnp.arange(5, dtype=jnp.int32))
    np.testing.assert_allclose(loss, np.log(7), rtol=1e-6)
    assert metrics["top1"] == 0 and metrics["spread"] < 1e-6
    known = jnp.eye(8)
    loss, metrics = f(50 * known, known, jnp.arange(8, dtype=jnp.int32))
    assert loss < 1e-6 and metrics["top1"] == 1 and metrics["spread"] > 0.9


def problem(dtype=np.float64):
    random = np.random.default_rng(0)
    said, known = random.normal(size=(16, 6)), random.normal(size=(24, 6))
    own = np.concatenate([np.arange(2) + 1 + 3 * i for i in range(8)]).astype(np.int32)
    return said.astype(dtype), known.astype(dtype), own


@pytest.mark.parametrize("blocks", [False, True], ids=["dense", "blocks"])
@pytest.mark.parametrize("mapper", ["pmap", "shard_map"])
def test_eight_devices_give_the_loss_and_gradient_of_one(blocks, mapper, monkeypatch):
    with jax.enable_x64(True):
        said, known, own = problem()
        f = jax.value_and_grad(lambda w: infonce(said @ w, known @ w, own), has_aux=True)
        w = jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)))
        (want, want_metrics), want_grad = jax.jit(f)(w)
        if blocks:
            monkeypatch.setattr(MODULE, "LOGITS_AT_ONCE", 24)

        def step(w, said, known, own):
            f = jax.value_and_grad(lambda w: infonce(said @ w, known @ w, own, "b"), has_aux=True)
            (loss, metrics), grad = f(w)
            return loss, metrics, jax.lax.pmean(grad, "b")

        local = np.tile(own[:2], 8)  # places among a device's own targets
        if mapper == "pmap":
            args = [x.reshape(8, -1, *x.shape[1:]) for x in (said, known, local)]
            got = jax.pmap(step, "b", in_axes=(None, 0, 0, 0), out_axes=None)(w, *args)
        else:
            mesh, spec = Mesh(np.array(jax.devices()), ("b",)), jax.sharding.PartitionSpec
            specs = {"in_specs": (spec(), *[spec("b")] * 3), "out_specs": spec()}
            got = jax.jit(jax.shard_map(step, mesh=mesh, **specs))(w, said, known, local)
    np.testing.assert_allclose(got[0], want, rtol=1e-12)
    np.testing.assert_allclose(got[2], want_grad, atol=1e-13)
    for name, value in want_metrics.items():
        np.testing.assert_allclose(got[1][name], value, rtol=1e-10, err_msg=name)


@pytest.fixture(scope="module")
def context():
    """A small one in its numpy-drawn parameters, as a function of the grid."""
    net = Context(step=2, hidden=8, dim=4, blocks=2)
    grid = jax.ShapeDtypeStruct((1, 7, 7, 6), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), grid)
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: 0.5 * random.normal(size=x.shape).astype(np.float32), params)
    return jax.jit(lambda z: net.apply(params, z))


@pytest.mark.parametrize("row", [0, 3, 6])
def test_no_row_hears_of_rows_below(context, row):
    grid = np.random.default_rng(1).normal(size=(2, 7, 7, 6)).astype(np.float32)
    said, known = map(np.asarray, context(grid))
    assert said.shape == (2, 5, 7, 4) and known.shape == (2, 7, 7, 4)
    other = grid.copy()  # the first may still be read
    other[:, row] += 1
    moved, seen = map(np.asarray, context(other))
    np.testing.assert_array_equal(moved[:, :row], said[:, :row])  # to the bit
    if row < 5:
        assert np.abs(moved[:, row] - said[:, row]).min() > 0
        assert np.abs(moved[:, row:] - said[:, row:]).max() > 0
    others = [r for r in range(7) if r != row]
    np.testing.assert_array_equal(seen[:, others], known[:, others])  # targets are of their patch


def test_a_row_hears_of_rows_above(context):
    def lowest(z):
        return context(z)[0][0, -1].sum()

    grid = jnp.asarray(np.random.default_rng(2).normal(size=(1, 7, 7, 6)), jnp.float32)
    heard = np.abs(jax.grad(lowest)(grid))[0].sum((1, 2))
    assert (heard[2:5] > 0).all()  # two blocks: its own row and two above
    np.testing.assert_array_equal(heard[5:], 0)
