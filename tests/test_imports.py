"""Who may import whom: the rooms of docs/design.md, read from the source (lazy imports too)."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# room: (our rooms, other people's packages); every room may use errors, files and the stdlib.
ROOMS = {
    "__init__": ((), ()),
    "errors": ((), ()),
    "files": ((), ()),
    "config": ((), ()),
    "catalogue": ((), ("numpy", "PIL", "yaml")),
    "doctor": (("catalogue", "slides", "data"), ("jax", "packaging")),
    "pages": ((), ("jinja2", "PIL")),
    "slides": (("catalogue",), ("numpy", "openslide", "PIL", "scipy")),
    "data": (
        ("catalogue", "slides", "pages"),
        (
            "tensorflow",
            "simplejpeg",
            "tensorflow_datasets",
            "apache_beam",
            "numpy",
            "PIL",
            "scipy",
            "jax",
            "tqdm",
            "tifffile",
        ),
    ),
    "augment": ((), ("jax", "numpy")),
    "models": ((), ("jax", "flax")),
    "losses": ((), ("jax", "optax")),
    "weights": (("models",), ("jax", "numpy", "ml_dtypes", "safetensors", "torch")),
    "objectives": (("augment", "models", "losses"), ("jax",)),
    "training": (
        ("objectives", "data", "config", "weights"),
        ("jax", "optax", "orbax", "numpy", "tqdm", "tensorboardX"),
    ),
    "sweeps": (("config", "data", "training"), ("matplotlib",)),
    "paper": (
        (
            "config",
            "sweeps",
            "catalogue",
            "data",
            "training",
            "evaluation",
            "models",
            "weights",
            "pages",
        ),
        ("numpy", "PIL", "yaml", "safetensors"),
    ),
    "features": (
        ("models", "data", "slides", "training", "config", "pages", "weights", "evaluation"),
        ("jax", "sklearn", "matplotlib", "numpy", "PIL", "tqdm", "h5py", "threadpoolctl"),
    ),
    "evaluation": (
        ("models", "data", "slides", "augment", "losses", "training", "config", "pages", "weights"),
        (
            "jax",
            "optax",
            "sklearn",
            "skimage",
            "matplotlib",
            "numpy",
            "threadpoolctl",
            "tqdm",
            "h5py",
            "scipy",
        ),
    ),
}
# They compose, as train.py and eval.py do.
COMMANDS = {"weights/__main__.py": ("training",), "catalogue/__main__.py": ("catalogue", "data")}
JAX_IN_DATA = {"feed.py", "pipeline.py"}  # the feed and the host placement


def imports(path: Path) -> set[str]:
    """Full dotted names a file imports, at the top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files() -> list[Path]:
    return sorted((ROOT / "histo_jax").rglob("*.py"))


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_room_keeps_its_door(path):
    inside = path.relative_to(ROOT / "histo_jax")
    room = inside.parts[0].removesuffix(".py")
    ours, theirs = ROOMS[room]
    for name in imports(path):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if name == "histo_jax":
            continue
        if top == "histo_jax":
            composed = COMMANDS.get(str(inside), ())
            allowed = {room, "errors", "files", "__version__", *ours, *composed}
            assert name.split(".")[1] in allowed, f"{room} may not import {name}"
        else:
            assert top in theirs, f"{room} may not import {name}"
            if top == "jax" and room == "data":
                assert inside.name in JAX_IN_DATA, f"{inside} may not import jax"
            if top == "apache_beam":
                assert str(inside) == "data/beam.py", f"{inside} may not import {name}"
            if top == "flax":
                assert name.startswith("flax.linen"), f"{inside}: only flax.linen, not {name}"


def test_models_import_flax_and_nobody_else_does():
    users = {
        p.relative_to(ROOT / "histo_jax").parts[0]
        for p in files()
        if any(n.startswith("flax") for n in imports(p))
    }
    assert users == {"models"}


def test_only_slides_import_openslide():
    users = {
        p.relative_to(ROOT / "histo_jax").parts[0]
        for p in files()
        if any(n.startswith("openslide") for n in imports(p))
    }
    assert users == {"slides"}


def test_builders_do_not_import_jax():
    for path in (ROOT / "tfds_builders").rglob("*.py"):
        assert not any(n.split(".")[0] == "jax" for n in imports(path)), path


def test_configs_import_only_ml_collections():
    for path in (ROOT / "configs").rglob("*.py"):
        assert {n.split(".")[0] for n in imports(path)} <= {"ml_collections"}, path
