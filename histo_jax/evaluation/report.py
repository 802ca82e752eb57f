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
    scores: list[dict], per_class: list[dict], choices: list[dict], data: dict, config: dict,
    card: dict | None, versions: dict,
) -> dict:  # fmt: skip
    """`report.json` as a dict: what was not run is absent, never a number.

    `scores` have the fields `ROW`; `ci` is [low, high] at 95 % or None where one group leaves no
    spread to see. `choices` are what validation chose (rate, epoch). `card` is the encoder's.
    """
    return {
        "schema": SCHEMA,
        "scores": [{name: row[name] for name in ROW} for row in scores],
        "per_class": per_class,
        "choices": choices,
        "data": data,
        "config": config,
        "card": card,
        "versions": versions,
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
    if data["pretrained_on"]:
        lines.append("note: the encoder was pretrained on these images (without their labels)")
    for split_by in dict.fromkeys(row["split_by"] for row in summary):
        part = [row for row in summary if row["split_by"] == split_by]
        first = part[0]
        lines += ["", f"split {split_by}: test {_range(first['n'])} images, "
                  f"{_range(first['n_groups'])} groups, {first['seeds']} seeds"]  # fmt: skip
        for protocol in dict.fromkeys(row["protocol"] for row in part):
            block = [row for row in part if row["protocol"] == protocol]
            lines.append(f"  {protocol} ({_unit(block[0]['metric'])}; mean ± over seeds [95 %])")
            lines += [f"    {row['init']:<18}{_cell(row)}" for row in block]
    verdicts = verdict(summary)
    return "\n".join([*lines, *([""] if verdicts else []), *verdicts])


def verdict(summary: list[dict]) -> list[str]:
    """For each split and protocol: the strongest floor, and what `ssl` does not beat.

    Raw features of `ssl` are held against the floors of both kinds, raw and standardised: to beat
    random initialisation means to beat the stronger.
    """
    lines = []
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
        lines.append(
            f"{ssl['split_by']}, {ssl['protocol']}: the strongest floor is {_name(best, base)}, "
            f"{_cell(best)}; ssl {_cell(ssl)} {_compare(ssl, best, sign)}"
        )
        unbeaten = [_name(row, base) for row in floors if not _beats(ssl, row, sign)]
        if unbeaten:
            lines.append(f"  ssl does not clearly beat: {', '.join(dict.fromkeys(unbeaten))}")
    return lines


def _compare(ssl: dict, floor: dict, sign: int) -> str:
    if sign * ssl["value"] <= sign * floor["value"]:
        return "does not beat it"
    if _beats(ssl, floor, sign):
        return "beats it, intervals separated"
    return "is ahead, but the intervals overlap or are unknown"


def _beats(ssl: dict, floor: dict, sign: int) -> bool:
    """Whether the intervals are apart, `ssl` on the better side."""
    if not ssl["ci"] or not floor["ci"]:
        return False
    return ssl["ci"][0] > floor["ci"][1] if sign > 0 else ssl["ci"][1] < floor["ci"][0]


def _name(row: dict, base: str) -> str:
    return row["init"] if row["protocol"] == base else f"{row['init']} (raw)"


def _cell(row: dict) -> str:
    digits = 3 if row["metric"] == "macro_f1" else 2
    spread = "" if row["spread"] is None else f" ± {row['spread']:.{digits}f}"
    low_high = "" if not row["ci"] else " [{:.{d}f}, {:.{d}f}]".format(*row["ci"], d=digits)
    return f"{row['value']:.{digits}f}{spread}{low_high}"


def _unit(metric: str) -> str:
    return "macro-F1" if metric == "macro_f1" else "mean absolute error, percent points"


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"
