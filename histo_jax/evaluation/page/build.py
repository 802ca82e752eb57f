"""`report.html`: one page from `report.json` and what the evaluation still holds in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from histo_jax import files, pages
from histo_jax.data.prepared import Prepared
from histo_jax.evaluation import foreign
from histo_jax.evaluation import report as reports
from histo_jax.evaluation.labelled import Plan
from histo_jax.evaluation.page import (
    datacard,
    figures,
    knows,
    labels,
    pictures,
    reproduce,
    story,
    tasks,
)
from histo_jax.evaluation.results import Evaluation

FILE = "report.html"

NOTHING = ["Its training loss ended hardly below that of guessing: it did not learn its task."]

# Section: title. Those without content are left out, here and in the page.
SECTIONS = {
    "short": "In short", "scores": "Scores and floors", "labels": "With fewer labels",
    "masks": "Truth and prediction", "mistakes": "What is taken for what",
    "neighbours": "Nearest neighbours", "map": "Is it stain it learned?",
    "knows": "What it knows of patient and stain", "views": "What the network saw",
    "curves": "How it learned", "data": "Data", "again": "Make it again",
}  # fmt: skip


def write(folder: Path, built: dict[str, Any]) -> Path:
    """Writes what `build` gave as `report.html`."""
    return pages.write(folder / FILE, FILE, **built)


def build(report: dict, seen: Evaluation | None = None) -> dict[str, Any]:
    """What the page shows; without `seen` that which `report.json` alone can tell."""
    card = report["card"]
    lines, timing = _log(seen)
    config = (card or {}).get("config", {})
    batch = config.get("data", {}).get("batch_size")
    guess = tasks.guess(config)
    nothing = story.learned_nothing(lines, guess)
    every = reports.summarise(report)
    summary = reports.full(every)
    main = story.main_split(summary)
    plan = _plan(seen, main)
    own = seen is not None and seen.features is not None
    drawn = figures.curves(lines, guess, tasks.of(config).top1)
    sections = {
        "short": {
            "drawn": story.drawn(report),
            "answer": story.answer(report) + (NOTHING if nothing else []),
            "overlap": story.training_overlap(report),
            "learned": story.pretraining(report, story.minutes(lines, timing, batch or 0)),
            "question": story.question(report),
            "cards": _cards(report, summary, main),
        },
        "scores": _scores(report, summary),
        "labels": labels.curves(every, report),
        "masks": pictures.masks(seen, plan) if seen and seen.segmented else None,
        "mistakes": _mistakes(report, seen, main),
        "neighbours": pictures.similar(seen, plan) if own else None,
        "map": pictures.maps(seen, report["config"]["seed"]) if own else None,
        "knows": knows.tables(report),
        "views": pictures.view_pairs(seen) if seen and seen.loaded else None,
        "curves": {"drawn": drawn, "nothing": nothing} if drawn else None,
        "data": _data(report, seen),
        "again": _again(report, seen),
    }
    sections = {name: content for name, content in sections.items() if content}
    return {
        "report": report,
        "encoder": story.network(card) if card else None,
        "contents": [(name, _title(name, report)) for name in sections],
        "sections": {name: sections.get(name) for name in SECTIONS},
    }


def _title(name: str, report: dict) -> str:
    target = name == "mistakes" and not report["data"]["classes"]
    return "Target and prediction" if target else SECTIONS[name]


def _log(seen: Evaluation | None) -> tuple[list[dict], list[dict]]:
    """Lines of `metrics.jsonl` and `timing.jsonl` up to the evaluated step."""
    folder = foreign.workdir(seen.loaded) if seen and seen.loaded else None
    if folder is None:
        return [], []
    last = seen.loaded.card.get("step", np.inf)
    found = (files.read_lines(folder / name) for name in ("metrics.jsonl", "timing.jsonl"))
    return tuple([line for line in lines if line["step"] <= last] for lines in found)


def _plan(seen: Evaluation | None, main: str) -> Plan | None:
    """The first split of the kind that counts most, with most labels."""
    of_kind = [p for p in seen.made if p.split_by == main] if seen else []
    return max(of_kind, key=lambda p: p.fraction, default=None)


def _cards(report: dict, summary: list[dict], main: str) -> list[tuple[str, str, str]]:
    """Value, label and note of the numbers on top."""
    rows = [r for r in summary if (r["split_by"], r["protocol"]) == (main, reports.head(summary))]
    sign = reports.PRIMARY[rows[0]["metric"]]
    ssl = next((r for r in rows if r["init"] == reports.main_init(summary)), None)
    rest = [r for r in rows if reports.is_floor(r["init"])]
    best = max(rest, key=lambda r: sign * r["value"], default=None)
    cards = []
    for row, label in ((ssl, "this encoder"), (best, "strongest floor")):
        if row:
            note = reports.unit(row["metric"])
            note += f"; {story.name(row['init'])}" if row is best else ""
            cards.append((story.number(row), label, note))
    data = report["data"]
    cards.append((f"{data['n']:,}", "labelled images", f"{data['n_groups']:,} {data['unit']}"))
    if report["card"] and report["card"]["datasets"]:
        trained = sum(d["n"] for d in report["card"]["datasets"])
        cards.append((f"{trained:,}", "images learned from", "without labels"))
    return cards


def _scores(report: dict, summary: list[dict]) -> dict:
    """The table, a picture for each split and the verdicts."""
    kinds = list(dict.fromkeys(row["split_by"] for row in summary))
    head = reports.head(summary)
    cells = {(r["protocol"], r["init"], r["split_by"]): r for r in summary}
    ends = [e for r in summary if r["protocol"] == head for e in (r["value"], *(r["ci"] or ()))]
    pad = 0.06 * (max(ends) - min(ends)) or 0.1
    classes = report["data"]["classes"]
    guess = 1 / len(classes) if classes and head != "segment" else None
    low = min(ends + ([guess] if guess else []))
    pictures = []
    for kind in kinds:
        rows = [r for r in summary if (r["protocol"], r["split_by"]) == (head, kind)]
        if not rows:  # that protocol has no such split
            continue
        drawn = [
            r | {"label": story.name(r["init"]), "strong": not reports.is_floor(r["init"])}
            for r in rows
        ]
        picture = figures.scores(f"scores{kind}", drawn, (low - pad, max(ends) + pad), guess)
        pictures.append((kind, story.SPLITS[kind].format(unit=report["data"]["unit"]), picture))
    tables = []
    here = dict.fromkeys([head, *(row["protocol"] for row in summary)])
    for protocol in here:
        inits = dict.fromkeys(r["init"] for r in summary if r["protocol"] == protocol)
        rows = [
            (init, [reports.texts(cells.get((protocol, init, kind))) for kind in kinds])
            for init in inits
        ]
        tables.append((protocol, story.PROTOCOLS[protocol], rows))
    unit = reports.unit(summary[0]["metric"])
    counts = [next(r for r in summary if r["split_by"] == kind) for kind in kinds]
    return {
        "kinds": [(kind, reports.examples(r), reports.span(r["n_groups"]), r["seeds"])
                  for kind, r in zip(kinds, counts, strict=True)],
        "unit": unit[0].upper() + unit[1:],
        "names": {row["init"]: story.name(row["init"]) for row in summary},
        "encoders": [r["init"] for r in summary if not reports.is_floor(r["init"])],
        "paired": _paired(report, summary, head),
        "guess": guess,
        "pictures": pictures,
        "tables": tables,
        "verdicts": _verdicts(summary, lambda row: row["protocol"] == head),
        "others": _verdicts(summary, lambda row: row["protocol"] != head),
    }  # fmt: skip


def _paired(report: dict, summary: list[dict], head: str) -> list[dict]:
    """The comparisons seed by seed of the protocol that counts most."""
    most = summary[0]["fraction"]
    return [
        row for row in report.get("paired", ())
        if (row["protocol"], row["fraction"]) == (head, most)
    ]  # fmt: skip


def _verdicts(summary: list[dict], asked: Callable[[dict], bool]) -> list[str]:
    """The verdicts on the encoders' rows that are asked for, against all floors; one text each."""
    rows = [row for row in summary if reports.is_floor(row["init"]) or asked(row)]
    return "\n".join(reports.verdict(rows)).replace("\n ", ";").splitlines()


def _mistakes(report: dict, seen: Evaluation | None, main: str) -> dict | None:
    """The confusion of the split that counts most, or for regression its scatter."""
    first = next((row["init"] for row in report["confusion"]), None)
    rows = [r for r in report["confusion"] if (r["split_by"], r["init"]) == (main, first)]
    if rows:
        counts = np.sum([row["counts"] for row in rows], axis=0)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        classes = report["data"]["classes"]
        table = list(zip(classes, counts.tolist(), shares.tolist(), strict=True))
        worst = _worst(counts, classes)
        return {"table": table, "classes": classes, "seeds": len(rows), "split": main,
                "worst": worst, "svg": None, "who": story.name(first)}  # fmt: skip
    plan = _plan(seen, main)
    said = seen.predicted.get((main, plan.seed)) if plan else None
    if said is None or report["data"]["classes"]:
        return None
    picture = figures.scatter(seen.found.truth[plan.rows("test")], said[:, 0])
    return {"table": None, "split": main, "seed": plan.seed, "svg": picture, "who": ""}


def _worst(counts: np.ndarray, classes: list[str]) -> list[tuple[str, str, int]]:
    """The three most frequent mistakes: truth, answer, how often."""
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:3]
    pairs = [np.unravel_index(i, wrong.shape) for i in order]
    return [(classes[t], classes[a], int(wrong[t, a])) for t, a in pairs if wrong[t, a]]


def _data(report: dict, seen: Evaluation | None) -> list[dict]:
    entries = {d["name"]: d for d in (report["card"] or {"datasets": []})["datasets"]}
    opened: dict[str, Prepared | None] = dict.fromkeys(entries)
    own = report["data"]
    if seen:
        opened |= {name: s for name, s in seen.sets.items() if name in entries}
    same = entries.get(own["name"], {}).get("content_hash") == own["content_hash"]
    cards = [
        datacard.datacard(name, "learned from, and labelled" if same and name == own["name"]
                          else "learned from, without labels", opened[name], entry)
        for name, entry in entries.items()
    ]  # fmt: skip
    if not same:
        labelled = seen.prepared if seen else None
        cards.append(datacard.datacard(own["name"], "labelled", labelled, own))
    return cards


def _again(report: dict, seen: Evaluation | None) -> dict:
    card, config = report["card"], report["config"]
    builds = dict.fromkeys(c["build"] for c in _data(report, seen) if c["build"])
    commands, paths = list(builds), _paths(report, seen)
    if card and card.get("config"):
        commands.append(reproduce.pretrain(card["config"], paths[0].partition("=")[2]))
    commands.append(reproduce.evaluate(config, paths))
    kinds = [("evaluation", report["versions"], report["git_commit"], config)]
    if card and "config" in card:
        about = (card.get("versions", {}), card.get("git_commit"), card["config"])
        kinds.insert(0, ("pretraining", *about))
    return {
        "commands": commands,
        "parts": [
            {"what": what, "versions": used, "commit": commit or "unknown", "seed": of.get("seed"),
             "options": reproduce.options(of)}
            for what, used, commit, of in kinds
        ],
        "step": (card or {}).get("step"),
        "splits_of": list(range(config["seed"], config["seed"] + config["repeats"])),
    }  # fmt: skip


def _paths(report: dict, seen: Evaluation | None) -> list[str]:
    """`NAME=SOURCE` of everything that was scored beside the floors."""
    if seen is None:
        return [f"{name}=<source>" for name in report["encoders"]]
    paths = []
    for name, source in seen.sources.items():
        kind = "imagenet:" if source.card.get("source", {}).get("imagenet") else ""
        paths.append(f"{name}={kind}{foreign.workdir(source) or source.path}")
    return paths
