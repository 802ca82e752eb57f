"""What a set holds, in numbers: the `counts` of its card."""

from typing import Any

import numpy as np

UNKNOWN = "unknown"  # a pixel size that nobody states
_ORDER = ("train", "validation", "test")


def counts(
    table: dict[str, np.ndarray], columns: dict[str, list], classes: list[str] | None
) -> dict[str, Any]:
    """Counts the records of a set.

    Args:
      table: the index.
      columns: what `scan_shard` saw and the index doesn't hold: `size`, (width, height) in
        pixels or None, and `mask`, whether there is one.
      classes: names in label order.

    Returns:
      `splits`: by split `records`, distinct named `slides` and `patients`, records by class
      (`classes`, None without labels) and records without a label (`unlabelled`); `slides` and
      `patients` of all splits; `no_slide` and `no_patient`, records that don't say; `mpp`, records
      by µm per pixel to 3 digits behind the point; `width` and `height`, least and most pixels
      (None: no image says); `target`, its `records`, `least` and `most` (None: there is none);
      `masks`, records with one.
    """
    sizes = np.array([size for size in columns["size"] if size]).reshape(-1, 2)
    return {
        "splits": {
            split: _split(table, table["split"] == split, classes)
            for split in sorted(set(table["split"].tolist()), key=_place)
        },
        "slides": _named(table["slide"]),
        "patients": _named(table["patient"]),
        "no_slide": int((table["slide"] == "").sum()),
        "no_patient": int((table["patient"] == "").sum()),
        "mpp": _mpp(table["mpp"]),
        "width": _range(sizes[:, 0]),
        "height": _range(sizes[:, 1]),
        "target": _target(table.get("target")),
        "masks": sum(columns["mask"]),
    }


def class_names(table: dict[str, np.ndarray], classes: list[str] | None) -> list[str] | None:
    """Names in label order, numbers for labels that have none; None for a set without labels."""
    if "label" not in table:
        return None
    named = list(classes or [])
    return named + [str(i) for i in range(len(named), int(table["label"].max(initial=-1)) + 1)]


def _place(split: str) -> tuple[int, str]:
    return (_ORDER.index(split) if split in _ORDER else len(_ORDER)), split


def _split(table: dict, rows: np.ndarray, classes: list[str] | None) -> dict[str, Any]:
    names, by_class, without = class_names(table, classes), None, 0
    if names is not None:
        labels = table["label"][rows]
        of_class = np.bincount(labels[labels >= 0], minlength=len(names)).tolist()
        by_class, without = dict(zip(names, of_class, strict=True)), int((labels < 0).sum())
    return {
        "records": int(rows.sum()),
        "slides": _named(table["slide"][rows]),
        "patients": _named(table["patient"][rows]),
        "classes": by_class,
        "unlabelled": without,
    }


def _named(values: np.ndarray) -> int:
    return len(np.unique(values[values != ""]))


def _mpp(values: np.ndarray) -> dict[str, int]:
    known = values[np.isfinite(values)].astype(np.float64)
    sizes, times = np.unique(np.round(known, 3), return_counts=True)
    found = {f"{size:g}": int(n) for size, n in zip(sizes, times, strict=True)}
    without = len(values) - len(known)
    return found | ({UNKNOWN: without} if without else {})


def _range(values: np.ndarray) -> list[int] | None:
    return [int(values.min()), int(values.max())] if len(values) else None


def _target(values: np.ndarray | None) -> dict[str, Any] | None:
    known = np.array([]) if values is None else values[np.isfinite(values)]
    if not len(known):
        return None
    return {"records": len(known), "least": float(known.min()), "most": float(known.max())}
