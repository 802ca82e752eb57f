"""The table of names: whole, bijective, torchvision's order, our shapes."""

import jax
import numpy as np
import pytest

from histo_jax.models import ENCODERS
from histo_jax.weights.names import flat, nested, table, to_ours, to_torch
from tests.test_models_resnet import VECTORS, shapes


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("width", [64, 8])
def test_table_is_a_bijection_onto_the_encoder(name, width):
    leaves = table(name, width)
    assert len({leaf.torch for leaf in leaves}) == len(leaves)
    told = {f"{leaf.tree}.{leaf.path}": leaf.shape for leaf in leaves}
    assert len(told) == len(leaves)
    assert told == {k: v.shape for k, v in flat(shapes(name, width=width)).items()}


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_order_is_torchvisions(name):
    mine = [leaf.torch for leaf in table(name, 64) if leaf.tree == "params"]
    theirs = VECTORS[name.removeprefix("resnet")]["param_names_in_order"]
    assert mine[: len(theirs)] == theirs


def test_torch_agrees_on_names_shapes_and_order():
    pytest.importorskip("torch")
    from tests.torch_resnet import ResNet

    for name in ENCODERS:
        state = ResNet(name, 8).state_dict()
        theirs = {k: tuple(v.shape) for k, v in state.items() if not k.startswith("fc.")}
        for key in [k for k in theirs if k.endswith("num_batches_tracked")]:
            del theirs[key]
        mine = {leaf.torch: to_torch(np.empty(leaf.shape)).shape for leaf in table(name, 8)}
        assert list(mine.items()) == list(theirs.items())


def test_kernels_turn_round_and_back():
    kernel = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    assert to_torch(kernel).shape == (7, 5, 2, 3)
    assert to_torch(kernel)[6, 4, 1, 2] == kernel[1, 2, 4, 6]
    np.testing.assert_array_equal(to_ours(to_torch(kernel)), kernel)


def test_nested_undoes_flat():
    tree = {"conv1": {"kernel": 1}, "layer1_0": {"bn1": {"scale": 2, "bias": 3}}}
    assert list(flat(tree)) == ["conv1.kernel", "layer1_0.bn1.scale", "layer1_0.bn1.bias"]
    assert nested(flat(tree)) == tree
    assert jax.tree.structure(nested(flat(tree))) == jax.tree.structure(tree)
