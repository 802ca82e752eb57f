"""Scores and their intervals, from confusion counts and absolute errors."""

import numpy as np

RESAMPLES = 1000


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 [classes, classes]; rows are the truth."""
    flat = np.bincount(truth.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def f1_per_class(counts: np.ndarray) -> np.ndarray:
    """2TP/(2TP+FP+FN) [..., classes]; 0 where a class is neither there nor predicted."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    total = counts.sum(-1) + counts.sum(-2)
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), 0.0)


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Unweighted mean over the fixed class list (paper, appendix A); `counts` [..., k, k]."""
    return f1_per_class(counts).mean(-1)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of right answers; `counts` [..., k, k]."""
    return np.trace(counts, axis1=-2, axis2=-1) / np.maximum(counts.sum((-2, -1)), 1)


def balanced_accuracy(counts: np.ndarray) -> np.ndarray:
    """Mean recall over the classes with support; `counts` [..., k, k]."""
    support = counts.sum(-1)
    recall = np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(support, 1)
    return (recall * (support > 0)).sum(-1) / np.maximum((support > 0).sum(-1), 1)


def classification(
    truth: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int, seed: int
) -> dict[str, tuple[float, list[float] | None]]:
    """Macro-F1, accuracy and balanced accuracy in 0..1, each with its interval.

    A resample may miss a small class; its macro-F1 is the mean over the classes it holds, since a
    zero would say the encoder failed where nothing was asked.

    Args:
      truth, predicted: int [n].
      groups: [n], resampled as wholes.
      classes: length of the fixed class list.
      seed: of the resamples.

    Returns:
      `{metric: (value, [low, high])}`, intervals as in `bootstrap`.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    cell = (numbers * classes + truth) * classes + predicted
    counts = np.bincount(cell, minlength=len(names) * classes * classes)
    counts = counts.reshape(len(names), classes, classes)
    whole = counts.sum(0)
    scores = {"macro_f1": macro_f1, "accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
    resampled = {**scores, "macro_f1": _macro_f1_where_asked}
    intervals = bootstrap(counts, resampled, seed)
    return {name: (float(score(whole)), intervals[name]) for name, score in scores.items()}


def regression(
    truth: np.ndarray, predicted: np.ndarray, groups: np.ndarray, seed: int
) -> dict[str, tuple[float, list[float] | None]]:
    """Mean absolute error, in the target's unit (percent points), with its interval."""
    names, numbers = np.unique(groups, return_inverse=True)
    errors = np.abs(predicted.astype(np.float64) - truth)
    sums = np.stack(
        [np.bincount(numbers, errors, len(names)), np.bincount(numbers, minlength=len(names))], 1
    )
    interval = bootstrap(sums, {"l1": lambda s: s[..., 0] / s[..., 1]}, seed)["l1"]
    return {"l1": (float(errors.mean()), interval)}


def bootstrap(
    per_group: np.ndarray, scores: dict, seed: int, resamples: int = RESAMPLES
) -> dict[str, list[float] | None]:
    """95 % percentile intervals by resampling whole groups: a patient's images are alike.

    Args:
      per_group: [groups, ...], additive over groups (counts, sums).
      scores: name to function of the summed array, over leading axes.
      seed: of the resamples.
      resamples: how many.

    Returns:
      `{name: [low, high]}`; None for a single group, which holds no information on spread.
    """
    groups = len(per_group)
    if groups < 2:
        return dict.fromkeys(scores)
    rng = np.random.default_rng(seed)
    flat = per_group.reshape(groups, -1).astype(np.float64)
    chunk = max(1, min(resamples, 4_000_000 // groups))
    drawn: dict[str, list] = {name: [] for name in scores}
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        picks = rng.integers(0, groups, (rows, groups)) + groups * np.arange(rows)[:, None]
        weights = np.bincount(picks.ravel(), minlength=rows * groups).reshape(rows, groups)
        sums = (weights @ flat).reshape(rows, *per_group.shape[1:])
        for name, score in scores.items():
            drawn[name].append(score(sums))
    return {
        name: np.percentile(np.concatenate(values), [2.5, 97.5]).tolist()
        for name, values in drawn.items()
    }


def per_class(truth: np.ndarray, predicted: np.ndarray, scores: np.ndarray) -> list[dict]:
    """Precision, recall, F1, support and one-against-rest AUROC of each class.

    Args:
      truth, predicted: int [n].
      scores: float [n, classes], higher is likelier.

    Returns:
      One dict a class; a value that is not defined is None.
    """
    counts = confusion(truth, predicted, scores.shape[1])
    f1 = f1_per_class(counts)
    rows = []
    for c in range(scores.shape[1]):
        hits, support, called = counts[c, c], counts[c].sum(), counts[:, c].sum()
        rows.append(
            {
                "precision": float(hits / called) if called else None,
                "recall": float(hits / support) if support else None,
                "f1": float(f1[c]),
                "support": int(support),
                "auroc": auroc(truth == c, scores[:, c]),
            }
        )
    return rows


def auroc(positive: np.ndarray, score: np.ndarray) -> float | None:
    """Chance that a positive outranks a negative, ties half; None without both."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2  # mean rank of tied scores, from 1
    above = rank[inverse][positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def _macro_f1_where_asked(counts: np.ndarray) -> np.ndarray:
    asked = counts.sum(-1) > 0
    return (f1_per_class(counts) * asked).sum(-1) / np.maximum(asked.sum(-1), 1)
