"""The part of the report about few labels: scores over shares of them (paper, Figs. 3 and 4)."""

from histo_jax.evaluation import report
from histo_jax.evaluation.page import figures, story


def curves(summary: list[dict], result: dict) -> dict | None:
    """A picture and a table for each protocol and split; None where one share alone was scored.

    Args:
      summary: of the report, every share of labels.
      result: the report.
    """
    shares = sorted({row["fraction"] for row in summary})
    if len(shares) < 2:
        return None
    parts = []
    for protocol, kind in dict.fromkeys((r["protocol"], r["split_by"]) for r in summary):
        rows = [r for r in summary if (r["protocol"], r["split_by"]) == (protocol, kind)]
        lines = []
        for init in dict.fromkeys(row["init"] for row in rows):
            of_share = {row["fraction"]: row for row in rows if row["init"] == init}
            lines.append(
                {
                    "init": init, "label": story.name(init), "strong": not report.is_floor(init),
                    "points": [
                        (100 * share, of_share[share]["value"], of_share[share]["spread"] or 0)
                        for share in shares if share in of_share
                    ],
                    "cells": [report.texts(of_share.get(share)) for share in shares],
                }
            )  # fmt: skip
        picture = figures.over_labels(f"labels{protocol}{kind}".replace("_", ""), lines)
        parts.append(
            {
                "protocol": protocol, "about": story.PROTOCOLS[protocol], "split": kind,
                "note": story.SPLITS[kind].format(unit=result["data"]["unit"]),
                "lines": lines, "svg": picture, "legend": figures.legend(lines),
            }
        )  # fmt: skip
    seeds = sorted({row["seeds"] for row in summary})
    counts = {share: _count(result, share) for share in shares}
    return {"shares": [(100 * share, counts[share]) for share in shares], "parts": parts,
            "unit": report.unit(summary[0]["metric"]), "seeds": report.span(seeds)}  # fmt: skip


def _count(result: dict, share: float) -> str:
    """How many images a share is; empty where no row says so."""
    found = [
        row["n_train"]
        for row in result["scores"]
        if row["fraction"] == share and report.counted(row["protocol"]) == "images"
    ]
    return report.span(found) if found else ""
