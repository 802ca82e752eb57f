"""A made-up labelled set and the card of an encoder, for the tests of the evaluation room."""

import dataclasses
import types

import numpy as np

from histo_jax.config import EvalConfig

SIZE, CLASSES = 16, ("stroma", "tumour", "debris")
CARD = {
    "encoder": "resnet_tiny", "width": 8, "image_size": SIZE, "mean": [0.5] * 3, "std": [0.5] * 3,
    "datasets": [{"name": "b/c", "n": 1, "content_hash": "abc"}],
}  # fmt: skip


def prepared(n=96, target=False, groups=True, **columns):
    """Three classes that differ in colour; four images a patient, one class a patient."""
    rng = np.random.default_rng(0)
    label = (np.arange(n) // 4) % 3
    colour = np.array([(200, 80, 160), (120, 60, 150), (220, 210, 215)])[label]
    noise = rng.integers(-30, 31, (n, SIZE, SIZE, 3))
    table = {
        "key": np.array([f"k{i:03d}" for i in range(n)]),
        "patient": np.array([f"p{i // 4}" if groups else "" for i in range(n)]),
        "slide": np.array([""] * n),
        "split": np.array(["train"] * n),
        "sha256": np.array([f"{i:064d}" for i in range(n)], "S64"),
    }
    table |= {"target": (label * 30 + 10).astype(np.float32)} if target else {"label": label}
    return types.SimpleNamespace(
        name="b/c", path="data/b/c/1.0.0", n=n, table=table | columns, rows=lambda _: np.arange(n),
        card={"content_hash": "abc", "classes": None if target else list(CLASSES)},
        images=np.clip(colour[:, None, None] + noise, 0, 255).astype(np.uint8),
    )  # fmt: skip


def config(**changes) -> EvalConfig:
    return dataclasses.replace(EvalConfig(dataset="b/c", repeats=1, batch_size=32), **changes)
