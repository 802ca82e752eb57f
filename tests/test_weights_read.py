"""Foreign files: read exactly or refused in one line, and nothing in them is ever run."""

import collections
import os
import pickle
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from histo_jax import weights
from histo_jax.errors import HistoError
from histo_jax.weights import exporting
from histo_jax.weights.names import table
from tests import torch_pickles
from tests.torch_pickles import Global, Made, Torch


def trees(encoder: str = "resnet_tiny", width: int = 4, seed: int = 0) -> tuple[dict, dict]:
    """Random params and batch_stats."""
    rng, found = np.random.default_rng(seed), {"params": {}, "batch_stats": {}}
    for leaf in table(encoder, width):
        values = rng.normal(size=leaf.shape).astype(np.float32)
        found[leaf.tree][leaf.path] = np.abs(values) + 0.5 if "var" in leaf.path else values
    nested = weights.names.nested
    return nested(found["params"]), nested(found["batch_stats"])


def torch_arrays(encoder: str = "resnet_tiny", width: int = 4, **more) -> dict[str, np.ndarray]:
    """A state dict of torchvision's names."""
    return exporting.state_dict(*trees(encoder, width), encoder, width) | more


def assert_same(loaded: weights.Weights, want: tuple[dict, dict]) -> None:
    got = loaded.params, loaded.batch_stats
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)


def refused(path, **options) -> HistoError:
    with pytest.raises(HistoError) as caught:
        weights.load(path, **options)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return caught.value


def write(folder, kind: str, arrays: dict):
    path = folder / f"weights.{kind}"
    if kind == "safetensors":
        path.write_bytes(safetensors.numpy.save(arrays))
        return path
    return torch_pickles.write(path, arrays, old=kind == "pt")


KINDS = ["safetensors", "pth", "pt"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_arrays(tmp_path, kind):
    path = write(tmp_path, kind, torch_arrays())
    loaded = weights.load(path)
    assert_same(loaded, trees())
    assert loaded.card["sha256"] == weights.digest(*trees())
    card = {
        k: loaded.card[k] for k in ("encoder", "width", "image_size", "mean", "mpp", "datasets")
    }
    assert card == {
        "encoder": "resnet_tiny", "width": 4, "image_size": 224, "mean": [0.5] * 3, "mpp": None,
        "datasets": [],
    }  # fmt: skip
    assert loaded.card["source"]["file"] == path.name
    assert weights.load(path, imagenet=True).card["std"] == [0.229, 0.224, 0.225]


def lightning(state):
    """What pytorch_lightning puts around a state dict."""
    space = Made(Global("argparse", "Namespace"))
    callback = Global("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    scalar = Made(Global("numpy.core.multiarray", "scalar"), Global("numpy", "dtype"), b"\0" * 4)
    return {
        "epoch": 1000,
        "pytorch-lightning_version": "0.9.0",
        "callbacks": {callback: {"best": scalar}},
        "hparams": space,
        "optimizer_states": [{"state": {0: {"step": 3}}}],
        "state_dict": collections.OrderedDict((f"model.resnet.{k}", v) for k, v in state.items()),
    }


@pytest.mark.parametrize(
    ("inside", "prefix"),
    [
        (lightning, ""),
        (lambda state: {"epoch": 3, "state_dict": state}, "module.encoder."),
        (lambda state: {"model": state}, "backbone."),
        (None, "encoder."),
    ],
    ids=["lightning", "state_dict", "model", "bare"],
)
def test_containers_and_prefixes(tmp_path, inside, prefix):
    arrays = {prefix + k: v for k, v in torch_arrays().items()}
    arrays["projector.0.weight"] = np.zeros((3, 3), np.float32)
    arrays[f"{prefix}fc.bias"] = np.zeros(3, np.float32)
    path = torch_pickles.write(tmp_path / "run.ckpt", arrays, inside)
    loaded = weights.load(path)
    assert_same(loaded, trees())
    ignored = {n.split(".")[-2] for n in loaded.card["source"]["ignored"]}
    assert {"fc", "0", "bn1"} <= ignored


def test_parameters_views_and_half_precision(tmp_path):
    arrays, torch = torch_arrays(), Torch()
    first = arrays["conv1.weight"]
    state = {k: torch.parameter(v) for k, v in arrays.items()}
    flat = np.concatenate([np.zeros(5, np.float32), first.transpose(3, 2, 1, 0).ravel()])
    steps = tuple(int(np.prod(first.shape[:i])) for i in range(4))
    state["conv1.weight"] = torch.tensor(flat, first.shape, steps, 5)
    for name, dtype in (("bn1.weight", np.float64), ("bn1.bias", np.float16),
                        ("bn1.running_var", ml_dtypes.bfloat16)):  # fmt: skip
        state[name] = torch.tensor(arrays[name].astype(dtype))
    loaded = weights.load(torch.write(tmp_path / "w.pth", state))
    np.testing.assert_array_equal(loaded.params["conv1"]["kernel"], first.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(loaded.params["bn1"]["scale"], arrays["bn1.weight"])
    half = arrays["bn1.bias"].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(loaded.params["bn1"]["bias"], half)
    brain = arrays["bn1.running_var"].astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(loaded.batch_stats["bn1"]["var"], brain)


def test_half_precision_in_safetensors(tmp_path):
    arrays = torch_arrays()
    low = {k: v.astype(ml_dtypes.bfloat16) if v.ndim == 4 else v for k, v in arrays.items()}
    loaded = weights.load(write(tmp_path, "safetensors", low))
    want = arrays["conv1.weight"].astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(loaded.params["conv1"]["kernel"], want.transpose(2, 3, 1, 0))


# Code in pickles.


class Evil:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_command_is_not_run(tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"state_dict": Evil(f"touch {mark}")}))
    error = refused(path)
    assert error.reason == "weights-pickle" and "posix.system" in error.what
    assert not mark.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "builtins.getattr",
        "__builtin__.__import__",
        "torch.load",
        "torch.hub.load",
        "torch._utils._rebuild_tensor_v2.__globals__",
        "collections.OrderedDict.__init__",
        "functools.partial",
        "numpy.load",
        "pathlib.os.system",
        "torchvision.models.resnet.ResNet",
    ],
)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_names_no_state_dict_needs_are_refused(tmp_path, name, old):
    made = Made(Global(*name.rsplit(".", 1)), "x")
    inside = lambda state: {"state_dict": state, "extra": made}  # noqa: E731
    path = torch_pickles.write(tmp_path / "x.pth", torch_arrays(), inside, old)
    error = refused(path)
    assert error.reason == "weights-pickle" and name in error.what


def test_stand_ins_hold_nothing_and_are_no_state_dict(tmp_path):
    attributes = Made(Global("pytorch_lightning.utilities.parsing", "AttributeDict"), {"a": 1})
    error = refused(Torch().write(tmp_path / "x.pth", attributes))
    assert error.reason == "weights-format" and "AttributeDict" in error.what


# What doesn't fit.


def test_all_that_is_wrong_is_in_one_error(tmp_path):
    arrays = torch_arrays()
    del arrays["bn1.weight"]
    arrays["conv1.weight"] = arrays["conv1.weight"][:, :1]
    arrays["layer2.0.bn1.bias"] = arrays["layer2.0.bn1.bias"].astype(np.int64)
    arrays["layer3.0.bn1.running_var"][1] = np.inf
    arrays["mystery"] = np.zeros(3, np.float32)
    arrays["encoder.layer1.0.conv1.weight"] = arrays["layer1.0.conv1.weight"]
    error = refused(write(tmp_path, "safetensors", arrays))
    assert error.reason == "weights-foreign"
    for part in (
        "6 of its arrays", "bn1.weight: is not there", "conv1.weight: has shape (4, 1, 7, 7), not (4, 3, 7, 7)",
        "layer2.0.bn1.bias: is int64", "layer3.0.bn1.running_var: holds values that are not finite",
        "mystery: unexpected", "layer1.0.conv1.weight is there twice",
    ):  # fmt: skip
        assert part in error.what, part


def test_many_problems_are_counted(tmp_path):
    arrays = {k: v for k, v in torch_arrays("resnet18").items() if not k.endswith("running_mean")}
    error = refused(write(tmp_path, "pth", arrays))
    assert "20 of its arrays" in error.what and "and 12 more" in error.what


def test_float64_beyond_float32_is_refused(tmp_path):
    arrays = torch_arrays()
    arrays["bn1.weight"] = np.full(4, 1e300)
    assert "bn1.weight: holds values that are not" in refused(write(tmp_path, "pth", arrays)).what


def test_another_architecture_is_named(tmp_path):
    path = write(tmp_path, "safetensors", torch_arrays("resnet18"))
    assert weights.load(path).card["encoder"] == "resnet18"
    error = refused(path, want="resnet50")
    assert "holds a resnet18, wanted is a resnet50" in error.what


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101"])
def test_architecture_is_found(tmp_path, name):
    loaded = weights.load(write(tmp_path, "pth", torch_arrays(name, 2)))
    assert (loaded.card["encoder"], loaded.card["width"]) == (name, 2)


def deep_stem(arrays):
    """timm's resnet50d: a stem of three, shortcuts that pool first."""
    renamed = {}
    for name, array in arrays.items():
        name = name.replace("downsample.1", "downsample.2").replace("downsample.0", "downsample.1")
        renamed["conv1.0.weight" if name == "conv1.weight" else name] = array
    return renamed


def wide(arrays):
    """torchvision's wide_resnet50_2: the names of resnet50, other shapes."""
    return {
        k: np.zeros((8, *v.shape[1:]), v.dtype) if ".conv2." in k else v for k, v in arrays.items()
    }


def deeper(arrays):
    return arrays | {"layer3.6.conv1.weight": np.zeros((2, 2, 1, 1), np.float32)}


@pytest.mark.parametrize("change", [deep_stem, wide, deeper])
def test_a_near_architecture_is_refused(tmp_path, change):
    error = refused(write(tmp_path, "safetensors", change(torch_arrays("resnet50", 2))))
    assert error.reason == "weights-foreign"
    assert "resnet50 of width 2" in error.what or "no encoder we know" in error.what


# What is no such file, or no longer.


@pytest.mark.parametrize(
    ("name", "data", "reason", "said"),
    [
        ("w.pth", b"", "weights-format", "is empty"),
        ("w.ckpt", b"\n<!DOCTYPE html><html>", "weights-format", "web page"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1\n", "weights-format", "Git LFS"),
        ("w.pth", b"\x93NUMPY", "weights-format", "neither safetensors nor"),
        ("w.pth", pickle.dumps({"a": 1}), "weights-format", "neither safetensors nor"),
        ("w.safetensors", b"\x40\0\0\0\0\0\0\0{", "weights-damaged", "cut short"),
        ("w.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "weights-damaged", "cut short"),
        ("w.pth", b"PK\x03\x04" + b"\0" * 100, "weights-damaged", "cut short"),
    ],
)
def test_what_is_no_weights_file(tmp_path, name, data, reason, said):
    path = tmp_path / name
    path.write_bytes(data)
    error = refused(path)
    assert error.reason == reason and said in error.what


def test_missing_folder_and_other_archives(tmp_path):
    assert refused(tmp_path / "nowhere.pth").reason == "missing"
    assert refused(tmp_path).reason == "weights-format"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    assert "none of torch's" in refused(tmp_path / "a.zip").what
    for root in ({}, [1], {"epoch": 3}, "text", None):
        path = Torch().write(tmp_path / "x.pth", root)
        assert refused(path).reason in ("weights-format", "weights-foreign")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated(tmp_path, kind, share):
    path = write(tmp_path, kind, torch_arrays())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert refused(path).reason == "weights-damaged"


def flipped(path, places, rng):
    """What loads with one bit wrong at each of the places in turn; None where it is refused."""
    whole = path.read_bytes()
    for at in places:
        data = bytearray(whole)
        data[at] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            yield weights.load(path)
        except HistoError:
            yield None


def test_a_flipped_bit_never_gives_other_weights(tmp_path):
    path, rng = write(tmp_path, "pth", torch_arrays()), np.random.default_rng(0)
    places = rng.integers(0, path.stat().st_size, 150)
    loaded = list(flipped(path, places, rng))
    for one in filter(None, loaded):
        assert_same(one, trees())
    assert loaded.count(None) > 75


def test_a_damaged_pickle_is_one_line(tmp_path):
    """Without zip's checksum over it: any byte may be wrong."""
    path, rng = write(tmp_path, "pt", torch_arrays()), np.random.default_rng(1)
    whole = path.read_bytes()
    for at in rng.integers(15, 6000, 300):
        data = bytearray(whole)
        data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            weights.load(path)
        except HistoError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((4,), (1,), 1), ((4,), (2,), 0), ((5,), (1,), 0), ((4,), (-1,), 3), ((4,), (0,), 9),
        ((2**40, 2**40), (0, 0), 0), ((4,), (1, 1), 0), ((4,), (1,), -1), (("a",), (1,), 0),
        ((0,), (1,), 0), (4, 1, 0),
    ],
)  # fmt: skip
def test_a_tensor_stays_in_its_storage(tmp_path, size, stride, offset):
    torch = Torch()
    state = {k: torch.tensor(v) for k, v in torch_arrays().items()}
    state["bn1.weight"] = torch.tensor(np.ones(4, np.float32), size, stride, offset)
    error = refused(torch.write(tmp_path / "w.pth", state))
    assert "bn1.weight: " in error.what and "1 of its arrays" in error.what


def test_a_storage_of_another_length_is_refused(tmp_path):
    whole = write(tmp_path, "pth", torch_arrays())
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "short.pth", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[: -4 if name.endswith("data/3") else None])
    error = refused(tmp_path / "short.pth")
    assert error.reason == "weights-damaged" and "data/3" in error.what
