"""U-Net against segmentation_models_pytorch's counts, names, init and numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_jax.errors import HistoError
from histo_jax.models import PARTS, build_encoder, build_unet
from histo_jax.models.resnet import part_of
from histo_jax.models.unet import double
from tests.test_models_resnet import golden_images, h32
from tests.test_models_resnet import golden_variables as golden_encoder

pytestmark = pytest.mark.usefixtures("quick_compile")

COUNTS = {  # decoder, whole with four classes
    "resnet18": (3_151_552, 14_328_644),
    "resnet34": (3_151_552, 24_436_804),
    "resnet50": (9_012_928, 32_521_540),
    "resnet101": (9_012_928, 51_513_668),
}


def shapes(encoder, outputs=4, **options):
    net = build_unet(encoder, outputs, **options)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(lambda key, x: net.init(key, x, train=False), jax.random.key(0), x)


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_smps(name):
    params = shapes(build_encoder(name))["params"]
    assert (size(params["decoder"]), size(params)) == COUNTS[name]
    assert size(params["segmentation_head_0"]) == 144 * 4 + 4


def test_names_are_smps_and_the_encoder_is_the_one_we_know():
    encoder = build_encoder("resnet18")
    tree = shapes(encoder)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    alone = jax.eval_shape(lambda k, x: encoder.init(k, x, train=False), jax.random.key(0), x)
    for kind in ("params", "batch_stats"):
        assert tree[kind]["encoder"] == alone[kind]
    decoder = tree["params"]["decoder"]
    assert list(decoder) == [f"blocks_{i}" for i in range(5)]
    assert set(decoder["blocks_4"]) == {"conv1_0", "conv1_1", "conv2_0", "conv2_1"}
    channels = [decoder[f"blocks_{i}"]["conv1_0"]["kernel"].shape[2:] for i in range(5)]
    assert channels == [(768, 256), (384, 128), (192, 64), (128, 32), (32, 16)]
    first = shapes(build_encoder("resnet50"))["params"]["decoder"]["blocks_0"]["conv1_0"]
    assert first["kernel"].shape == (3, 3, 3072, 256)


def test_without_skips_the_decoder_sees_the_last_layer_alone():
    decoder = shapes(build_encoder("resnet18"), 3, skips=False)["params"]["decoder"]
    channels = [decoder[f"blocks_{i}"]["conv1_0"]["kernel"].shape[2] for i in range(5)]
    assert channels == [512, 256, 128, 64, 32]


def test_init_is_smps():
    net = build_unet(build_encoder("resnet_tiny", 16), 4)
    init = jax.jit(lambda key: net.init(key, jnp.zeros((1, 32, 32, 3)), train=False)["params"])
    params = init(jax.random.key(0))
    kernel = np.array(params["decoder"]["blocks_0"]["conv1_0"]["kernel"])
    bound = np.sqrt(6 / (9 * kernel.shape[2]))  # kaiming_uniform_, fan_in, relu
    assert 0.99 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.02)
    head = params["segmentation_head_0"]
    bound = np.sqrt(6 / (9 * (4 + 4)))  # xavier_uniform_
    assert 0.9 * bound < np.abs(head["kernel"]).max() <= bound and not np.any(head["bias"])


def test_nearest_doubling():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    wanted = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    np.testing.assert_array_equal(double(x)[0, :, :, 0], wanted)


@pytest.fixture(scope="module")
def small():
    net = build_unet(build_encoder("resnet_tiny", 8), 3)
    variables = jax.jit(lambda key: net.init(key, jnp.zeros((1, 32, 32, 3)), train=False))(
        jax.random.key(1)
    )
    return net, variables


def test_the_answer_has_the_size_of_the_image(small):
    net, variables = small
    out = jax.eval_shape(
        lambda v, x: net.apply(v, x, train=False), variables, jnp.zeros((2, 64, 96, 3))
    )
    assert out.shape == (2, 64, 96, 3) and out.dtype == jnp.float32


def test_sides_that_cannot_be_halved_five_times_are_refused(small):
    net, variables = small
    with pytest.raises(HistoError, match="is 100, .* multiple of 32 .*nearest is 96"):
        net.apply(variables, jnp.zeros((1, 64, 100, 3)), train=False)


@pytest.mark.parametrize("frozen", [None, pytest.param("layer2", marks=pytest.mark.slow)])
def test_frozen_parts_keep_their_statistics_and_get_no_gradient(small, frozen):
    net, variables = small
    x = jax.random.normal(jax.random.key(2), (4, 32, 32, 3))

    def loss(params):
        out, new = net.apply(
            {**variables, "params": params}, x, True, frozen, mutable=["batch_stats"]
        )
        return jnp.mean(out**2), new["batch_stats"]

    grads, stats = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    held = PARTS[: PARTS.index(frozen) + 1] if frozen else ()
    for name in variables["params"]["encoder"]:
        still = part_of(name) in held
        moved = any(np.any(g) for g in jax.tree.leaves(grads["encoder"][name]))
        assert moved != still, name
        if name in stats["encoder"]:
            pairs = zip(
                jax.tree.leaves(stats["encoder"][name]),
                jax.tree.leaves(variables["batch_stats"]["encoder"][name]), strict=True,
            )  # fmt: skip
            assert all(np.array_equal(a, b) for a, b in pairs) == still, name
    assert all(np.any(g) for g in jax.tree.leaves(grads["decoder"]))


def test_frozen_parts_see_running_statistics():
    """Up to the frozen layer a training pass is an evaluation pass."""
    net = build_encoder("resnet_tiny", 8)
    x = 3 + jax.random.normal(jax.random.key(2), (4, 32, 32, 3))

    @jax.jit
    def run(key):
        variables = net.init(key, x, train=False)
        still = net.apply(variables, x, train=False)
        return still, net.apply(variables, x, True, "layer2", mutable=["batch_stats"])[0]

    still, out = run(jax.random.key(0))
    for part in PARTS[:3]:
        np.testing.assert_allclose(out[part], still[part], rtol=1e-6)
    assert not np.allclose(out["layer3"], still["layer3"])


def test_an_unknown_part_is_refused():
    net = build_encoder("resnet_tiny", 8)
    with pytest.raises(HistoError, match=r"freeze_to: is 'layer5' .*layer4"):
        net.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), True, "layer5")


# smp 0.6.0 on torch 2.13 in float64, filled as the goldens of ResNet: mean and standard deviation
# of all logits, and those of two pixels.
GOLDEN = {
    False: (-0.22618055119986494, 0.4646940142159427,
            (0.039694481094344175, 0.007197703175108101, -0.09344915964418991, 0.007348361570883469),
            (0.2961222925371578, -0.5592478828967558, -0.9654701180001983, 0.2674977427421636)),
    True: (-0.226203947340337, 0.6508848402745756,
           (0.4231454838573624, -0.19369319015505054, -0.09815147068679031, 0.29100468973187427),
           (-0.036144928253518324, -1.0773080632381673, -1.1217690004028995, 0.9172580228241982)),
}  # fmt: skip


def golden_variables():
    """Parameters and statistics go on where those of ResNet-18 end: 60 and 40."""
    like = shapes(build_encoder("resnet18"))
    encoder = golden_encoder("resnet18")
    params, stats = ({"encoder": encoder[k], "decoder": {}} for k in ("params", "batch_stats"))
    parameter, buffer = 60, 40

    def kernel(shape):
        kh, kw, i, o = shape
        u = h32(o * i * kh * kw, parameter).reshape(o, i, kh, kw)
        return ((u - 0.5) * np.sqrt(24 / (i * kh * kw))).transpose(2, 3, 1, 0)

    for block, modules in like["params"]["decoder"].items():
        params["decoder"][block], stats["decoder"][block] = {}, {}
        for name in ("conv1", "conv2"):
            shape = modules[f"{name}_0"]["kernel"].shape
            params["decoder"][block][f"{name}_0"] = {"kernel": kernel(shape)}
            scale, bias = (h32(shape[-1], parameter + 1 + i) for i in range(2))
            params["decoder"][block][f"{name}_1"] = {
                "scale": 0.5 + 0.5 * scale,
                "bias": 0.2 * (bias - 0.5),
            }
            mean, var = (h32(shape[-1], 5000 + buffer + i) for i in range(2))
            stats["decoder"][block][f"{name}_1"] = {"mean": 0.2 * (mean - 0.5), "var": 0.5 + var}
            parameter, buffer = parameter + 3, buffer + 2
    head = like["params"]["segmentation_head_0"]["kernel"].shape
    bias = 0.2 * (h32(head[-1], parameter + 1) - 0.5)
    params["segmentation_head_0"] = {"kernel": kernel(head), "bias": bias}
    return {"params": params, "batch_stats": stats}


@pytest.mark.parametrize("train", [False, True])
def test_numbers_are_smps(train):
    with jax.enable_x64(True):
        encoder = build_encoder("resnet18", dtype="float64", param_dtype="float64")
        net = build_unet(encoder, 4)
        run = jax.jit(lambda v, x: net.apply(v, x, train, mutable=["batch_stats"])[0])
        out = np.array(run(golden_variables(), golden_images()))
    mean, deviation, first, middle = GOLDEN[train]
    np.testing.assert_allclose([out.mean(), out.std()], [mean, deviation], rtol=1e-9)
    np.testing.assert_allclose(out[0, 0, 0], first, atol=1e-9)
    np.testing.assert_allclose(out[1, 31, 40], middle, atol=1e-9)
