"""The figures of the report: curves, scores, truth and prediction, the map of features.

All are about 360 units wide, so that their type stays readable on a phone.
"""

from typing import Any

import numpy as np

from histo_jax.evaluation.page import svg

WIDE = 5.0  # inches
MOST = 400  # points of a curve

# Key in metrics.jsonl: title, and what it means.
CURVES = {
    "loss": ("Loss", "Lower is better."),
    "top1": ("Top-1", "How often the right one is found among all in the batch."),
    "knn": ("Online k-NN, macro-F1", "On the validation part of a labelled set, while training."),
    "knn_l1": ("Online k-NN, error", "Percent points on the validation part, while training."),
    "alignment": ("Alignment", "Distance of the two copies of one image; lower is closer."),
    "uniformity": ("Uniformity", "How evenly images are spread; lower is more even."),
    "learning_rate": ("Learning rate", "How large a step the optimizer takes."),
}


def curves(lines: list[dict], guess: float | None, top1: str = "") -> list[dict]:
    """`title`, `note`, `svg` of every known curve in the lines of `metrics.jsonl`.

    `guess` is the loss of guessing, `top1` what that number says of this run's task.
    """
    found = []
    for key, (title, note) in CURVES.items():
        steps, values = _series(lines, key)
        if not len(steps):
            continue
        chance = guess if key == "loss" else None
        note += " Dashed: what guessing costs." if chance else ""
        note = top1 or note if key == "top1" else note
        picture = _curve(key.replace("_", ""), title, steps, values, chance)
        found.append({"title": title, "note": note, "svg": picture})
    return found


def _series(lines: list[dict], key: str) -> tuple[np.ndarray, np.ndarray]:
    kept = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
    kept = kept[:: -(-len(kept) // MOST) or 1] + kept[-1:]
    points = np.array(kept, np.float64).reshape(-1, 2)
    points = points[np.isfinite(points[:, 1])]
    return points[:, 0], points[:, 1]


def _curve(
    name: str, title: str, steps: np.ndarray, values: np.ndarray, chance: float | None
) -> str:
    def paint(axes: Any) -> None:
        marker = {"marker": "o", "markersize": 3.5} if len(steps) < 25 else {}
        axes.plot(steps, values, color=svg.COLOURS[0], clip_on=False, **marker)
        if chance is not None:
            axes.axhline(chance, color=svg.SOFT, linestyle=(0, (4, 3)), linewidth=1)
        axes.set_xlabel("step")
        axes.locator_params(nbins=6)
        axes.margins(x=0.01, y=0.12)

    label = f"{title} from step {steps[0]:.0f} to {steps[-1]:.0f}, at last {values[-1]:.3g}"
    return svg.draw(f"curve{name}", label, (WIDE, 2.3), paint)


def scores(name: str, rows: list[dict], limits: tuple[float, float], guess: float | None) -> str:
    """Dots and intervals of one split.

    Args:
      name: starts the ids.
      rows: `label`, `value`, `ci` (two numbers or None), `strong` (drawn in the accent colour).
      limits: of the axis.
      guess: where chance is; None draws none.
    """

    def paint(axes: Any) -> None:
        for place, row in enumerate(reversed(rows)):
            colour = svg.COLOURS[0] if row["strong"] else svg.SOFT
            if row["ci"]:
                axes.plot(row["ci"], [place, place], color=colour, linewidth=2.4, alpha=0.75)
            axes.plot(row["value"], place, "o", color=colour, markersize=7 if row["strong"] else 6)
        if guess is not None:
            axes.axvline(guess, color=svg.SOFT, linestyle=(0, (2, 3)), linewidth=1)
        axes.set_yticks(range(len(rows)), [row["label"] for row in reversed(rows)])
        axes.tick_params(axis="y", labelcolor=svg.INK)
        axes.set_xlim(*limits)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)

    label = "; ".join(f"{row['label']} {row['value']:.3g}" for row in rows)
    return svg.draw(name, label, (WIDE, 0.55 + 0.34 * len(rows)), paint)


def over_labels(name: str, lines: list[dict]) -> str:
    """Scores over the share of labels, bars of one deviation over seeds.

    `lines` have `label`, `strong` and `points`: (percent of the labels, score, deviation).
    """

    def paint(axes: Any) -> None:
        shares = sorted({point[0] for line in lines for point in line["points"]})
        for number, line in enumerate(lines):
            x, y, spread = np.array(line["points"]).T
            axes.errorbar(
                x, y, spread, color=svg.COLOURS[number % 8], marker=svg.MARKERS[number % 4],
                markersize=5, linewidth=2.2 if line["strong"] else 1.2, elinewidth=1, capsize=2.5,
                alpha=1 if line["strong"] else 0.75,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(shares, [f"{share:.3g}" for share in shares])
        axes.set_xlabel("labels used, %")

    ends = ", ".join(f"{line['label']} {line['points'][-1][1]:.3g}" for line in lines)
    return svg.draw(
        name, f"score over the share of labels; at most labels {ends}", (WIDE, 3.2), paint
    )


def legend(lines: list[dict]) -> list[dict]:
    """Signs and colours of the lines that `over_labels` draws."""
    return [
        {"sign": svg.SIGNS[i % 4], "colour": f"var(--c{i % 8})", "name": line["label"]}
        for i, line in enumerate(lines)
    ]


def scatter(truth: np.ndarray, predicted: np.ndarray) -> str:
    """Target and prediction, both in percent; the diagonal is right."""

    def paint(axes: Any) -> None:
        low, high = min(0, predicted.min()), max(100, predicted.max())
        axes.plot([0, 100], [0, 100], color=svg.SOFT, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(
            truth, predicted, "o", color=svg.COLOURS[1], markersize=4, alpha=0.6, markeredgewidth=0
        )
        axes.set(xlabel="target, %", ylabel="prediction, %", xlim=(-2, 102))
        axes.set_ylim(low - 2, high + 2)

    return svg.draw("scatter", f"prediction against target, {len(truth)} images", (WIDE, 4), paint)


def feature_map(name: str, places: np.ndarray, colours: np.ndarray, kinds: int) -> str:
    """Points [n, 2]; `colours` int [n] picks colour and marker in turn, -1 is drawn grey below."""

    def paint(axes: Any) -> None:
        rest = colours < 0
        look = {"linestyle": "", "markeredgewidth": 0}
        axes.plot(*places[rest].T, marker="o", color=svg.SOFT, markersize=2.6, alpha=0.5, **look)
        for kind in range(kinds):
            colour, marker = svg.COLOURS[kind % 8], svg.MARKERS[kind % 4]
            axes.plot(*places[colours == kind].T, marker=marker, color=colour, markersize=3.6,
                      alpha=0.85, **look)  # fmt: skip
        axes.set(xticks=[], yticks=[], aspect=1, adjustable="datalim")
        axes.set_frame_on(False)
        axes.margins(0.02)

    return svg.draw(name, f"map of {len(places)} images", (WIDE, 4.2), paint)
