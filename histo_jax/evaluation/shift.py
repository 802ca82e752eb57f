"""What a change of stain in the test images does to a score: the heads stay as they were fitted."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from histo_jax.augment import stain
from histo_jax.config import EvalConfig
from histo_jax.evaluation import protocols, report
from histo_jax.evaluation.entrants import Entrant, Seeing


def rows(cfg: EvalConfig, entrant: Entrant, layers: list, ledger: Any) -> list[dict]:
    """A row for each strength and fitted layer: its score on shaken test images, and the drop.

    Every image has a change of its own, by its key: each stain's concentration c becomes
    alpha c + beta, alpha in 1 ± strength, beta in ± strength (Tellez et al. 2018; natural log).

    Args:
      cfg: `shift` holds the strengths.
      entrant: whose layers these are; features of a file can't be shifted.
      layers: pairs of plan and outcome.
      ledger: see `run.Ledger`.
    """
    if not isinstance(entrant, Seeing):
        return []
    found, made = ledger.found, []
    for strength in cfg.shift if layers else ():
        alpha, beta = draw(found.keys, strength)
        batches = entrant.read(np.arange(entrant.images.n))
        x = entrant.describe(_shaken(batches, alpha, beta), layers[0][0])
        for plan, outcome in layers:
            moved = protocols.Outcome(outcome.protocol, outcome.layer(x[plan.rows("test")]))
            first, last = (_primary(o, plan, found) for o in (outcome, moved))
            cell = ledger.cell(entrant, plan, outcome.protocol)
            made.append(cell | {"strength": float(strength), **last, "before": first["value"]})
    return made


def draw(keys: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """alpha and beta, float32 [n, 3], uniform, functions of the key and the strength alone."""
    digests = (hashlib.sha256(f"shift/{key}".encode()).digest() for key in keys.tolist())
    numbers = np.array([np.frombuffer(d[:24], "<u4") for d in digests]) / 2**32
    uniform = (2 * numbers - 1).astype(np.float32)
    return 1 + strength * uniform[:, :3], strength * uniform[:, 3:]


def _shaken(
    batches: Iterable[np.ndarray], alpha: np.ndarray, beta: np.ndarray
) -> Iterator[np.ndarray]:
    at = 0
    for images in batches:
        here = slice(at, at + len(images))
        made = _shake(images.astype(np.float32), alpha[here], beta[here])
        yield np.round(np.asarray(made)).astype(np.uint8)
        at += len(images)


_shake = jax.jit(stain.shake)


def _primary(outcome: protocols.Outcome, plan: Any, found: Any) -> dict:
    """`metric`, `value`, `ci` of the metric a table shows."""
    values, _ = protocols.score(outcome, plan, found)
    return next(v for v in values if v["metric"] in report.PRIMARY)
