"""ResNet against torchvision's numbers (tests/vectors/resnet.json), and its own promises."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from histo_jax.errors import HistoError
from histo_jax.models import ENCODERS, ResNet, build_encoder
from histo_jax.models.norms import batch_norm, layer_norm
from histo_jax.models.resnet import Block

VECTORS = json.loads((Path(__file__).parent / "vectors" / "resnet.json").read_text())
COUNTS = {  # parameters without fc, BN scale + bias, parameter tensors, running tensors
    "resnet18": (11_176_512, 9_600, 60, 40),
    "resnet34": (21_284_672, 17_024, 108, 72),
    "resnet50": (23_508_032, 53_120, 159, 106),
    "resnet101": (42_500_160, 105_344, 312, 208),
}


def h32(count: int, stream: int) -> np.ndarray:
    """The integer hash the vectors were made with: float64 [count] in [0, 1)."""
    mask = np.uint64(0xFFFFFFFF)
    h = np.arange(count, dtype=np.uint64) + np.uint64(1 + stream * 1_000_003) & mask
    for _ in range(2):
        h ^= h >> np.uint64(16)
        h = h * np.uint64(0x45D9F3B) & mask
    h ^= h >> np.uint64(16)
    return h.astype(np.float64) / 2**32


def shapes(name: str, **options) -> dict:
    """The variables' shapes, nothing computed."""
    net = build_encoder(name, **options)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(lambda key, x: net.init(key, x, train=False), jax.random.key(0), x)


def modules(name: str) -> list[tuple[str, str]]:
    """Convolutions and norms in torchvision's order, as (block or "", name)."""
    stages, bottleneck = ENCODERS[name]
    found = [("", "conv1"), ("", "bn1")]
    for stage, blocks in enumerate(stages, 1):
        for block in range(blocks):
            where = f"layer{stage}_{block}"
            for i in range(1, 4 if bottleneck else 3):
                found += [(where, f"conv{i}"), (where, f"bn{i}")]
            if block == 0 and (stage > 1 or bottleneck):
                found += [(where, "downsample_0"), (where, "downsample_1")]
    return found


def golden_variables(name: str) -> dict:
    """Weights filled by hash in torchvision's parameter order."""
    like = shapes(name)
    params, stats = {}, {}
    parameter = buffer = 0

    def put(tree: dict, block: str, module: str, value: dict) -> None:
        (tree.setdefault(block, {}) if block else tree)[module] = value

    for block, module in modules(name):
        expected = like["params"][block][module] if block else like["params"][module]
        if "kernel" in expected:
            kh, kw, i, o = expected["kernel"].shape
            u = h32(o * i * kh * kw, parameter).reshape(o, i, kh, kw)
            kernel = (u - 0.5) * np.sqrt(24 / (i * kh * kw))
            put(params, block, module, {"kernel": kernel.transpose(2, 3, 1, 0)})
            parameter += 1
        else:
            (c,) = expected["scale"].shape
            scale, bias = 0.5 + 0.5 * h32(c, parameter), 0.2 * (h32(c, parameter + 1) - 0.5)
            put(params, block, module, {"scale": scale, "bias": bias})
            mean, var = 0.2 * (h32(c, 5000 + buffer) - 0.5), 0.5 + h32(c, 5001 + buffer)
            put(stats, block, module, {"mean": mean, "var": var})
            parameter, buffer = parameter + 2, buffer + 2
    return {"params": params, "batch_stats": stats}


def golden_images() -> np.ndarray:
    return 2 * h32(2 * 64 * 64 * 3, 9999).reshape(2, 64, 64, 3) - 1


def test_hash_is_the_one_of_the_vectors():
    np.testing.assert_allclose(
        h32(4, 0), [0.19197247, 0.40099446, 0.87388338, 0.80198891], atol=1e-8
    )
    np.testing.assert_allclose(h32(3, 7), [0.85693821, 0.26264867, 0.456684], atol=1e-8)
    np.testing.assert_allclose(
        golden_images()[0, 0, 0], [0.74124972, 0.57413087, -0.04567957], atol=1e-8
    )


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_torchvisions(name):
    tree = shapes(name)
    size = lambda leaves: sum(leaf.size for leaf in leaves)  # noqa: E731
    leaves = jax.tree.leaves(tree["params"])
    norms = [leaf for leaf in leaves if leaf.ndim == 1]
    running = jax.tree.leaves(tree["batch_stats"])
    assert (size(leaves), size(norms), len(leaves), len(running)) == COUNTS[name]
    assert size(running) == size(norms)


@pytest.mark.parametrize("name", COUNTS)
def test_names_are_torchvisions(name):
    here = {
        ("" if len(path) == 2 else path[0].key, path[-2].key)
        for path, _ in jax.tree.leaves_with_path(shapes(name)["params"])
    }
    assert here == set(modules(name))
    torch = VECTORS[name.removeprefix("resnet")]["param_names_in_order"]
    kinds = {"conv": ("weight",), "down": ("weight",), "bn": ("weight", "bias")}
    mine = []
    for block, module in modules(name):
        kind = "bn" if module.startswith("bn") or module == "downsample_1" else module[:4]
        stem = f"{block.replace('_', '.')}.{module.replace('_', '.')}".lstrip(".")
        mine += [f"{stem}.{part}" for part in kinds[kind]]
    assert mine[: len(torch)] == torch


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50",
        pytest.param("resnet34", marks=pytest.mark.slow),
        pytest.param("resnet101", marks=pytest.mark.slow),
    ],
)
def test_features_are_torchvisions(name, train):
    with jax.enable_x64(True):
        net = build_encoder(name, dtype="float64", param_dtype="float64")
        apply = jax.jit(lambda v, x: net.apply(v, x, train=train, mutable=["batch_stats"])[0])
        out = jax.device_get(apply(golden_variables(name), golden_images()))
    want = VECTORS[name.removeprefix("resnet")]["train" if train else "eval"]
    pooled = out["pooled"]
    assert pooled.shape == (2, net.features)
    np.testing.assert_allclose(pooled[0, :16], want["first16"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(pooled.mean(), want["mean"], rtol=1e-9)
    np.testing.assert_allclose(pooled.std(), want["std"], rtol=1e-9)
    if train:
        return
    np.testing.assert_allclose(pooled[1, -8:], want["row1_last8"], rtol=1e-9, atol=1e-12)
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        golden, got = want["stages"][stage], out[stage]
        _, c, h, w = golden["shape_nchw"]
        assert got.shape == (2, h, w, c)
        np.testing.assert_allclose(got.mean(), golden["mean"], rtol=1e-9)
        np.testing.assert_allclose(got.std(), golden["std"], rtol=1e-9)
        n = len(golden["n0_c0"])
        np.testing.assert_allclose(got[0, :, :, 0].ravel()[:n], golden["n0_c0"], rtol=1e-9)
    assert out["stem"].shape == (2, 32, 32, 64)
    pool = want["stages"]["maxpool"]
    pooled = nn.max_pool(out["stem"], (3, 3), (2, 2), ((1, 1), (1, 1)))
    np.testing.assert_allclose(pooled.mean(), pool["mean"], rtol=1e-6)


def test_float32_features_agree_with_float64():
    net = build_encoder("resnet18")
    variables = jax.tree.map(np.float32, golden_variables("resnet18"))
    out = jax.jit(lambda v, x: net.apply(v, x, train=False))(
        variables, golden_images().astype("f4")
    )
    want = np.array(VECTORS["18"]["eval"]["first16"])
    np.testing.assert_allclose(out["pooled"][0, :16], want, atol=1e-5 * want.max())


def test_init_is_torchvisions_law():
    block = Block(64, 2, False, jnp.float32, jnp.float32, None)
    init = jax.jit(lambda key: block.init(key, jnp.zeros((1, 4, 4, 32)), train=False))
    params = init(jax.random.key(0))["params"]
    for name, fan_out in [("conv1", 9 * 64), ("conv2", 9 * 64), ("downsample_0", 64)]:
        # √(2 / fan out) within four standard errors; a truncated normal has no such maximum
        kernel, std = params[name]["kernel"], np.sqrt(2 / fan_out)
        assert abs(np.std(kernel) / std - 1) < 4 / np.sqrt(2 * kernel.size)
        assert np.max(np.abs(kernel)) > 2.5 * std
    assert np.all(params["bn2"]["scale"] == 1)  # no zero-init of the last norm
    assert np.all(params["bn2"]["bias"] == 0)


class OneNorm(nn.Module):
    axis: str | None = None

    @nn.compact
    def __call__(self, x, train):
        return batch_norm(x, train, name="bn", param_dtype=jnp.float32, axis=self.axis)


def test_running_variance_is_the_biased_one():
    x = jnp.array([[0.0, 1], [2, 3], [4, 5], [6, 7]])
    net = OneNorm()
    variables = net.init(jax.random.key(0), x, train=False)
    y, new = net.apply(variables, x, train=True, mutable=["batch_stats"])
    stats = new["batch_stats"]["bn"]
    np.testing.assert_allclose(stats["mean"], [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(stats["var"], [1.4, 1.4], rtol=1e-6)  # torch: 1.566667
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-6)


def test_variance_survives_a_large_mean():
    x = 10_000 + jnp.array([[0.0], [0.5], [1.0], [1.5]])
    net = OneNorm()
    variables = net.init(jax.random.key(0), x, train=False)
    y, new = net.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(new["batch_stats"]["bn"]["var"], 0.9 + 0.1 * 0.3125, rtol=1e-6)
    np.testing.assert_allclose(np.std(y), 1, rtol=1e-4)


@pytest.mark.parametrize("devices", [2, 8])
@pytest.mark.parametrize("mapper", ["pmap", "shard_map", "shard_map-unchecked"])
def test_statistics_are_global(devices, mapper):
    x = jax.random.normal(jax.random.key(1), (16, 4, 4, 3)) * 3 + jnp.arange(16.0).reshape(
        16, 1, 1, 1
    )
    single, net = OneNorm(), OneNorm(axis="batch")
    variables = single.init(jax.random.key(0), x, train=False)
    want_y, want = single.apply(variables, x, train=True, mutable=["batch_stats"])

    def step(variables, x):
        return net.apply(variables, x, train=True, mutable=["batch_stats"])

    some = jax.devices()[:devices]
    if mapper == "pmap":
        mapped = jax.pmap(step, "batch", in_axes=(None, 0), out_axes=(0, None), devices=some)
        y, got = mapped(variables, x.reshape(devices, -1, 4, 4, 3))
    else:
        y, got = jax.shard_map(
            step,
            mesh=Mesh(np.array(some), ("batch",)),
            in_specs=(P(), P("batch")),
            out_specs=(P("batch"), P()),
            check_vma=mapper == "shard_map",
        )(variables, x)
    np.testing.assert_allclose(y.reshape(x.shape), want_y, rtol=1e-5, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(
            got["batch_stats"]["bn"][name], want["batch_stats"]["bn"][name], rtol=1e-6
        )


def test_bfloat16_keeps_parameters_statistics_and_pooled_output_wide():
    net = build_encoder("resnet_tiny", width=8, dtype="bfloat16")
    x = jax.random.uniform(jax.random.key(1), (4, 32, 32, 3), minval=-1, maxval=1)
    random = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda v: (
            0.1 * random.normal(size=v.shape) if v.ndim > 1 else 1 + random.uniform(size=v.shape)
        ).astype(v.dtype),
        shapes("resnet_tiny", width=8, dtype="bfloat16"),
    )

    def loss(params):
        out, new = net.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.sum(out["pooled"] ** 2), (out, new)

    grads, _ = jax.eval_shape(jax.grad(loss, has_aux=True), variables["params"])
    _, (out, new) = jax.jit(loss)(variables["params"])
    wide = {leaf.dtype for leaf in jax.tree.leaves((variables, new, grads))}
    assert wide == {jnp.dtype("float32")}
    assert out["pooled"].dtype == jnp.float32
    assert {out[f"layer{i}"].dtype for i in range(1, 5)} == {jnp.dtype("bfloat16")}
    net = build_encoder("resnet_tiny", width=8)
    exact = jax.jit(lambda v: net.apply(v, x, train=True, mutable=["batch_stats"])[0])(variables)
    difference = np.abs(out["pooled"] - exact["pooled"]).max()
    assert 0 < difference < 0.05 * np.abs(exact["pooled"]).max()


@pytest.mark.parametrize(
    "name, width, features",
    [("resnet18", 64, 512), ("resnet50", 64, 2048), ("resnet18", 16, 128), ("resnet_tiny", 8, 64)],
)
def test_features_is_the_pooled_width(name, width, features):
    net = build_encoder(name, width)
    assert net.features == features
    variables = shapes(name, width=width)
    x = jax.ShapeDtypeStruct((3, 96, 64, 3), jnp.float32)
    out = jax.eval_shape(lambda v, x: net.apply(v, x, train=False), variables, x)
    assert out["pooled"].shape == (3, features)
    assert [out[k].shape[1:3] for k in ("stem", "layer1", "layer4")] == [(48, 32), (24, 16), (3, 2)]


def test_unknown_encoder_names_the_known_ones():
    with pytest.raises(HistoError, match="resnet19.*resnet18, resnet34, resnet50, resnet101"):
        build_encoder("resnet19")


@pytest.mark.slow
def test_remat_changes_memory_and_nothing_else():
    """Names, loss, gradients and statistics are those without; temporaries of the step are fewer."""
    random, found = np.random.default_rng(0), []
    x = random.uniform(-1, 1, (1, 16, 64, 64, 3))
    with jax.enable_x64(True):
        for remat in (False, True):
            # Blocks of one stage, so that their insides add up; an axis, as in the step: XLA for
            # CPU merges what is computed again with the first time, but for exchanges.
            net = ResNet((6,), True, 8, jnp.float64, jnp.float64, axis="d", remat=remat)
            start = functools.partial(net.init, jax.random.key(0), x[0], train=False)
            values = np.random.default_rng(1)
            variables = jax.tree.map(
                lambda s, r=values: r.normal(1, 0.1, s.shape) / max(1, s.size) ** 0.25,
                jax.eval_shape(start),
            )

            def loss(params, stats, x, net=net):
                given = {"params": params, "batch_stats": stats}
                out, new = net.apply(given, x, train=True, mutable=["batch_stats"])
                return jnp.sum(out["pooled"] ** 2), new

            step = jax.pmap(
                jax.value_and_grad(loss, has_aux=True), "d",
                in_axes=(None, None, 0), out_axes=None, devices=jax.devices()[:1],
            )  # fmt: skip
            given = variables["params"], variables["batch_stats"], x
            compiled = step.lower(*given).compile()
            found.append((step(*given), compiled.memory_analysis().temp_size_in_bytes))
    (plain, taken), (again, fewer) = found
    assert jax.tree.structure(plain) == jax.tree.structure(again)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-8, atol=1e-10 * np.abs(a).max())
    assert fewer < 0.8 * taken, (fewer, taken)


class OneLayerNorm(nn.Module):
    @nn.compact
    def __call__(self, x):
        return layer_norm(x, name="norm", param_dtype=jnp.float32)


def test_layer_norm_is_of_each_image_alone():
    """As torch's GroupNorm with one group: over (h, w, c), then scale and shift by channel."""
    x = 5 + 3 * np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    scale, bias = np.arange(6, dtype=np.float32), np.linspace(-1, 1, 6, dtype=np.float32)
    got = OneLayerNorm().apply({"params": {"norm": {"scale": scale, "bias": bias}}}, x)
    mean, var = x.mean((1, 2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True)
    want = (x - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(got, want * scale + bias, atol=1e-5)


def test_an_encoder_with_layer_norm_keeps_no_statistics():
    plain, layer = (build_encoder(name, width=8) for name in ("resnet_tiny", "resnet_tiny_ln"))
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = [
        jax.eval_shape(lambda k, x, n=net: n.init(k, x, train=False), jax.random.key(0), image)
        for net in (plain, layer)
    ]
    assert shapes[0]["params"] == shapes[1]["params"]
    assert set(shapes[1]) == {"params"} and plain.features == layer.features
