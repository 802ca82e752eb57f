"""Exports: bit-equal when read again, torchvision's numbers, and plain torch loads them."""

import re
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
import safetensors.numpy

from histo_jax import weights
from histo_jax.errors import HistoError
from histo_jax.models import ENCODERS
from histo_jax.training import checkpoint
from histo_jax.weights import check
from histo_jax.weights.names import table
from tests import commands, torch_pickles
from tests.test_models_resnet import VECTORS, golden_images, golden_variables
from tests.test_weights_read import assert_same, flipped, refused, torch_arrays, trees

CARD = {
    "encoder": "resnet_tiny", "width": 4, "image_size": 72, "mean": [0.5] * 3, "std": [0.5] * 3,
    "mpp": [0.5, 0.5], "datasets": [{"name": "a", "n": 3}], "data_digest": "d", "step": 7,
    "config": {"seed": 1}, "versions": {"jax": "x"}, "git_commit": None,
}  # fmt: skip
OF_A_STEP = {"schema": 2, "arrays": {"step": {}}, "sha256": "of the checkpoint's card"}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_round_trip_is_bit_equal(tmp_path, encoder):
    card = CARD | OF_A_STEP | {"encoder": encoder}
    weights.save(*trees(encoder), card, tmp_path / "w.safetensors")
    loaded = weights.load(tmp_path / "w.safetensors")
    assert_same(loaded, trees(encoder))
    source = loaded.card.pop("source")
    assert source["file"] == "w.safetensors" and len(source["ignored"]) > 8
    assert loaded.card == CARD | {"encoder": encoder, "sha256": weights.digest(*trees(encoder))}


def test_layer_norm_goes_by_the_card_that_says_so(tmp_path):
    """… and not by missing running statistics, which may have been lost."""
    name, path = "resnet_tiny_ln", tmp_path / "w.safetensors"
    weights.save(*trees(name), CARD | {"encoder": name}, path)
    loaded = weights.load(path)
    assert_same(loaded, trees(name))
    assert loaded.card["encoder"] == name and loaded.card["source"]["ignored"] == []
    assert loaded.batch_stats == {} and check.features(loaded)["pooled"].shape == (2, 32)
    arrays = safetensors.numpy.load_file(path)
    assert set(arrays) == {leaf.torch for leaf in table(name, 4)}
    safetensors.numpy.save_file(arrays, path)
    assert "bn1.running_mean: is not there" in str(refused(path))


def test_same_weights_same_bytes(tmp_path):
    for name in ("a", "b"):
        weights.save(*trees(), CARD, tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    again = weights.load(tmp_path / "a.safetensors")
    weights.save(again.params, again.batch_stats, again.card, tmp_path / "c.safetensors")
    assert weights.load(tmp_path / "c.safetensors").card["sha256"] == again.card["sha256"]


def test_a_flipped_bit_is_found(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(*trees(), CARD, path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    header = int.from_bytes(whole[:8], "little")
    places = [*rng.integers(0, header, 100), *rng.integers(header, len(whole), 50)]
    for loaded in filter(None, flipped(path, places, rng)):
        assert_same(loaded, trees())  # a bit of our key's name: then it is a foreign file
        assert loaded.card.get("step") in (None, 7)


def test_what_an_export_refuses(tmp_path):
    with pytest.raises(HistoError, match=r"suffix \.npz"):
        weights.save(*trees(), CARD, tmp_path / "w.npz")
    with pytest.raises(HistoError, match="conv1.kernel: is no resnet_tiny of width 8"):
        weights.save(*trees(), CARD | {"width": 8}, tmp_path / "w.safetensors")
    with pytest.raises(HistoError, match="has no place in a resnet_tiny"):
        more = trees()[0] | {"fc": {"kernel": np.zeros((2, 2), np.float32)}}
        weights.save(more, trees()[1], CARD, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []
    weights.save(*trees(), CARD, tmp_path / "w.safetensors")
    assert "leave out imagenet" in refused(tmp_path / "w.safetensors", imagenet=True).remedy


def test_pth_needs_torch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(HistoError, match=r"write \.safetensors, or pip install torch") as caught:
        weights.save(*trees(), CARD, tmp_path / "w.pth")
    assert caught.value.reason == "weights-torch"


# Numbers.


def golden(name: str) -> tuple[dict, dict]:
    """The weights of tests/vectors/resnet.json, float32."""
    tree = golden_variables(name)
    tree = jax.tree.map(np.float32, tree)
    return tree["params"], tree["batch_stats"]


def test_fixed_images_are_those_of_the_vectors():
    np.testing.assert_array_equal(check.fixed_images(), golden_images().astype(np.float32))


@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_features_of_a_file_are_torchvisions(tmp_path, name, kind):
    path = tmp_path / f"w.{kind}"
    if kind == "safetensors":
        weights.save(*golden(name), CARD | {"encoder": name, "width": 64}, path)
    else:
        arrays = weights.exporting.state_dict(*golden(name), name, 64)
        named = {f"model.resnet.{k}": v for k, v in arrays.items()}
        torch_pickles.write(path, named, lambda state: {"state_dict": state})
    want = VECTORS[name.removeprefix("resnet")]["eval"]
    out = check.features(weights.load(path))
    first = np.array(want["first16"])
    np.testing.assert_allclose(out["pooled"][0, :16], first, atol=1e-5 * first.max())
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        told = want["stages"][stage]
        got = out[stage].astype(np.float64)
        np.testing.assert_allclose([got.mean(), got.std()], [told["mean"], told["std"]], rtol=1e-5)


# Against torch itself.


def torch_levels(net) -> dict[str, np.ndarray]:
    """A torch network's levels of the fixed images, channels last."""
    import torch

    with torch.no_grad():
        x = torch.from_numpy(np.ascontiguousarray(check.fixed_images().transpose(0, 3, 1, 2)))
        levels = net.eval().levels(x)
    return {k: v.numpy().transpose(0, 2, 3, 1) if v.ndim == 4 else v.numpy() for k, v in levels.items()}  # fmt: skip


def largest_difference(ours: dict, theirs: dict) -> float:
    """Of any level, relative to its largest number."""
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[k] - v).max() / np.abs(v).max()) for k, v in theirs.items())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_parity_with_a_torch_network(tmp_path, name, kind):
    torch = pytest.importorskip("torch")
    from tests.torch_resnet import ResNet

    torch.manual_seed(0)
    net, path = ResNet(name), tmp_path / "w.file"
    for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        for value in (norm.weight, norm.running_var):
            torch.nn.init.uniform_(value, 0.5, 1.5)
        for value in (norm.bias, norm.running_mean):
            torch.nn.init.normal_(value, 0, 0.1)
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(net.state_dict(), path)
    else:
        inside = {"state_dict": net.state_dict(), "epoch": 3}
        torch.save(inside, path, _use_new_zipfile_serialization=kind == "zip")
    difference = largest_difference(check.features(weights.load(path)), torch_levels(net))
    print(f"{name} {kind}: {difference:.2e}")
    assert difference < 1e-4


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_torch_loads_our_export_strictly(tmp_path, name, suffix):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    from tests.torch_resnet import ResNet

    path = tmp_path / f"w.{suffix}"
    weights.save(*golden(name), CARD | {"encoder": name, "width": 64}, path)
    loaded = weights.load(path)
    assert_same(loaded, golden(name))
    assert loaded.card["step"] == 7
    net = ResNet(name)
    net.fc = torch.nn.Identity()
    state = (
        load_file(path) if suffix != "pth" else torch.load(path, weights_only=True)["state_dict"]
    )
    net.load_state_dict(state, strict=True)
    difference = largest_difference(check.features(loaded), torch_levels(net))
    print(f"{name} {suffix}: {difference:.2e}")
    assert difference < 1e-4


def test_the_lines_of_the_page_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    from tests import torch_resnet

    page = (commands.ROOT / "docs" / "weights.md").read_text()
    models = types.SimpleNamespace(resnet18=torch_resnet.resnet18)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(models=models))
    weights.save(*golden("resnet18"), CARD | {"encoder": "resnet18", "width": 64}, tmp_path / "encoder.safetensors")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        exec(block, names)
    printed = capsys.readouterr().out.splitlines()
    ours = check.features(weights.load("encoder.safetensors"))
    assert len(printed) == 4
    for line, stage in zip(printed, ("layer1", "layer2", "layer3", "layer4"), strict=True):
        name, mean, std, first = line.split()
        want = [ours[stage].mean(), ours[stage].std(), ours[stage].ravel()[0]]
        assert name == stage
        np.testing.assert_allclose([float(mean), float(std), float(first)], want, atol=2e-5)


# Commands.


def program(*arguments) -> subprocess.CompletedProcess:
    return commands.run(sys.executable, "-m", "histo_jax.weights", *arguments)


def test_export_and_check(tmp_path):
    params, stats = trees()
    state = {"params": {"encoder": params, "projector": {"fc": np.ones(3, np.float32)}},
             "model_state": {"batch_stats": {"encoder": stats}}}  # fmt: skip
    card = {k: v for k, v in CARD.items() if k != "step"}
    checkpoint.Checkpoints(tmp_path).save(state, 7, card)
    file = tmp_path / "out" / "encoder.safetensors"
    done = program("export", tmp_path, file)
    assert done.returncode == 0, done.stderr
    assert (
        "resnet_tiny, width 4, step 7" in done.stdout
        and "warning: torchvision has no" in done.stderr
    )
    loaded = weights.load(file)
    assert_same(loaded, (params, stats))
    assert loaded.card["config"] == CARD["config"] and "arrays" not in loaded.card
    done = program("check", file)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) <= 24
    assert loaded.card["sha256"] in done.stdout and loaded.card["source"]["sha256"] in done.stdout
    pooled = next(line for line in done.stdout.splitlines() if line.startswith("pooled"))
    want = check.features(loaded)["pooled"].mean()
    assert float(pooled.split()[1]) == pytest.approx(want, rel=1e-4)


def test_commands_refuse_in_one_line(tmp_path):
    file = torch_pickles.write(tmp_path / "w.pth", torch_arrays("resnet18", 2) | {"x": np.ones(2)})
    assert "x: unexpected" in commands.error_line(program("check", file))
    assert "no such folder" in commands.error_line(program("export", tmp_path / "no", "w.pth"))
