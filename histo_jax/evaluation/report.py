"""The report: one row a number, floors beside, and in words what was not beaten."""

from pathlib import Path

import numpy as np

from histo_jax.files import write_json

SCHEMA = 1
FILE = "report.json"
PRIMARY = {"macro_f1": +1, "l1": -1}  # the metric a table shows, and which way is better
ROW = (
    "init", "protocol", "dataset", "split", "split_by", "metric", "value", "ci", "n", "n_groups",
    "seed", "layer", "fraction",
)  # fmt: skip


def build(
    scores: list[dict], per_class: list[dict], choices: list[dict], confusion: list[dict],
    data: dict, config: dict, card: dict | None, versions: dict, git_commit: str | None,
) -> dict:  # fmt: skip
    """`report.json` as a dict: what was not run is absent, never a number.

    `scores` have the fields `ROW`; `ci` is [low, high] at 95 % or None where one group leaves no
    spread to see. `choices` are what validation chose (rate, epoch). `confusion` has `counts` of
    `ssl`'s linear layer, rows the truth. `card` is the encoder's, `git_commit` the evaluation's.
    """
    return {
        "schema": SCHEMA,
        "scores": [{name: row[name] for name in ROW} for row in scores],
        "per_class": per_class,
        "choices": choices,
        "confusion": confusion,
        "data": data,
        "config": config,
        "card": card,
        "versions": versions,
        "git_commit": git_commit,
    }


def write(out_dir: str | Path, report: dict) -> Path:
    """Writes `report.json`, whole or not at all."""
    path = Path(out_dir) / FILE
    write_json(path, report)
    return path


def summarise(report: dict) -> list[dict]:
    """One row for each init, protocol and split_by: mean over seeds of the primary metric.

    `spread` is the deviation over seeds (ddof 1; None for one seed); `ci` the means of the seeds'
    ends, a typical interval of one seed, not one of the mean. Order of first appearance.
    """
    cells: dict[tuple, list[dict]] = {}
    for row in report["scores"]:
        if row["metric"] in PRIMARY:
            cells.setdefault((row["init"], row["protocol"], row["split_by"]), []).append(row)
    summary = []
    for (init, protocol, split_by), rows in cells.items():
        values = [r["value"] for r in rows]
        known = [r["ci"] for r in rows if r["ci"]]
        summary.append(
            {
                "init": init,
                "protocol": protocol,
                "split_by": split_by,
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
    for split_by in dict.fromkeys(row["split_by"] for row in summary):
        part = [row for row in summary if row["split_by"] == split_by]
        first = part[0]
        lines += ["", f"split {split_by}: test {span(first['n'])} images, "
                  f"{span(first['n_groups'])} groups, {first['seeds']} seeds"]  # fmt: skip
        for protocol in dict.fromkeys(row["protocol"] for row in part):
            block = [row for row in part if row["protocol"] == protocol]
            lines.append(f"  {protocol} ({unit(block[0]['metric'])}; mean ± over seeds [95 %])")
            lines += [f"    {row['init']:<18}{cell(row)}" for row in block]
    verdicts = verdict(summary)
    return "\n".join([*lines, *([""] if verdicts else []), *verdicts])


def duels(summary: list[dict]) -> list[dict]:
    """`ssl` against the strongest floor, for each split and protocol of it.

    Raw features of `ssl` are held against the floors of both kinds, raw and standardised: to beat
    random initialisation means to beat the stronger.

    Returns:
      `ssl` and `best`, rows of the summary; `verdict`: beats (intervals apart) | ahead | behind;
      `unbeaten`, rows of all floors it does not clearly beat.
    """
    found = []
    for ssl in (row for row in summary if row["init"] == "ssl"):
        base = ssl["protocol"].removesuffix("_raw")
        floors = [
            row
            for row in summary
            if row["init"] != "ssl"
            and row["split_by"] == ssl["split_by"]
            and row["protocol"] in (base, f"{base}_raw")
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
    """For each split and protocol: the strongest floor, and what `ssl` does not beat."""
    lines = []
    for duel in duels(summary):
        ssl, best = duel["ssl"], duel["best"]
        base = ssl["protocol"].removesuffix("_raw")
        lines.append(
            f"{ssl['split_by']}, {ssl['protocol']}: the strongest floor is {_name(best, base)}, "
            f"{cell(best)}; ssl {cell(ssl)} {VERDICTS[duel['verdict']]}"
        )
        unbeaten = dict.fromkeys(_name(row, base) for row in duel["unbeaten"])
        if unbeaten:
            lines.append(f"  ssl does not clearly beat: {', '.join(unbeaten)}")
    return lines


def _beats(ssl: dict, floor: dict, sign: int) -> bool:
    """Whether the intervals are apart, `ssl` on the better side."""
    if not ssl["ci"] or not floor["ci"]:
        return False
    return ssl["ci"][0] > floor["ci"][1] if sign > 0 else ssl["ci"][1] < floor["ci"][0]


def _name(row: dict, base: str) -> str:
    return row["init"] if row["protocol"] == base else f"{row['init']} (raw)"


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


def unit(metric: str) -> str:
    """A primary metric in words."""
    return "macro-F1" if metric == "macro_f1" else "mean absolute error, percent points"


def span(values: list[int]) -> str:
    """`7`, or `7 to 9`."""
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"
