"""Projection heads: counts, precision, init."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_jax.errors import HistoError
from histo_jax.models import build_projector


def fresh(name: str, features: int, **options):
    net = build_projector(name, features, **options)
    h = jnp.ones((2, features))
    return net, jax.jit(lambda k: net.init(k, h, train=False))(jax.random.key(0))


@pytest.mark.parametrize(
    "name, features, count",
    [
        ("plain", 512, 327_680),
        ("plain", 2048, 4_456_448),
        ("google_v1", 512, 328_832),
        ("google_v1", 2048, 4_460_672),
    ],
)
def test_parameter_counts(name, features, count):
    net = build_projector(name, features)
    h = jax.ShapeDtypeStruct((1, features), jnp.float32)
    tree = jax.eval_shape(lambda k, h: net.init(k, h, train=False), jax.random.key(0), h)
    assert sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) == count


def test_google_head_normalises_its_output_and_has_no_last_shift():
    net, variables = fresh("google_v1", 32, dim=16)
    assert set(variables["params"]["bn2"]) == {"scale"}
    h = jax.random.normal(jax.random.key(1), (64, 32))
    z, new = net.apply(variables, h, train=True, mutable=["batch_stats"])
    assert z.shape == (64, 16) and set(new["batch_stats"]) == {"bn1", "bn2"}
    np.testing.assert_allclose(np.mean(z, axis=0), 0, atol=1e-5)
    assert 0.01 * 0.9 < np.std(variables["params"]["linear1"]["kernel"]) < 0.01 * 1.1


def test_plain_head_is_two_products_with_torchs_init():
    net, variables = fresh("plain", 64, dim=16)
    assert set(variables) == {"params"}
    w1, w2 = (np.array(variables["params"][f"linear{i}"]["kernel"]) for i in (1, 2))
    assert 0.99 / 8 < np.abs(w1).max() <= 1 / 8  # 1/√64
    h = np.array(jax.random.normal(jax.random.key(1), (5, 64)))
    z = net.apply(variables, h, train=True)
    np.testing.assert_allclose(z, np.maximum(h @ w1, 0) @ w2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["google_v1", "plain"])
def test_bfloat16_embeddings_and_parameters_are_float32(name):
    net, variables = fresh(name, 32, dtype="bfloat16")
    z, new = net.apply(variables, jnp.ones((2, 32)), train=True, mutable=["batch_stats"])
    leaves = jax.tree.leaves((variables, new, z))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_unknown_head_names_the_known_ones():
    with pytest.raises(HistoError, match="google_v1, plain"):
        build_projector("google_v9", 512)
