"""What is known of the sets behind a report, for a reader who wasn't there when they were built."""

from typing import Any

import numpy as np

from histo_jax.data.card_page import build_command
from histo_jax.data.prepared import DRAWN, Prepared
from histo_jax.evaluation.page.story import mpp

UNKNOWN = "unknown"


def datacard(name: str, role: str, prepared: Prepared | None, entry: dict | None = None) -> dict:
    """`name`, `role` and `facts`, pairs of text; what nobody knows says so.

    `entry` is what an encoder's card says of a set that isn't here.
    """
    if prepared is None:
        facts = [("images", f"{entry['n']:,}"), ("content", entry["content_hash"][:16]),
                 ("all else", "unknown: set not here, or of other content now")]  # fmt: skip
        return {"name": name, "role": role, "facts": facts, "build": None}
    card, table = prepared.card, prepared.table
    known = table["mpp"][np.isfinite(table["mpp"])] if "mpp" in table else np.array([])
    is_drawn, told = name.startswith(DRAWN), card.get("catalogue") or {}
    facts = [
        ("images", f"{prepared.n:,}"),
        ("slides", _count(table, "slide")),
        ("patients", _count(table, "patient")),
        ("labels", _labels(card, table)),
        ("pixel size", mpp([known.min(), known.max()] if len(known) else None)),
        ("organ", told.get("organ") or ("none: drawn by a program" if is_drawn else UNKNOWN)),
        ("licence", told.get("licence") or ("none needed: drawn" if is_drawn else UNKNOWN)),
        *_summary(card.get("summary", {})),
        ("content", card["content_hash"][:16]),
    ]
    return {"name": name, "role": role, "facts": facts, "build": build_command(card)}


def _count(table: dict[str, np.ndarray], column: str) -> str:
    values = table.get(column, np.array([""]))
    named = values[values != ""]
    if not len(named):
        return UNKNOWN
    missing = len(values) - len(named)
    return f"{len(np.unique(named)):,}" + (f", unknown for {missing:,} images" if missing else "")


def _labels(card: dict, table: dict[str, np.ndarray]) -> str:
    said = []
    if "label" in table:
        classes = card["classes"] or []
        counts = np.bincount(table["label"][table["label"] >= 0], minlength=len(classes))
        named = [*classes, *map(str, range(len(classes), len(counts)))]
        said += [f"{name} {count:,}" for name, count in zip(named, counts.tolist(), strict=True)]
        without = int((table["label"] < 0).sum())
        said += [f"without {without:,}"] if without else []
    if "target" in table:
        target = table["target"][np.isfinite(table["target"])]
        said.append(f"{len(target):,} targets, {target.min():.3g} to {target.max():.3g} %")
    return ", ".join(said) or "none"


def _summary(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Files and tiles that were read and left out, by reason, as the build counted them."""
    if not summary:
        return [("quarantine", UNKNOWN)]
    facts = [("files", f"{summary['read']:,} read of {summary['files']:,}")]
    skipped = [f"{reason} {count:,}" for reason, count in summary["skipped"].items()]
    facts.append(("quarantine", ", ".join(skipped) or "none"))
    tiles = [f"{what} {count:,}" for what, count in summary.get("tiles", {}).items() if count]
    return facts + ([("tiles", ", ".join(tiles))] if tiles else [])
