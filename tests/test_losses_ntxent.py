"""NT-Xent on one device: vectors, properties, an independent oracle, the blocked form."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from histo_jax.errors import HistoError
from histo_jax.losses import ntxent

MODULE = sys.modules["histo_jax.losses.ntxent"]  # the package gives the name to the function
VECTORS = json.loads((Path(__file__).parent / "vectors" / "ntxent.json").read_text())


def value(z1, z2, temperature=0.1):
    return jax.jit(lambda a, b: ntxent(a, b, temperature)[0])(z1, z2)


def value_and_grads(z1, z2, temperature=0.1):
    f = jax.jit(jax.value_and_grad(lambda z: ntxent(*z, temperature)[0]))
    return jax.device_get(f((z1, z2)))


def metrics(z1, z2):
    return jax.device_get(jax.jit(lambda a, b: ntxent(a, b, 0.1)[1])(z1, z2))


def pairs(n, d=16, seed=0, apart=0.5, dtype=np.float32):
    """Embeddings of n images, the second view a disturbed first."""
    random = np.random.default_rng(seed)
    z1 = random.normal(size=(n, d))
    return z1.astype(dtype), (z1 + apart * random.normal(size=(n, d))).astype(dtype)


@pytest.mark.parametrize("x64", [True, False], ids=["float64", "float32"])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.5, 1.0])
def test_vectors(temperature, x64):
    want = VECTORS[f"tau_{temperature}"]
    dtype, rtol, atol = (np.float64, 1e-9, 1e-14) if x64 else (np.float32, 2e-5, 1e-6)
    z1, z2 = (np.array(VECTORS[k], dtype) for k in ("z1", "z2"))
    with jax.enable_x64(x64):
        loss, grads = value_and_grads(z1, z2, temperature)
    assert loss.dtype == dtype
    np.testing.assert_allclose(loss, want["loss_mean_2n"], rtol=rtol)
    np.testing.assert_allclose(np.concatenate(grads), want["grad_z"], rtol=rtol, atol=atol)


@pytest.mark.parametrize("half", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(half):
    z1, z2 = (jnp.array(VECTORS[k]).astype(half) for k in ("z1", "z2"))
    loss = value(z1, z2)
    assert loss.dtype == jnp.float32
    assert loss == value(z1.astype(jnp.float32), z2.astype(jnp.float32))


def test_optax_agrees():
    z1, z2 = pairs(12)
    label = jnp.tile(jnp.arange(12), 2)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        oracle = jax.jit(jax.value_and_grad(lambda z: optax.losses.ntxent(z, label, 0.1)))
        want, grad = oracle(jnp.concatenate([z1, z2]))
    loss, grads = value_and_grads(z1, z2)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    np.testing.assert_allclose(np.concatenate(grads), grad, atol=1e-5 * np.abs(grad).max())


def test_one_pair_has_nothing_to_learn():
    with jax.enable_x64(True):
        loss, grads = value_and_grads(*pairs(1, dtype=np.float64))
    assert abs(loss) < 1e-14
    np.testing.assert_allclose(np.concatenate(grads), 0, atol=1e-14)


@pytest.mark.parametrize("n, want", [(4, 1.9459101490553132), (512, 6.930494765951626)])
def test_equal_or_orthogonal_embeddings_give_log_of_the_candidates(n, want):
    same = np.ones((n, 8), np.float32)
    np.testing.assert_allclose(value(same, same), want, rtol=1e-6)
    if n == 4:
        across = np.eye(2 * n, dtype=np.float32)
        np.testing.assert_allclose(value(across[:n], across[n:]), want, rtol=1e-6)


@pytest.mark.parametrize(
    "temperature, want", [(0.1, 0.00027236248454620693), (0.5, 0.5944376642333191)]
)
def test_perfect_pairs(temperature, want):
    z = np.eye(4)
    with jax.enable_x64(True):
        np.testing.assert_allclose(value(z, z, temperature), want, rtol=1e-9)


def test_bounds():
    n = 6
    for seed in range(2):
        for temperature in (0.05, 2.0):
            loss = value(*pairs(n, seed=seed), temperature)
            low, high = (np.log1p((2 * n - 2) * np.exp(s / temperature)) for s in (-2, 2))
            assert low - 1e-5 <= loss <= high + 1e-5


def test_invariances():
    with jax.enable_x64(True):
        z1, z2 = pairs(8, dtype=np.float64)
        random = np.random.default_rng(1)
        want = value(z1, z2)
        close = lambda got: np.testing.assert_allclose(got, want, rtol=1e-12)  # noqa: E731
        close(value(z2, z1))
        order = random.permutation(8)
        close(value(z1[order], z2[order]))
        rotation = np.linalg.qr(random.normal(size=(16, 16)))[0]
        close(value(z1 @ rotation, z2 @ rotation))
        scale = random.uniform(0.1, 10, size=(8, 1))
        close(value(z1 * scale, z2))
        assert abs(value(z1, z2[order]) - want) > 0.1  # pairs matter
        _, grads = value_and_grads(z1, z2)
        radial = np.sum(np.concatenate(grads) * np.concatenate([z1, z2]), axis=1)
        np.testing.assert_allclose(radial, 0, atol=1e-12)


@pytest.mark.parametrize("what", ["identical", "zero rows", "tiny", "huge"])
@pytest.mark.parametrize("blocks", [False, True], ids=["dense", "blocks"])
def test_nothing_is_infinite(what, blocks, monkeypatch):
    if blocks:
        monkeypatch.setattr(MODULE, "LOGITS_AT_ONCE", 3 * 16)
    z1, z2 = pairs(8)
    z1, z2 = {
        "identical": (np.ones_like(z1), np.ones_like(z2)),
        "zero rows": (z1 * (np.arange(8)[:, None] > 2).astype(np.float32), z2),
        "tiny": (z1 * np.float32(1e-8), z2 * np.float32(1e-8)),
        "huge": (z1 * np.float32(1e8), z2 * np.float32(1e8)),
    }[what]
    loss, grads = value_and_grads(z1, z2, 0.05)
    assert np.isfinite(loss) and np.all(np.isfinite(grads))
    assert np.all(np.isfinite(list(metrics(z1, z2).values())))


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e-9])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(HistoError, match="temperature"):
        ntxent(jnp.ones((2, 2)), jnp.ones((2, 2)), temperature)


def test_metrics_against_numpy():
    z1, z2 = pairs(10, d=6, apart=1.5)
    u = np.concatenate([z1, z2]).astype(np.float64)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    cosine, off = u @ u.T, ~np.eye(20, dtype=bool)
    hits = np.where(off, cosine, -np.inf).argmax(axis=1) == (np.arange(20) + 10) % 20
    got = metrics(z1, z2)
    assert 0 < hits.mean() < 1
    np.testing.assert_allclose(got["top1"], hits.mean(), rtol=1e-6)
    np.testing.assert_allclose(
        got["alignment"], np.mean(np.sum((u[:10] - u[10:]) ** 2, axis=1)), rtol=1e-5
    )
    distance = np.sum((u[:, None] - u[None]) ** 2, axis=2)
    np.testing.assert_allclose(
        got["uniformity"], np.log(np.mean(np.exp(-2 * distance[off]))), rtol=1e-5
    )
    np.testing.assert_allclose(got["spread"], u.std(axis=0).mean() * 6**0.5, rtol=1e-5)


def test_metrics_tell_collapse_from_the_sphere():
    z1, z2 = pairs(2048, d=32)
    z3, _ = pairs(2048, d=32, seed=9)
    sphere = metrics(z1, z3)
    assert abs(sphere["spread"] - 1) < 0.02
    assert abs(metrics(z1, z2)["top1"] - 1) < 0.01 and sphere["top1"] < 0.01
    same = np.random.default_rng(2).normal(size=(1, 32)).astype(np.float32).repeat(64, 0)
    collapsed = metrics(same, same)
    assert collapsed["spread"] < 1e-3 and collapsed["top1"] == 0
    np.testing.assert_allclose(collapsed["uniformity"], 0, atol=1e-5)
    assert sphere["uniformity"] < -3


@pytest.mark.parametrize(
    "temperature, rtol, block",  # block: rows of the 100 at a time
    [
        (0.05, 2e-5, 7),
        (0.1, 1e-6, 7),
        (0.1, 1e-6, 1),
        (0.5, 1e-6, 50),
        (0.1, 1e-6, 99),
    ],
)
def test_blocks_equal_dense(temperature, rtol, block, monkeypatch):
    z1, z2 = pairs(50, apart=1.0)

    def everything():
        f = jax.jit(jax.value_and_grad(lambda z: ntxent(*z, temperature), has_aux=True))
        return jax.device_get(f((z1, z2)))

    (want, want_metrics), want_grads = everything()
    monkeypatch.setattr(MODULE, "LOGITS_AT_ONCE", block * 100)
    (loss, got_metrics), grads = everything()
    np.testing.assert_allclose(loss, want, rtol=rtol)
    for got, exact in zip(grads, want_grads, strict=True):
        np.testing.assert_allclose(got, exact, atol=rtol * np.abs(exact).max())
    for name, exact in want_metrics.items():
        np.testing.assert_allclose(got_metrics[name], exact, rtol=1e-6, err_msg=name)


def test_blocks_equal_dense_in_float64(monkeypatch):
    with jax.enable_x64(True):
        z1, z2 = pairs(50, dtype=np.float64)
        want, want_grads = value_and_grads(z1, z2, 0.05)
        monkeypatch.setattr(MODULE, "LOGITS_AT_ONCE", 700)
        loss, grads = value_and_grads(z1, z2, 0.05)
    np.testing.assert_allclose(loss, want, rtol=1e-12)
    np.testing.assert_allclose(grads, want_grads, atol=1e-14)


def test_blocks_need_memory_linear_in_the_batch(monkeypatch):
    def temporary(n, logits):
        monkeypatch.setattr(MODULE, "LOGITS_AT_ONCE", logits)
        z = jax.ShapeDtypeStruct((n, 64), jnp.float32)
        f = jax.jit(jax.value_and_grad(lambda z: ntxent(*z, 0.1), has_aux=True))
        return f.lower((z, z)).compile().memory_analysis().temp_size_in_bytes

    dense = temporary(2048, 2**24)
    small, large = temporary(2048, 2**18), temporary(8192, 2**18)
    assert dense > 4 * 4096**2  # at least one matrix of logits
    assert small < dense / 10
    assert large < 5 * small  # 16 times the logits


def test_large_batches_go_in_blocks():
    def loops(n):
        z = jax.ShapeDtypeStruct((n, 8), jnp.float32)
        return "scan" in str(jax.make_jaxpr(lambda a, b: ntxent(a, b, 0.1)[0])(z, z))

    assert not loops(2048)
    assert loops(2049)
