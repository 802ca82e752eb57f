"""Whether an encoder is better than another entrant, seed by seed on the same test parts."""

import numpy as np

from histo_jax.evaluation import report
from histo_jax.evaluation.labelled import Plan

FEWEST = 5  # seeds


def compare(scores: list[dict], made: list[Plan], encoders: list[str]) -> list[dict]:
    """Each encoder against everybody else, for every protocol, split and share of labels.

    The test is Student's t on the paired differences with the variance of Nadeau & Bengio (2003):
    seeds whose training images overlap are no independent trials, which a plain t test would
    forget. p values of one table, that is of one protocol, split and share, are Holm's.

    Args:
      scores: rows of the report.
      made: the plans, for the sizes of their parts.
      encoders: names.

    Returns:
      Rows `init, other, protocol, split_by, fraction, metric, difference` (above 0: `init` is
      better), `wins`, `seeds`, `p`, `p_holm`, `comparisons`; nothing below `FEWEST` seeds.
    """
    cells: dict[tuple, dict[str, dict[int, float]]] = {}
    for row in scores:
        if row["metric"] in report.PRIMARY:
            place = tuple(row[k] for k in ("protocol", "split_by", "fraction", "metric"))
            cells.setdefault(place, {}).setdefault(row["init"], {})[row["seed"]] = row["value"]
    shares = {
        (plan.split_by, plan.fraction): len(plan.rows("test")) / len(plan.rows("train"))
        for plan in made
    }
    found = []
    for place, of_init in cells.items():
        protocol, split_by, fraction, metric = place
        table = []
        for init in (name for name in encoders if name in of_init):
            for other in (name for name in of_init if name != init):
                seeds = sorted(set(of_init[init]) & set(of_init[other]))
                if len(seeds) < FEWEST:
                    continue
                a, b = ([of_init[name][seed] for seed in seeds] for name in (init, other))
                gain = report.PRIMARY[metric] * (np.array(a) - np.array(b))
                table.append(
                    {
                        "init": init, "other": other, "protocol": protocol, "split_by": split_by,
                        "fraction": fraction, "metric": metric, "seeds": len(seeds),
                        "difference": float(gain.mean()), "wins": int((gain > 0).sum()),
                        "p": corrected_t(gain, shares[split_by, fraction]),
                    }
                )  # fmt: skip
        for row, p in zip(table, holm([row["p"] for row in table]), strict=True):
            found.append(row | {"p_holm": p, "comparisons": len(table)})
    return found


def corrected_t(gain: np.ndarray, test_over_train: float) -> float:
    """Two-sided p of paired gains [seeds]: t = mean / √((1/J + n_test/n_train) variance)."""
    from scipy import stats

    variance = gain.var(ddof=1) * (1 / len(gain) + test_over_train)
    if variance == 0:
        return 1.0 if gain.mean() == 0 else 0.0
    return float(2 * stats.t.sf(abs(gain.mean()) / np.sqrt(variance), len(gain) - 1))


def interval(values: np.ndarray) -> list[float]:
    """Student's 95 % of the mean of scores or gains [seeds], as if seeds were independent trials:
    how far other seeds could move it, not other patients.
    """
    from scipy import stats

    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return [float(values.mean() - half), float(values.mean() + half)]


def holm(p: list[float]) -> list[float]:
    """Holm's adjusted p values, in the order given."""
    adjusted, running = [1.0] * len(p), 0.0
    for rank, i in enumerate(np.argsort(p, kind="stable").tolist()):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = running
    return adjusted
