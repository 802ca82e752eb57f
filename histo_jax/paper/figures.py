"""The paper's curves, ours drawn as there: Figs. 3, 4 and C.7."""

from collections.abc import Iterator
from typing import Any

from histo_jax.evaluation.page import svg
from histo_jax.paper import cells, numbers
from histo_jax.paper.cells import STARTS, Setup
from histo_jax.paper.found import Found, curve, results

LABELS = {"Fig. 3": "Table D.7", "Fig. 4": "Table D.8"}  # 100 % of the labels
LINES = ("-", "--", ":")
SHOWN = 100.0  # percent points: beyond, an error is off the scale, as in the paper


def fewer_labels(figure: str, setup: Setup, found: Found) -> Iterator[tuple[str, str, str]]:
    """A picture a set: its heading, what it is in words, and the SVG; none without any number.

    Each has a panel a network, with a curve a start.
    """
    table = LABELS[figure]
    asked = {(q.source.id, q.task): q for q in cells.curves(table, setup)}
    known = {
        (row, task): curve(question, setup, found)
        for row, (source, *_) in cells.rows(table, setup).items()
        for (name, task), question in asked.items()
        if name == source.id
    }
    networks = list(dict.fromkeys(row.split(" / ")[0] for row, _ in known))
    for task in (*numbers.MEANS["cls"], "bpq"):
        lines = {(n, s): known[f"{n} / {s}", task] for n in networks for s in STARTS}
        if any(lines.values()):
            name = f"{figure}{task}".translate(dict.fromkeys(map(ord, ". _")))
            words = f"{figure}, {numbers.COLUMNS[task]}: {numbers.unit(task)}, over labels"
            picture = svg.draw_panels(
                name, words, (7.6, 2.1), lambda f, lines=lines: _panels(f, networks, lines)
            )
            off = any(r.mean > SHOWN for points in lines.values() for _, r in points)
            left_out = f", what is above {SHOWN:.0f} left out" if off else ""
            yield numbers.COLUMNS[task], numbers.unit(task) + left_out, picture


def _panels(figure: Any, networks: list[str], lines: dict) -> None:
    every = figure.subplots(1, len(networks), sharex=True, sharey=True)
    for axes, network in zip(every, networks, strict=True):
        for number, start in enumerate(STARTS):
            points = [(100 * share, r) for share, r in lines[network, start]]
            points = [(share, r) for share, r in points if r.mean <= SHOWN]
            if not points:
                continue
            look = {"color": svg.COLOURS[(7, 1, 0)[number]], "marker": svg.MARKERS[number]}
            axes.errorbar(
                [share for share, _ in points], [r.mean for _, r in points],
                [r.spread or 0 for _, r in points],
                linestyle=LINES[-1 - number], markersize=4, capsize=2, elinewidth=1, **look,
            )  # fmt: skip
        axes.set_title(network)
        axes.set_xlabel("labels, %")
        axes.set_xticks([5, 20, 50, 100])


def legend() -> list[tuple[str, str, str]]:
    """Colour, sign and name of each start."""
    return [
        (f"var(--c{(7, 1, 0)[number]})", svg.SIGNS[number], start)
        for number, start in enumerate(STARTS)
    ]


def crops(setup: Setup, found: Found) -> str | None:
    """Fig. C.7, the means of Table D.11: ours solid, the paper's hollow; None without ours."""
    table = numbers.load()["Table D.11"]
    ours = results(table.name, setup, found)
    known = {row: ours[row, "cls"] for row in table.rows}
    if all(result.mean is None for result in known.values()):
        return None
    crops = list(dict.fromkeys(row.split(" / ")[0] for row in table.rows))
    jitters = list(dict.fromkeys(row.split(" / ")[1] for row in table.rows))

    def paint(figure: Any) -> None:
        every = figure.subplots(1, len(crops), sharey=True)
        for axes, crop in zip(every, crops, strict=True):
            for place, jitter in enumerate(jitters):
                row = f"{crop} / {jitter}"
                doubted = (row, "cls") in table.doubted
                axes.plot(
                    place, table.values[row, "cls"], "x" if doubted else "o", color=svg.SOFT,
                    fillstyle="none", markersize=7,
                )  # fmt: skip
                if known[row].mean is not None:
                    bar = known[row].spread or 0
                    how = {"color": svg.COLOURS[0], "marker": "o", "markersize": 6, "capsize": 2}
                    axes.errorbar([place], [known[row].mean], [bar], **how)
            axes.set_title(f"crops from {crop}")
            axes.set_xticks(range(len(jitters)), jitters)
            axes.set_xlim(-0.5, len(jitters) - 0.5)

    label = "Fig. C.7: mean macro-F1 of five sets over jitter, for three smallest crops"
    return svg.draw_panels("figc7", label, (7.6, 2.4), paint)
