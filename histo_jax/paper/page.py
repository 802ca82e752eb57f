"""`paper.html`: every table and figure, whatever there is of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from histo_jax import files, pages
from histo_jax.paper import cells, clusters, datasets, figures, montage, numbers, show
from histo_jax.paper.cells import Setup
from histo_jax.paper.found import Found, results
from histo_jax.paper.show import DOUBT, Shown

PAGE = "paper.html"
ABOUT = {
    "Fig. 3": "Networks trained with a part of the labels.",
    "Fig. 4": "A linear layer on frozen features, trained with a part of the labels.",
}
MONTAGE = {"a": "Evenly from all sets of pretraining", "b": "One set of slides (Camelyon17)"}


def shown(table: str, setup: Setup, found: Found) -> Shown:
    """A table with both numbers, and on how much data ours were pretrained."""
    runs = {
        source.id: found.runs[source.id]
        for sources in cells.rows(table, setup).values()
        for source in sources
        if source.id in found.runs
    }
    sets = [len(files.read_json(run / "card.json")["datasets"]) for run in runs.values()]
    remarks = ()
    if sets:
        span = f"{min(sets)}" if len(set(sets)) == 1 else f"{min(sets)} to {max(sets)}"
        remarks = (f"Ours were pretrained on {span} prepared set{'s' * (max(sets) > 1)} each.",)
    return Shown(numbers.load()[table], results(table, setup, found), remarks)


def write(setup: Setup, found: Found, miniature: dict | None = None) -> Path:
    """Writes the page into the folder.

    Args:
      setup: of the runs.
      found: what they said.
      miniature: `steps`, of tiny networks on drawn tissue; None for the real thing.
    """
    tables = [shown(name, setup, found) for name in numbers.load()]
    curves = [_curves(name, setup, found) for name in figures.LABELS]
    crops, sides = figures.crops(setup, found), _montage(setup)
    clustered = [_clustered(name, setup) for name in clusters.FIGURES]
    drawn = [*(c["pictures"] for c in curves), *(c["pictures"] for c in clustered), crops, sides]
    done = [table.done for table in tables]
    counts = {
        "cells": tuple(map(sum, zip(*done, strict=True))),
        "figures": (sum(map(bool, drawn)), len(drawn)),
        "runs": len(found.runs),
        "doubted": sum(len(table.table.doubted) for table in tables),
    }
    return pages.write(
        setup.folder / PAGE,
        "paper.html",
        miniature=miniature,
        contents=[("short", "In short"), *_contents(tables), ("again", "Make it again")],
        counts=counts,
        seeds=setup.seeds,
        tables=[_table(table) for table in tables],
        datasets=_datasets(setup),
        montage=sides,
        curves=curves,
        legend=figures.legend(),
        clusters=clustered,
        crops=crops,
        commands=_commands(miniature),
        facts=_facts(setup),
    )


def _contents(tables: list[Shown]) -> Iterator[tuple[str, str]]:
    names = [table.table.name for table in tables]
    others = ("Fig. 2", "Fig. 3", "Fig. 4", "Fig. 5", "Fig. 6", "Fig. C.7")
    yield from ((show.slug(name), name) for name in (*names, datasets.NAME, *others))


def _table(shown: Shown) -> dict[str, Any]:
    table = shown.table
    labels = max(row.count(" / ") for row in table.rows) + 1
    rows, before = [], ""
    for row in table.rows:
        first, *rest = row.split(" / ")
        if rows and rest and first != before:
            rows[-1]["last"] = True
        told = "" if rest and first == before else first
        rows.append(
            {
                "labels": [told, *rest],
                "last": False,
                "cells": [_cell(shown, row, c) for c in table.columns],
            }
        )
        before = first
    lines = [("", line) for line in show.told(shown)]
    lines += [(f"{DOUBT}{n}", why) for n, why in enumerate(shown.footnotes, 1)]
    return {
        "id": show.slug(table.name), "name": table.name, "about": table.about, "labels": labels,
        "columns": [numbers.COLUMNS[c] for c in table.columns], "rows": rows, "notes": lines,
        "done": shown.done,
    }  # fmt: skip


def _cell(shown: Shown, row: str, column: str) -> dict[str, Any]:
    cell = shown.cell(row, column)
    mean, _, spread = cell.ours.partition(" ± ")
    return {"known": cell.known, "ours": cell.ours, "mean": mean, "spread": spread,
            "paper": cell.paper, "note": cell.note}  # fmt: skip


def _curves(name: str, setup: Setup, found: Found) -> dict[str, Any]:
    pictures = list(figures.fewer_labels(name, setup, found))
    return {"id": show.slug(name), "name": name, "about": ABOUT[name], "pictures": pictures,
            "draws": setup.draws}  # fmt: skip


def _montage(setup: Setup) -> list[tuple[str, str]]:
    there = montage.paths(setup)
    if not all(path.exists() for path in there.values()):
        return []
    return [
        (MONTAGE[part], pages.data_uri(p.read_bytes(), "image/jpeg")) for part, p in there.items()
    ]


def _clustered(name: str, setup: Setup) -> dict[str, Any]:
    pictures = [
        (
            words,
            pages.data_uri(path.read_bytes(), f"image/{path.suffix[1:].replace('jpg', 'jpeg')}"),
        )
        for words, path in clusters.pictures(name, setup)
    ]
    return {"id": show.slug(name), "name": name, "about": clusters.FIGURES[name],
            "pictures": pictures}  # fmt: skip


def _datasets(setup: Setup) -> dict[str, Any]:
    rows, here = datasets.rows(setup.data_dir), len(list(datasets.pool(setup.data_dir)))
    lines = [("", line) for line in datasets.SAID] + [(DOUBT, datasets.DIFFERS)]
    return {"about": datasets.ABOUT, "head": datasets.HEAD, "rows": rows, "notes": lines,
            "here": here}  # fmt: skip


def _commands(miniature: dict | None) -> list[str]:
    if miniature:
        return ["python -m histo_jax.paper --miniature OUT"]
    return ["python -m histo_jax.paper --list", "python -m histo_jax.paper all"]


def _facts(setup: Setup) -> list[tuple[str, str]]:
    facts = [
        ("commit", files.git_commit() or "unknown"),
        ("trainings", f"{setup.seeds} of each encoder"),
        ("repeats", f"{setup.repeats} of each number, {setup.draws} in Figs. 3 and 4"),
        ("shares of labels", ", ".join(f"{100 * share:g} %" for share in setup.shares)),
    ]
    facts += [("of every training", f"{k} = {v}") for k, v in setup.train.items()]
    facts += [("of every score", f"{k} = {v}") for k, v in setup.score.items()]
    return facts
