"""The report: one row a number, floors beside, and in words what was not beaten."""

from pathlib import Path

import numpy as np

from histo_jax import files

SCHEMA = 1
FILE = "report.json"
PRIMARY = {"macro_f1": +1, "l1": -1}  # the metric a table shows, and which way is better
ROW = (
    "init", "protocol", "dataset", "split", "split_by", "metric", "value", "ci", "n", "n_groups",
    "n_train", "seed", "layer", "fraction",
)  # fmt: skip


HEADS = ("linear", "regression")  # the protocol that counts most, for classes and for targets
# Lists of rows, beside `paired`.
LISTS = ("scores", "per_class", "choices", "confusion", "shift", "sites")
FLOORS = ("random", "random_calibrated", "colour_histogram", "mean_rgb", "texture", "imagenet",
          "constant", "otsu", "colour_pixels")  # fmt: skip


def build(
    *, scores: list[dict], data: dict, config: dict, versions: dict, per_class: list[dict] = (),
    choices: list[dict] = (), confusion: list[dict] = (), shift: list[dict] = (),
    sites: list[dict] = (), paired: list[dict] = (), card: dict | None = None,
    encoders: dict[str, dict] | None = None, git_commit: str | None = None,
) -> dict:  # fmt: skip
    """`report.json` as a dict: what was not run is absent, never a number.

    `scores` have the fields `ROW`; `ci` is [low, high] at 95 % or None where one group leaves no
    spread to see. `choices` are what validation chose (rate, epoch, …). `confusion` has `counts`
    of the encoders' linear layers, rows the truth. `shift`, `sites` and `paired` are of the files
    of that name. `card` is the first encoder's, `encoders` are all by name, `git_commit` the
    evaluation's.
    """
    return {
        "schema": SCHEMA,
        "scores": [{name: row[name] for name in ROW} for row in scores],
        "per_class": list(per_class),
        "choices": list(choices),
        "confusion": list(confusion),
        "shift": list(shift),
        "sites": list(sites),
        "paired": list(paired),
        "data": data,
        "config": config,
        "card": card,
        "encoders": encoders or {},
        "versions": versions,
        "git_commit": git_commit,
    }


def write(out_dir: str | Path, report: dict) -> Path:
    """Writes `report.json`, and its scores as `report.csv`; each whole or not at all."""
    path = Path(out_dir) / FILE
    files.write_json(path, report)
    before, after = ROW[:7], ROW[8:]  # of `ci`, which takes two columns
    rows = (
        [*(row[name] for name in before), *(row["ci"] or ("", "")), *(row[name] for name in after)]
        for row in report["scores"]
    )
    files.write_csv(path.with_suffix(".csv"), [*before, "low", "high", *after], rows)
    return path


def summarise(report: dict) -> list[dict]:
    """One row for each init, protocol, split_by and fraction: mean over seeds of the metric shown.

    `spread` is the deviation over seeds (ddof 1; None for one seed); `ci` the means of the seeds'
    ends, a typical interval of one seed, not one of the mean. Order of first appearance.
    """
    cells: dict[tuple, list[dict]] = {}
    for row in report["scores"]:
        if row["metric"] in PRIMARY:
            place = tuple(row[k] for k in ("init", "protocol", "split_by", "fraction"))
            cells.setdefault(place, []).append(row)
    summary = []
    for (init, protocol, split_by, fraction), rows in cells.items():
        values = [r["value"] for r in rows]
        known = [r["ci"] for r in rows if r["ci"]]
        summary.append(
            {
                "init": init,
                "protocol": protocol,
                "split_by": split_by,
                "fraction": fraction,
                "metric": rows[0]["metric"],
                "value": float(np.mean(values)),
                "spread": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "ci": np.mean(known, axis=0).tolist() if known else None,
                "seeds": len(rows),
                "n": [r["n"] for r in rows],
                "n_groups": [r["n_groups"] for r in rows],
            }
        )
    return summary


def full(summary: list[dict]) -> list[dict]:
    """The rows at the largest share of labels, usually all."""
    most = max((row["fraction"] for row in summary), default=1.0)
    return [row for row in summary if row["fraction"] == most]


def head(summary: list[dict]) -> str:
    """The protocol that counts most: the linear layer, else the first."""
    here = list(dict.fromkeys(row["protocol"] for row in summary))
    return next((name for name in HEADS if name in here), here[0])


def main_init(summary: list[dict]) -> str | None:
    """The first encoder; None where there are floors alone."""
    return next((row["init"] for row in summary if not is_floor(row["init"])), None)


def table(report: dict) -> str:
    """The report as text for a terminal: a block for each split and protocol, then the verdicts."""
    summary = summarise(report)
    data = report["data"]
    lines = [f"{data['name']}: {data['n']} labelled images in {data['n_groups']} groups"]
    seen = data["pretrained_on"]
    if seen and seen["images"]:
        lines.append(f"note: {seen['images']} of them were in pretraining (without their labels)")
    for name in seen["unknown"] if seen else ():
        lines.append(f"note: unknown whether pretraining on {name} had them: set not here")
    for split_by, share in dict.fromkeys((row["split_by"], row["fraction"]) for row in summary):
        part = [row for row in summary if (row["split_by"], row["fraction"]) == (split_by, share)]
        first = part[0]
        lines += ["", f"split {split_by}: {of_labels(share)}test {examples(first)}, "
                  f"{span(first['n_groups'])} groups, {first['seeds']} seeds"]  # fmt: skip
        for protocol in dict.fromkeys(row["protocol"] for row in part):
            block = [row for row in part if row["protocol"] == protocol]
            other = "" if block[0]["n"] == first["n"] else f"test {examples(block[0])}; "
            how = f"{unit(block[0]['metric'])}; {other}mean ± over seeds [95 %]"
            lines.append(f"  {protocol} ({how})")
            lines += [f"    {row['init']:<18}{cell(row)}" for row in block]
    verdicts = verdict(summary)
    return "\n".join([*lines, *([""] if verdicts else []), *verdicts])


def is_floor(init: str) -> bool:
    """Whether an init is a baseline; an untrained network may name its architecture."""
    return init.split(":")[0] in FLOORS


def base(protocol: str) -> str:
    """A protocol without what says that its features were raw."""
    return protocol.removesuffix("_raw").removesuffix("_paper")


def duels(summary: list[dict]) -> list[dict]:
    """Each encoder against the strongest floor, for each protocol, split and share of labels.

    Raw features are held against the floors of both kinds, raw and standardised: to beat random
    initialisation means to beat the stronger.

    Returns:
      `ssl`, the encoder's, and `best`, rows of the summary; `verdict`: beats (intervals apart) |
      ahead | behind; `unbeaten`, rows of all floors it does not clearly beat.
    """
    found = []
    for ssl in (row for row in summary if not is_floor(row["init"])):
        floors = [
            row
            for row in summary
            if is_floor(row["init"])
            and (row["split_by"], row["fraction"]) == (ssl["split_by"], ssl["fraction"])
            and base(row["protocol"]) == base(ssl["protocol"])
        ]
        if not floors:
            continue
        sign = PRIMARY[ssl["metric"]]
        best = max(floors, key=lambda row: sign * row["value"])
        behind = sign * ssl["value"] <= sign * best["value"]
        word = "behind" if behind else "beats" if _beats(ssl, best, sign) else "ahead"
        unbeaten = [row for row in floors if not _beats(ssl, row, sign)]
        found.append({"ssl": ssl, "best": best, "verdict": word, "unbeaten": unbeaten})
    return found


VERDICTS = {
    "beats": "beats it, intervals separated",
    "ahead": "is ahead, but the intervals overlap or are unknown",
    "behind": "does not beat it",
}


def verdict(summary: list[dict]) -> list[str]:
    """For each split and protocol: the strongest floor, and what an encoder does not beat."""
    lines = []
    for duel in duels(summary):
        ssl, best = duel["ssl"], duel["best"]
        lines.append(
            f"{ssl['split_by']}, {of_labels(ssl['fraction'])}{ssl['protocol']}: the strongest "
            f"floor is {_name(best, ssl)}, {cell(best)}; {ssl['init']} {cell(ssl)} "
            f"{VERDICTS[duel['verdict']]}"
        )
        unbeaten = dict.fromkeys(_name(row, ssl) for row in duel["unbeaten"])
        if unbeaten:
            lines.append(f"  {ssl['init']} does not clearly beat: {', '.join(unbeaten)}")
    return lines


def _beats(ssl: dict, floor: dict, sign: int) -> bool:
    """Whether the intervals are apart, `ssl` on the better side."""
    if not ssl["ci"] or not floor["ci"]:
        return False
    return ssl["ci"][0] > floor["ci"][1] if sign > 0 else ssl["ci"][1] < floor["ci"][0]


def _name(row: dict, ssl: dict) -> str:
    suffix = row["protocol"].removeprefix(base(row["protocol"])).replace("_", "")
    return f"{row['init']} ({suffix})" if suffix else row["init"]


def of_labels(fraction: float) -> str:
    """`5 % of the labels, `; empty for all of them."""
    return "" if fraction == 1 else f"{100 * fraction:.3g} % of the labels, "


def texts(row: dict | None) -> dict | None:
    """`value`, `spread` over seeds and `ci` of a row of the summary as text, empty where absent."""
    if row is None:
        return None
    digits = 3 if row["metric"] == "macro_f1" else 2
    return {
        "value": f"{row['value']:.{digits}f}",
        "spread": "" if row["spread"] is None else f"± {row['spread']:.{digits}f}",
        "ci": "[{:.{d}f}, {:.{d}f}]".format(*row["ci"], d=digits) if row["ci"] else "",
    }


def cell(row: dict) -> str:
    """A row of the summary in one line."""
    return " ".join(text for text in texts(row).values() if text)


def examples(row: dict) -> str:
    """How many were asked about: `24 images`."""
    return f"{span(row['n'])} {counted(row['protocol'])}"


def counted(protocol: str) -> str:
    """What one example of a protocol is."""
    return "slides" if protocol == "slide_mean" else "images"


def unit(metric: str) -> str:
    """A primary metric in words."""
    return "macro-F1" if metric == "macro_f1" else "mean absolute error, percent points"


def span(values: list[int]) -> str:
    """`7`, or `7 to 9`."""
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"
