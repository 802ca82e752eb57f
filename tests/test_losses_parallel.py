"""NT-Xent over devices: which form of the gradient is exact under which mapper."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from histo_jax.losses import ntxent

MODULE = sys.modules["histo_jax.losses.ntxent"]
AXIS, TEMPERATURE, DEVICES = "batch", 0.2, 8
MAPPERS = ["pmap", "shard_map", "unchecked"]  # shard_map without the vma check


def problem(dtype=np.float32, n=16):
    """A linear map to be learned, and two views of n images."""
    random = np.random.default_rng(0)
    x1 = random.normal(size=(n, 5))
    x2 = x1 + 0.5 * random.normal(size=(n, 5))
    return random.normal(size=(5, 4)).astype(dtype), x1.astype(dtype), x2.astype(dtype)


def mapped(function, mapper, devices=DEVICES):
    """Runs `function(w, x1, x2)` over devices; one result, from the first device."""
    some = jax.devices()[:devices]

    def run(w, x1, x2):
        if mapper == "pmap":
            split = [x.reshape(devices, -1, x.shape[1]) for x in (x1, x2)]
            out = jax.pmap(function, AXIS, in_axes=(None, 0, 0), devices=some)(w, *split)
            return jax.tree.map(lambda x: np.array(x)[0], out)
        mesh = Mesh(np.array(some), (AXIS,))
        specs = dict(mesh=mesh, in_specs=(P(), P(AXIS), P(AXIS)), check_vma=mapper == "shard_map")
        if mapper == "shard_map":  # out_specs=P() proves that the result is the same everywhere
            return jax.device_get(
                jax.jit(jax.shard_map(function, out_specs=P(), **specs))(w, x1, x2)
            )
        stacked = jax.shard_map(
            lambda *a: jax.tree.map(lambda x: x[None], function(*a)), out_specs=P(AXIS), **specs
        )
        return jax.tree.map(lambda x: np.array(x)[0], jax.jit(stacked)(w, x1, x2))

    return run


def truth(w, x1, x2):
    f = jax.value_and_grad(lambda w: ntxent(x1 @ w, x2 @ w, TEMPERATURE)[0])
    return jax.device_get(jax.jit(f)(w))


def step(w, x1, x2):
    """The form used in training: mean inside (by ntxent) and mean of the gradients."""
    f = jax.value_and_grad(lambda w: ntxent(x1 @ w, x2 @ w, TEMPERATURE, AXIS), has_aux=True)
    (loss, metrics), grad = f(w)
    return loss, metrics, jax.lax.pmean(grad, AXIS)


def rows(z1, z2, all1, all2, first):
    """Mean loss of rows [z1 | z2] against columns [all1 | all2], written out."""
    unit = lambda z: z / jnp.linalg.norm(z, axis=1, keepdims=True)  # noqa: E731
    n, total = z1.shape[0], all1.shape[0]
    u, columns = unit(jnp.concatenate([z1, z2])), unit(jnp.concatenate([all1, all2]))
    logits = u @ columns.T / TEMPERATURE
    one, two = first + jnp.arange(n), total + first + jnp.arange(n)
    own, partner = jnp.concatenate([one, two]), jnp.concatenate([two, one])
    index = jnp.arange(2 * total)[None, :]
    rest = jnp.where(index == own[:, None], -jnp.inf, logits)
    positive = jnp.sum(jnp.where(index == partner[:, None], logits, 0), axis=1)
    return jnp.mean(jax.nn.logsumexp(rest, axis=1) - positive)


def gather(z, stop=False):
    z = jax.lax.all_gather(z, AXIS, tiled=True)
    return jax.lax.stop_gradient(z) if stop else z


def local(w, x1, x2, stop=False):
    z1, z2 = x1 @ w, x2 @ w
    first = jax.lax.axis_index(AXIS) * z1.shape[0]
    return rows(z1, z2, gather(z1, stop), gather(z2, stop), first)


def every_row(w, x1, x2):
    all1, all2 = gather(x1 @ w), gather(x2 @ w)
    return rows(all1, all2, all1, all2, 0)


def per_shard(w, x1, x2):
    z1, z2 = x1 @ w, x2 @ w
    return rows(z1, z2, z1, z2, 0)


def form(loss, reduce, inside=lambda x: x):
    return lambda w, x1, x2: reduce(jax.grad(lambda w: inside(loss(w, x1, x2)))(w))


def pmean(x):
    return jax.lax.pmean(x, AXIS)


def psum(x):
    return jax.lax.psum(x, AXIS)


# form: (per-device gradient, factor on the truth under pmap, under shard_map with vma check);
# None: not a multiple of the truth at all.
FORMS = {
    "A local mean, gradients averaged": (form(local, pmean), 1, DEVICES),
    "B mean inside and outside": (form(local, pmean, pmean), 1, 1),
    "B3 mean inside only": (form(local, lambda g: g, pmean), None, 1),
    "C all rows everywhere": (form(every_row, pmean), 1, DEVICES),
    "gradients summed": (form(local, psum), DEVICES, DEVICES**2),
    "gathered without gradient": (form(lambda *a: local(*a, stop=True), pmean, pmean), None, None),
    "negatives of the own device only": (form(per_shard, pmean, pmean), None, None),
}


def is_multiple(got, want, factor):
    return np.allclose(got, factor * want, rtol=1e-4, atol=1e-5 * np.abs(factor * want).max())


@functools.cache
def gradients(mapper):
    """Every form's gradient under one mapper, in one compilation."""
    forms = {name: gradient for name, (gradient, _, _) in FORMS.items()}
    every = lambda *a: {name: gradient(*a) for name, gradient in forms.items()}  # noqa: E731
    return mapped(every, mapper)(*problem())


@pytest.mark.parametrize("mapper", MAPPERS)
@pytest.mark.parametrize("name", FORMS)
def test_table_of_forms(name, mapper):
    _, plain, checked = FORMS[name]
    factor = checked if mapper == "shard_map" else plain
    w, x1, x2 = problem()
    _, want = truth(w, x1, x2)
    got = gradients(mapper)[name]
    if factor is None:
        assert not is_multiple(got, want, 1), "this form is wrong; has JAX changed?"
    else:
        assert is_multiple(got, want, factor), np.mean(got / want)


@pytest.mark.parametrize(
    "devices, mapper, x64, blocks",
    [
        (1, "pmap", True, False),
        (2, "pmap", True, False),
        (2, "shard_map", True, False),
        (8, "pmap", True, False),
        (8, "shard_map", True, False),
        (8, "unchecked", True, False),
        (8, "pmap", False, False),
        (8, "shard_map", False, False),
        (8, "pmap", True, True),
        (8, "shard_map", True, True),
    ],
)
def test_ours_is_exact_on_any_number_of_devices(devices, mapper, x64, blocks, monkeypatch):
    dtype, rtol = (np.float64, 1e-10) if x64 else (np.float32, 1e-5)
    w, x1, x2 = problem(dtype)
    with jax.enable_x64(x64):
        want, want_grad = truth(w, x1, x2)
        want_metrics = jax.device_get(ntxent(x1 @ w, x2 @ w, TEMPERATURE)[1])
        if blocks:
            monkeypatch.setattr(MODULE, "LOGITS_AT_ONCE", 3 * 32)  # 3 rows of 32 columns
        loss, metrics, grad = mapped(step, mapper, devices)(w, x1, x2)
    np.testing.assert_allclose(loss, want, rtol=rtol)
    np.testing.assert_allclose(grad, want_grad, atol=rtol * np.abs(want_grad).max())
    for name, exact in want_metrics.items():
        np.testing.assert_allclose(metrics[name], exact, rtol=rtol, err_msg=name)


def test_negatives_come_from_all_devices():
    w, x1, x2 = problem()
    want, _ = truth(w, x1, x2)
    own, _ = truth(w, x1[:2], x2[:2])
    assert abs(own - want) > 0.5
    loss, _, _ = mapped(step, "pmap")(w, x1, x2)
    assert abs(loss - want) < 1e-4
