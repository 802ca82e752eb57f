"""The part of the report about what should not matter: patient, scanner, a change of stain."""

import numpy as np

from histo_jax.evaluation import report
from histo_jax.evaluation.page import story


def tables(result: dict) -> dict | None:
    """Means over seeds of the `sites` and `shift` rows; None where neither was asked."""
    sites, shift = result.get("sites", []), result.get("shift", [])
    if not sites and not shift:
        return None
    return {"sites": _sites(sites), "shift": _shift(shift)}


def _sites(rows: list[dict]) -> list[dict]:
    """One table a question, a row an init."""
    found = []
    for site in dict.fromkeys(row["site"] for row in rows):
        own = [row for row in rows if row["site"] == site]
        lines = [
            {"init": init, "name": story.name(init), "strong": not report.is_floor(init),
             "value": _mean([r["value"] for r in own if r["init"] == init])}
            for init in dict.fromkeys(row["init"] for row in own)
        ]  # fmt: skip
        found.append(
            {"site": site, "names": own[0]["names"], "chance": own[0]["chance"], "lines": lines,
             "by_class": _mean([r["by_class"] for r in own])}
        )  # fmt: skip
    return found


def _shift(rows: list[dict]) -> list[dict]:
    """One table a split, a row an init: the score before, and after each strength."""
    found = []
    for kind in dict.fromkeys(row["split_by"] for row in rows):
        own = [row for row in rows if row["split_by"] == kind]
        strengths = list(dict.fromkeys(row["strength"] for row in own))
        lines = []
        for init in dict.fromkeys(row["init"] for row in own):
            of_init = [row for row in own if row["init"] == init]
            after = [_mean([r["value"] for r in of_init if r["strength"] == s]) for s in strengths]
            lines.append(
                {"init": init, "name": story.name(init), "strong": not report.is_floor(init),
                 "before": _mean([r["before"] for r in of_init]), "after": after}
            )  # fmt: skip
        metric = own[0]["metric"]
        found.append({"split": kind, "strengths": strengths, "lines": lines,
                      "digits": 3 if metric == "macro_f1" else 2,
                      "unit": report.unit(metric)})  # fmt: skip
    return found


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
