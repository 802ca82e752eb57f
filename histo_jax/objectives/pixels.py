"""What tasks share that paint an image: a U-Net whose encoder is kept and whose rest is not."""

from collections.abc import Callable
from typing import Any

import jax

from histo_jax.augment.recipes import make_views
from histo_jax.models import UNet, check_side


def views(**how: Any) -> Callable:
    """One crop of each image, turned and flipped, its colours as they are: [b, 1, s, s, 3].

    Raises:
      HistoError: a U-Net can't take images of that size, or colours are asked to be jittered.
    """
    check_side(how["size"], field="config.data.image_size")
    return make_views(**how, count=1, colours=False)


def init(net: UNet, name: str, key: jax.Array, images: jax.Array) -> tuple[Any, Any]:
    """Fresh `(params, model_state)`: parts `encoder` and, under `name`, decoder and head."""
    fresh = net.init(key, images, train=False)
    params, stats = part(fresh["params"], name), part(fresh["batch_stats"], name)
    return params, {"batch_stats": stats}


def paint(
    net: UNet, name: str, params: Any, stats: Any, images: jax.Array
) -> tuple[jax.Array, Any]:
    """What the U-Net makes of images [n, s, s, 3] in training, and the new running statistics."""
    variables = {"params": joined(params, name), "batch_stats": joined(stats, name)}
    out, new = net.apply(variables, images, train=True, mutable=["batch_stats"])
    return out, part(new["batch_stats"], name)


def part(tree: dict, name: str) -> dict:
    """The U-Net's tree, with `encoder` and the rest apart."""
    rest = {key: value for key, value in tree.items() if key != "encoder"}
    return {"encoder": tree.get("encoder", {}), name: rest}


def joined(tree: dict, name: str) -> dict:
    """Undoes `part`."""
    return {"encoder": tree["encoder"], **tree[name]}
