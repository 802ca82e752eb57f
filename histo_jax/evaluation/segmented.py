"""One evaluation of a set with masks: U-Nets on encoders beside colour alone."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator

from histo_jax.config import EvalConfig
from histo_jax.data.prepared import Prepared, default_data_dir
from histo_jax.evaluation import pixel_floors, pretraining, results, segment, squares, supervised
from histo_jax.evaluation.entrants import Encoder, Entrant, Images, entrants
from histo_jax.evaluation.foreign import Given
from histo_jax.evaluation.labelled import Plan, plans
from histo_jax.evaluation.masks import Originals, masked
from histo_jax.evaluation.results import Evaluation, Ledger
from histo_jax.evaluation.segment import Segmented
from histo_jax.training.checkpoint import LoadedEncoder

PROTOCOL = "segment"


def evaluate(
    cfg: EvalConfig,
    prepared: Prepared,
    sources: dict[str, LoadedEncoder | Given],
    data_dir: str | None,
    untrained: str | None = None,
) -> Evaluation:
    """As `run.evaluate`, of masks; features from a file have no network to train.

    Raises:
      HistoError: no masks, values in them that are no classes, sides that no U-Net can halve.
    """
    found = masked(prepared)
    made = plans(cfg, prepared, found)
    images, originals = Images(cfg, prepared, found), Originals(prepared, found)
    floors = pixel_floors.floors(len(found.kinds))
    networks = dataclasses.replace(cfg, init=tuple(i for i in cfg.init if i == "random"))
    everyone: list[Entrant] = [
        entrant
        for entrant in entrants(networks, sources, images, found, untrained)
        if isinstance(entrant, Encoder)
    ]
    for name in (name for name, source in sources.items() if isinstance(source, Given)):
        print(f"{name}: left out, there is no network to train", file=sys.stderr)
    everyone += [_Floor(name) for name in cfg.init if name in floors]
    size = functools.cache(functools.partial(squares.MODES[cfg.segment.mode], originals))
    ledger, shown = Ledger(cfg, prepared, found), {}
    for entrant in everyone:
        print(f"{entrant.name}: {len(found.rows)} images, {len(made)} splits", file=sys.stderr)
        for plan, said in _answers(cfg, entrant, made, originals, size, floors):
            cell = ledger.cell(entrant, plan, PROTOCOL)
            values, classes = segment.score(said, plan, found)
            trained = {"n_train": len(plan.rows("train"))}
            ledger.enter(cell, [v | trained for v in values], classes, said.choice)
            shown.setdefault(plan, {})[entrant.name] = said
    main = next((e for e in everyone if not e.floor), None)
    loaded = main.loaded if main else None
    sets = pretraining.open_sets(loaded, default_data_dir(data_dir), prepared)
    result = results.build(cfg, ledger, made, sources, loaded, sets)
    read = everyone[0].read
    return Evaluation(
        result, prepared, found, made, read, sources, loaded, sets, None, {}, originals, shown
    )


class _Floor(Entrant):
    """A baseline without a network."""

    def __init__(self, name: str):
        self.name, self.decay = name, 0.0


def _answers(
    cfg: EvalConfig, entrant: Entrant, made: list[Plan], originals: Originals,
    size: Callable, floors: dict[str, Callable],
) -> Iterator[tuple[Plan, Segmented]]:  # fmt: skip
    """What an entrant says of masks, for each plan; `size` gives squares of so many pixels."""
    how, tell = cfg.supervised, supervised.Estimate(len(made), "U-Nets of each encoder")
    for plan in made:
        if not isinstance(entrant, Encoder):
            yield plan, floors[entrant.name](originals, plan)
            continue
        params, batch_stats = entrant.weights(plan)
        seen = size(cfg.image_size or entrant.card["image_size"])
        yield plan, segment.run(
            entrant.network, params, batch_stats, seen, plan, decay=entrant.decay, seed=plan.seed,
            class_weights=cfg.segment.class_weights, dice=cfg.segment.dice,
            freeze_to=how.freeze_to, epochs=how.epochs, batch_size=how.batch_size,
            rate=how.learning_rate, tell=tell,
        )  # fmt: skip
