"""What a checkpoint says about itself."""

import dataclasses
import importlib.metadata
import json
import platform
from typing import Any

from histo_jax import __version__
from histo_jax.config import Config
from histo_jax.files import git_commit

MEAN = STD = (0.5, 0.5, 0.5)  # of the views, to [-1, 1]
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def make_card(config: Config, mixture: Any, init: dict | None = None) -> dict:
    """Encoder, normalisation, resolution, data by content, config and versions.

    `mixture` is a `histo_jax.data.mixture.Mixture`; `init` says which weights the run started from.
    """
    return {
        "encoder": config.model.encoder,
        "width": config.model.width,
        "image_size": config.data.image_size,
        "mean": list(MEAN),
        "std": list(STD),
        "mpp": mpp_range(mixture),
        "datasets": [
            {"name": s.name, "n": s.n, "content_hash": s.card["content_hash"]} for s in mixture.sets
        ],
        "data_digest": mixture.digest,
        "data_remarks": list(mixture.remarks),
        "init": init,
        "config": as_dict(config),
        "versions": versions(),
        "git_commit": git_commit(),
    }


def mpp_range(mixture: Any) -> list[float] | None:
    """Smallest and largest known µm per pixel of the stored images; None where none is known."""
    known = [float(m) for s in mixture.sets for m in s.table["mpp"] if m == m]
    return [min(known), max(known)] if known else None


def as_dict(config: Any) -> dict:
    """A config as JSON gives it back, so that both can be compared."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def versions() -> dict[str, str]:
    """Of Python, ours and the packages that make the numbers."""
    return {
        "python": platform.python_version(),
        "histo_jax": __version__,
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }
