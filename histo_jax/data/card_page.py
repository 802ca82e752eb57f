"""`card.html`: what a set holds, where it is from, how it was built, how to use it.

It says what `card.json` says, for people, under some of its images. Evaluation draws on it for its
own pages, so nothing here may need TensorFlow at import.
"""

import collections
import json
import shlex
from pathlib import Path
from typing import Any

from histo_jax import pages
from histo_jax.data import contact_sheet, record
from histo_jax.data.counts import UNKNOWN
from histo_jax.data.prepared import BESIDE, DRAWN, Prepared
from histo_jax.slides import reasons

PAGE = "card.html"
MOST_CLASSES = 200  # in the table
MOST_BARS = 12  # of pixel sizes
_NOT_SAID = "not said"
_SECTIONS = [
    ("images", "Images"), ("counts", "What it holds"), ("files", "What was read"),
    ("origin", "Where it is from"), ("built", "How it was built"), ("hashes", "Hashes"),
    ("use", "How to use it"),
]  # fmt: skip


def write_page(made: Prepared) -> Path:
    """Writes the page into the version folder of a set whose card is not on disk yet.

    Equal builds give equal bytes: no time, no path outside the folder.

    Raises:
      HistoError: a damaged record, or a full disk.
    """
    card, sheet = made.card, contact_sheet.sheet(made)
    return pages.write(
        made.path / PAGE,
        "card.html",
        title=card["name"],
        contents=_SECTIONS,
        sentence=sentence(card),
        card=card,
        sheet=sheet,
        chosen=_chosen(card, sum(len(group.images) for group in sheet)),
        table=_table(card),
        also=_also(card["counts"], card["n"]),
        bars=_bars(card["counts"]["mpp"]),
        read=_read(card["summary"]),
        skipped=_skipped(card["summary"]),
        origin=_origin(card),
        command=build_command(card),
        options={name: _told(value) for name, value in card["options"].items()},
        bytes=sum(shard["bytes"] for shard in card["shards"].values()),
        use=_use(card),
        beside=[name for name in BESIDE if (made.path / name).exists()],
    )


def sentence(card: dict) -> str:
    """What a set is."""
    counts, known = card["counts"], card["catalogue"]
    text = (
        f"{_many(card['n'], 'tile' if 'tiles' in card['summary'] else 'image')} of {_size(counts)}"
    )
    if card["classes"]:
        text += f" in {_many(len(card['classes']), 'class', 'classes')}"
    extra = {"targets": counts["target"], "masks": counts["masks"]}
    if any(extra.values()):
        text += f" with {' and '.join(what for what, there in extra.items() if there)}"
    units = [_many(counts[f"{u}s"], u) for u in ("slide", "patient") if counts[f"{u}s"]]
    if units:
        text += f" from {' of '.join(units)}"
    sizes = [size for size in counts["mpp"] if size != UNKNOWN]
    if not sizes:
        text += ", pixel size unknown."
    else:
        text += f", at {' to '.join(dict.fromkeys([sizes[0], sizes[-1]]))} µm a pixel"
        text += " where known." if UNKNOWN in counts["mpp"] else "."
    if card["builder"].startswith(DRAWN):
        return f"Drawn tissue, no evidence about patients: {text}"
    return f"{known['name']} ({known['organ']}, {known['stain']}): {text}" if known else text


def build_command(card: dict) -> str | None:
    """The `tfds build` of a set; None where its card doesn't hold what that takes."""
    if "builder" not in card or "options" not in card:
        return None
    builder, config, options = card["builder"], card["config"], card["options"]
    drawn = builder.startswith(DRAWN)
    # Configs that the builder has: TFDS takes no options under their names.
    named = {"default", options.get("catalogue"), *(["tiny"] if drawn else [])}
    if builder == options.get("catalogue"):  # a dataset with a builder of its own
        named.add(options["variant"])
    own = json.dumps({"name": config, **options}, ensure_ascii=False)
    chosen = config if config in named else own
    words = ["tfds", "build", f"tfds_builders/{builder}", "--config", chosen]
    return shlex.join(words) + ("" if drawn else " --manual_dir <your folder>")


def _many(n: int, one: str, more: str = "") -> str:
    return f"{n:,} {one if n == 1 else more or one + 's'}"


def _size(counts: dict) -> str:
    """Width and height in words."""
    if counts["width"] is None:
        return "unknown size"
    sides = (counts["width"], counts["height"])
    return " by ".join(" to ".join(f"{n:,}" for n in dict.fromkeys(side)) for side in sides) + (
        " pixels"
    )


def _chosen(card: dict, shown: int) -> str:
    """Which images the contact sheet shows."""
    text = f"{shown:,} of {card['n']:,}, at most {contact_sheet.SIDE} pixels a side"
    if shown == card["n"]:
        return f"{text}."
    over = "classes" if card["classes"] else "slides"
    evenly = "" if card["counts"]["slides"] < 2 and not card["classes"] else f" evenly over {over}"
    return f"{text}, chosen{evenly} by a hash of their keys."


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(card: dict) -> dict[str, Any]:
    """Records by split and class: `head`, `rows`, `classes`, and `more` classes left out."""
    counts = card["counts"]
    splits = list(counts["splits"].values())
    several = len(splits) > 1

    def row(name: str, of: list[int], total: int) -> tuple[str, list[str]]:
        return name, [f"{n:,}" for n in (*of, *([total] if several else []))]

    rows = [row("images", [split["records"] for split in splits], card["n"])]
    for unit in ("slides", "patients"):
        if counts[unit]:
            rows.append(row(unit, [split[unit] for split in splits], counts[unit]))
    unlabelled = [split["unlabelled"] for split in splits]
    if any(unlabelled):
        rows.append(row("without a label", unlabelled, sum(unlabelled)))
    names = list(splits[0]["classes"] or ())
    by_class = {name: [split["classes"][name] for split in splits] for name in names}
    return {
        "head": [*counts["splits"], *(["all"] if several else [])],
        "rows": rows,
        "classes": [
            row(name, by_class[name], sum(by_class[name])) for name in names[:MOST_CLASSES]
        ],
        "more": max(0, len(names) - MOST_CLASSES),
    }


def _also(counts: dict, n: int) -> list[str]:
    """What else there is and what is not known, a sentence each."""
    said = []
    if counts["target"]:
        target = counts["target"]
        said.append(f"{target['records']:,} have a target, from {target['least']:.3g} to "
                    f"{target['most']:.3g}.")  # fmt: skip
    if counts["masks"]:
        said.append(f"{counts['masks']:,} have a mask.")
    if counts["no_slide"] == counts["no_patient"] == n:
        said.append("Nothing says which slide or patient an image is of: no split can keep those "
                    "of a patient on one side.")  # fmt: skip
        return said
    for unit in ("slide", "patient"):
        if counts[f"no_{unit}"]:
            said.append(f"The {unit} of {_many(counts[f'no_{unit}'], 'image')} is not known.")
    return said


def _bars(mpp: dict[str, int]) -> list[tuple[str, int, float]]:
    """µm a pixel, records, and percent of the longest bar; fewer digits where there are many."""
    for digits in (3, 2, 1):
        bars: collections.Counter[str] = collections.Counter()
        for size, n in mpp.items():
            bars[size if size == UNKNOWN else f"{round(float(size), digits):g}"] += n
        if len(bars) <= MOST_BARS:
            break
    return [(size, n, 100 * n / max(bars.values())) for size, n in bars.items()]


def _read(summary: dict) -> list[tuple[str, str]]:
    unit = "slides" if "tiles" in summary else "files"
    facts = [
        (f"{unit} found", f"{summary['files']:,}"),
        (f"{unit} read", f"{summary['read']:,}"),
        ("records", f"{summary['records']:,}"),
    ]
    if "other_files" in summary:
        facts.append(("other files, not read", f"{summary['other_files']:,}"))
    for key, title in (("tiles", "tiles of the grid"), ("fit", "what each fit gives")):
        counted = [f"{n:,} {what}" for what, n in summary.get(key, {}).items() if n]
        facts += [(title, ", ".join(counted))] if counted else []
    return facts


def _skipped(summary: dict) -> list[tuple[str, int, str]]:
    """Reason, files, what to do."""
    remedies = reasons.REASONS if "tiles" in summary else record.REASONS
    remedies = remedies | {"duplicate": "nothing: it is a copy, read once under another name"}
    return [(reason, n, remedies.get(reason, "")) for reason, n in summary["skipped"].items()]


def _origin(card: dict) -> dict[str, str]:
    """Facts about the images themselves."""
    known = card["catalogue"]
    if card["builder"].startswith(DRAWN):
        return {"organ": "none: drawn by a program", "licence": "none needed: drawn"}
    if known is None:
        return dict.fromkeys(("organ", "stain", "magnification", "licence", "citation"), _NOT_SAID)
    told = {"dataset": f"{known['name']} ({known['id']} in the catalogue)"}
    told |= {what: known[what] for what in ("organ", "stain", "magnification")}
    if card["options"]["variant"]:
        told["part or reading"] = card["options"]["variant"]
    released = _NOT_SAID if known["release"] is None else f"{known['release']:,}"
    return told | {
        "licence": known["licence"] or "not said: ask before you use it",
        "citation": known["citation"] + (f" doi:{known['doi']}" if known["doi"] else ""),
        "images or slides": f"{known['paper']:,} in the paper; released: {released}",
        "not to be split": f"the images of a {known['unit']}, as far as names tell",
        "how sure the layout is": known["confidence"],
    }


def _use(card: dict) -> list[str]:
    """Commands that open the set."""
    name, counts = card["name"], card["counts"]
    recipe = "demo" if card["builder"].startswith(DRAWN) else "simclr_r18"
    sets = f"(('{name}', None),)"
    said = [f'python train.py --config configs/{recipe}.py --config.data.datasets="{sets}"']
    scored = ["probe"] if len(card["classes"] or ()) > 1 or counts["target"] else []
    for protocol in [*scored, *(["segment"] if counts["masks"] else [])]:
        said.append(f"python eval.py --config configs/{protocol}.py --checkpoint runs/{recipe} "
                    f"--config.dataset={name}")  # fmt: skip
    return said
