"""One evaluation of a set with masks: U-Nets on encoders beside colour alone."""

import functools
import sys
from collections.abc import Callable, Iterator

from histo_jax.config import EvalConfig
from histo_jax.data.prepared import Prepared
from histo_jax.evaluation import pixel_floors, results, segment, squares, supervised
from histo_jax.evaluation.entrants import Entrant, Images, Net, entrants
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
    networks = {name: s for name, s in sources.items() if not isinstance(s, Given)}
    for name in sources.keys() - networks.keys():
        print(f"{name}: left out, there is no network to train", file=sys.stderr)
    random = tuple(name for name in cfg.init if name == "random")
    everyone = entrants(random, networks, images, found, untrained)
    everyone += [Entrant(name) for name in cfg.init if name in floors]
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
    result, sets = results.build(cfg, ledger, made, sources, loaded, data_dir)
    return Evaluation(
        result, prepared, found, made, None, sources, loaded, sets, None, {}, originals, shown
    )


def _answers(
    cfg: EvalConfig, entrant: Entrant, made: list[Plan], originals: Originals,
    size: Callable, floors: dict[str, Callable],
) -> Iterator[tuple[Plan, Segmented]]:  # fmt: skip
    """What an entrant says of masks, for each plan; `size` gives squares of so many pixels."""
    how, tell = cfg.supervised, supervised.Estimate(len(made), "U-Nets of each encoder")
    for plan in made:
        if not isinstance(entrant, Net):
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
