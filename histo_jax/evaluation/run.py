"""One evaluation: a prepared labelled set, encoders and floors, several seeds, one report."""

import sys
from collections.abc import Iterator

import numpy as np

from histo_jax.config import EvalConfig
from histo_jax.data.prepared import default_data_dir, open_prepared
from histo_jax.errors import HistoError
from histo_jax.evaluation import (
    features,
    finetune,
    floors,
    protocols,
    report,
    results,
    segmented,
    shift,
    sites,
    slide_mean,
    supervised,
)
from histo_jax.evaluation.entrants import Encoder, Entrant, Images, Net, entrants
from histo_jax.evaluation.foreign import Given
from histo_jax.evaluation.labelled import Plan, labelled, plans
from histo_jax.evaluation.results import Evaluation, Ledger
from histo_jax.training.checkpoint import LoadedEncoder


def evaluate(
    cfg: EvalConfig,
    sources: dict[str, LoadedEncoder | Given],
    data_dir: str | None,
    untrained: str | None = None,
) -> Evaluation:
    """Scores encoders and floors by every protocol that is asked for.

    Targets are scored where the set has any, else classes. Everybody gets the same heads, settings
    to choose from and standardisation. All choices are made on validation; test is read once.
    An official split replaces the drawn ones; without ids there is no grouped split.

    Args:
      cfg: what to run.
      sources: what to score beside the floors, by its name in the tables.
      data_dir: prepared data; None = TFDS_DATA_DIR, else TFDS's default.
      untrained: architecture of the untrained network where there is no encoder.

    Raises:
      HistoError: an unknown option; no labels; a class absent from a part; a leaking split.
    """
    check(cfg)
    prepared = open_prepared(default_data_dir(data_dir), cfg.dataset)
    if "segment" in cfg.protocol:
        return segmented.evaluate(cfg, prepared, sources, data_dir, untrained)
    found = labelled(prepared)
    made = plans(cfg, prepared, found)
    if slide_mean.NAME in cfg.protocol:
        slide_mean.check(prepared, found, made)
    images = Images(cfg, prepared, found)
    everyone = entrants(cfg.init, sources, images, found, untrained)
    main = next((e for e in everyone if not e.floor and isinstance(e, Encoder)), None)
    ledger = Ledger(cfg, prepared, found)
    own, predicted = None, {}
    for entrant in everyone:
        print(f"{entrant.name}: {len(found.rows)} images, {len(made)} splits", file=sys.stderr)
        for plan, outcome, x in answers(cfg, entrant, made, ledger):
            ledger.add(entrant, plan, outcome)
            if entrant is main and plan.fraction == 1 and x is not None:
                own = x
                if outcome.protocol in report.HEADS:
                    predicted[plan.split_by, plan.seed] = outcome.shares
    loaded = main.loaded if main else None
    result, sets = results.build(cfg, ledger, made, sources, loaded, data_dir)
    read = main.read if main else everyone[-1].read  # a floor
    return Evaluation(result, prepared, found, made, read, sources, loaded, sets, own, predicted)


def answers(
    cfg: EvalConfig, entrant: Entrant, made: list[Plan], ledger: Ledger
) -> Iterator[tuple[Plan, protocols.Outcome, np.ndarray | None]]:
    """Every outcome of one entrant, its plan and the frozen features; None where it was tuned."""
    names = [name for name in cfg.protocol if name in protocols.FROZEN]
    for group in entrant.groups(made) if names else ():
        x = entrant.features(group[0])
        asked = protocols.Question(x, group, ledger.found, entrant.decay, entrant.raw)
        layers = []
        for name in names:
            for plan, outcome in protocols.FROZEN[name](asked):
                yield plan, outcome, x
                if outcome.layer and plan.fraction == 1:
                    layers.append((plan, outcome))
        ledger.shift += shift.rows(cfg, entrant, layers, ledger)
        ledger.sites += sites.rows(entrant, x, group, ledger)
    if "finetune" in cfg.protocol and isinstance(entrant, Net) and entrant.tuned:
        yield from ((plan, outcome, None) for plan, outcome in tuned(cfg, entrant, made, ledger))
    elif "finetune" in cfg.protocol and not entrant.floor:
        print(f"{entrant.name}: not fine-tuned, there is no network", file=sys.stderr)


def tuned(
    cfg: EvalConfig, entrant: Net, made: list[Plan], ledger: Ledger
) -> Iterator[tuple[Plan, protocols.Outcome]]:
    """The entrant's network trained with the labels of each plan."""
    how, tell = cfg.supervised, supervised.Estimate(len(made), "fine-tunes of each network")
    for plan in made:
        params, batch_stats = entrant.weights(plan)
        yield plan, finetune.run(
            entrant.network, params, batch_stats, entrant.read, plan, ledger.found,
            decay=entrant.decay, seed=plan.seed, freeze_to=how.freeze_to, epochs=how.epochs,
            batch_size=how.batch_size, rate=how.learning_rate, tell=tell,
        )  # fmt: skip


def check(cfg: EvalConfig) -> None:
    """Refuses options no evaluation has, before anything is opened."""
    masks = "segment" in cfg.protocol
    known = {
        "protocol": (cfg.protocol, ("segment",) if masks else (*protocols.FROZEN, "finetune")),
        "layer": ((cfg.layer,), features.LAYERS),
        "init": (cfg.init, ("random", *floors.MASKS) if masks else floors.FLOORS),
    }
    for field, (values, choices) in known.items():
        for value in values:
            if value not in choices:
                remedy = "known: " + ", ".join(choices)
                raise HistoError(f"config.{field}", "config", f"is {value!r}", remedy)
    if not cfg.dataset:
        remedy = "name a prepared labelled set, builder/config"
        raise HistoError("config.dataset", "config", "is empty", remedy)
    for field in ("repeats", "batch_size"):
        if getattr(cfg, field) < 1:
            what = f"is {getattr(cfg, field)}"
            raise HistoError(f"config.{field}", "config", what, "must be 1 or more")
    for value in cfg.shift:
        if not isinstance(value, (int, float)) or not 0 < value <= 1:
            remedy = "strengths are above 0 and at most 1"
            raise HistoError("config.shift", "config", f"holds {value!r}", remedy)
