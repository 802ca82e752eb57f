"""`slides.html` of a set of slides: where its tiles are from, and why others are not in it."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from histo_jax import files, pages
from histo_jax.data.config import SlideConfig
from histo_jax.slides.parts import read_card, read_thumbnail
from histo_jax.slides.reasons import REASONS

PAGE = "slides.html"
MOST_SLIDES = 200  # shown
MOST_LINES = 200  # of remarks and of refused slides
_SHOWN_WIDTH = 280  # pixels, about what a thumbnail gets on the screen
_FINE = 5  # pixels: below, an outlined tile would be all outline

# What becomes of a cell of the grid: in words.
OUTCOMES = {
    "kept": "kept: enough tissue",
    "background": "too little tissue",
    "transparent": "not scanned there",
    "unreadable": "can't be read",
    "not-needed": "not tried: the slide had enough tiles",
    "outside": "not in a region that was drawn",
}
TISSUE = {
    "otsu": "its colour is stronger than a threshold made of the whole slide (Otsu's) and no ink",
    "ciga2021": "it lies within the paper's colour bounds, gaps of up to 25 pixels closed",
    "paper_literal": "it lies within the paper's colour bounds",
    "none": "always: every pixel counts",
}


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One slide as the page shows it."""

    name: str
    facts: str
    kept: int
    tried: int
    counts: dict[str, int]
    remarks: tuple[str, ...]
    thumbnail: str
    extent: tuple[float, float]
    paths: dict[str, str]
    stroke: float
    listed: int

    @property
    def share(self) -> float:
        """Kept of tried, in percent."""
        return 100 * self.kept / max(self.tried, 1)


def write_page(
    folder: Path,
    title: str,
    config: SlideConfig,
    parts: dict[str, Path],
    names: Callable[[str], str],
    summary: dict,
    remarks: list[str],
) -> Path:
    """Writes the page into a version folder; equal builds give equal bytes.

    Args:
      folder: the version folder, with its `quarantine.jsonl`.
      title: `builder/config`.
      config: the options of the build.
      parts: finished slides by their true name.
      names: what a slide may be called.
      summary: of the log.
      remarks: on the set as a whole.

    Raises:
      HistoError: a damaged part, or a full disk.
    """
    cards = {name: read_card(part) for name, part in parts.items()}
    shown = sorted(cards, key=lambda name: (_share(cards[name]["counts"]), names(name)))
    slides = [_drawn(names(name), cards[name], parts[name]) for name in shown[:MOST_SLIDES]]
    spoken = [*remarks]
    for name, card in cards.items():
        spoken += [f"{names(name)}: {text}" for text in remarks_of(card)]
    tiles = summary.get("tiles", {})
    known = [name for name in OUTCOMES if name != "outside" or config.regions is not None]
    return pages.write(
        folder / PAGE,
        "slides.html",
        title=title,
        contents=_contents(bool(spoken), bool(summary["skipped"])),
        summary=summary,
        tiles={outcome: tiles.get(outcome, 0) for outcome in known},
        tried=_tried(tiles),
        share=100 * _share(tiles),
        outcomes={outcome: OUTCOMES[outcome] for outcome in known},
        options=options_in_words(config),
        remarks=spoken[:MOST_LINES],
        more_remarks=max(0, len(spoken) - MOST_LINES),
        refused=_refused(folder),
        copies=summary["skipped"].get("duplicate", 0),
        slides=slides,
        read=len(parts),
    )


def options_in_words(config: SlideConfig) -> list[str]:
    """What was asked for, a sentence an option."""
    mpp = "the finest resolution of each slide"
    if config.mpp is not None:
        mpp = f"{config.mpp:g} µm a pixel"
    least, bad = f"{100 * config.min_foreground:g} %", f"{100 * config.max_bad:g} %"
    said = [
        f"Square tiles of {config.tile_size} pixels a side at {mpp}, stored as JPEG of quality "
        f"{config.quality}.",
        f"A tile is kept where at least {least} of its pixels are tissue. A pixel is tissue where "
        f"{TISSUE[config.tissue]} (rule “{config.tissue}”).",
        f"At most {config.max_tiles:,} tiles a slide, tried in a random order made of the seed "
        f"{config.seed} and the slide itself.",
        f"A slide of which more than {bad} of the tiles needed can't be read is refused.",
    ]
    if config.regions is not None:
        said.append("Only tiles half covered by drawn regions of one class, which is their label.")
    if config.default_mpp is not None:
        said.append(f"Slides that don't say are taken for {config.default_mpp:g} µm a pixel.")
    if config.upsample:
        said.append("Slides scanned coarser than that are enlarged.")
    if config.pseudonymise:
        said.append("Names are replaced by keyed hashes; the pictures are not changed.")
    return said


def remarks_of(card: dict) -> list[str]:
    """What is odd about a slide: warnings of its cut, and why it has no tile."""
    said = list(card["warnings"])
    if 0 in card["grid"]:
        said.append("smaller than one tile")
    elif not card["tiles"]:
        empty = card["counts"].get("outside") == sum(card["counts"].values())
        said.append("no tile lies in a drawn region" if empty else "no tissue found")
    return said


def _contents(remarks: bool, refused: bool) -> list[tuple[str, str]]:
    found = [("summary", "Summary"), ("options", "How it was cut")]
    found += [("remarks", "Remarks")] if remarks else []
    found += [("refused", "Refused slides")] if refused else []
    return [*found, ("slides", "Slides")]


def _tried(counts: dict[str, int]) -> int:
    return sum(counts.values()) - counts.get("not-needed", 0) - counts.get("outside", 0)


def _share(counts: dict[str, int]) -> float:
    return counts.get("kept", 0) / max(_tried(counts), 1)


def _drawn(name: str, card: dict, part: Path) -> Drawn:
    width, height = card["dimensions"]
    mpp = "unknown" if card["mpp"] is None else f"{card['mpp']:.3g}"
    facts = f"{card['vendor']} · {width:,} by {height:,} pixels · {mpp} µm a pixel"
    columns = card["grid"][0]
    cell = _SHOWN_WIDTH / max(card["extent"])
    return Drawn(
        name=name,
        facts=facts,
        kept=card["counts"]["kept"],
        tried=_tried(card["counts"]),
        counts={k: n for k, n in card["counts"].items() if n and k != "kept"},
        remarks=tuple(remarks_of(card)),
        thumbnail=pages.data_uri(read_thumbnail(part), "image/jpeg"),
        extent=tuple(round(side, 4) for side in card["extent"]),
        paths={outcome: _path(cells, columns) for outcome, cells in card["tried"].items()},
        stroke=0 if cell < _FINE else min(1.5, cell / 8),
        listed=sum(map(len, card["tried"].values())),
    )


def _path(cells: Iterable[int], columns: int) -> str:
    """Squares of side 1, as SVG draws them."""
    places = (divmod(cell, columns) for cell in cells)
    return "".join(f"M{column} {row}h1v1h-1z" for row, column in places)


def _refused(folder: Path) -> list[dict[str, Any]]:
    """A row a line of the quarantine, which already says only what may be said."""
    rows = []
    for line in files.read_lines(folder / "quarantine.jsonl"):
        reason = line["reason"]
        # A dying worker's last words hold times and process numbers.
        what = line["error"].split(": ")[0] if reason == "worker-died" else line["error"]
        row = {"name": line["path"], "reason": reason, "what": what}
        rows.append(row | {"remedy": REASONS.get(reason, "")})
    return sorted(rows, key=lambda row: row["name"])
