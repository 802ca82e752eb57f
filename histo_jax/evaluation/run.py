"""One evaluation: a prepared labelled set, an encoder and its floors, several seeds, one report."""

import dataclasses
import importlib.metadata
import sys
from collections.abc import Iterator

import numpy as np

from histo_jax.config import EvalConfig
from histo_jax.data.prepared import Prepared, default_data_dir, open_prepared
from histo_jax.errors import HistoError
from histo_jax.evaluation import features, floors, linear, pretraining, protocols, report
from histo_jax.evaluation.labelled import Labelled, Plan, labelled, plans
from histo_jax.models import build_encoder
from histo_jax.training import checkpoint
from histo_jax.training.card import as_dict, git_commit, versions
from histo_jax.training.checkpoint import LoadedEncoder

# The untrained network where no encoder is given.
UNTRAINED = {
    "encoder": "resnet18", "width": 64, "image_size": 224, "mean": [0.5] * 3, "std": [0.5] * 3,
    "datasets": [],
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """A report, and what its page shows beside it.

    Attributes:
      report: `report.json`.
      prepared: the labelled set.
      found: its labelled rows.
      made: the splits.
      read: gives their images.
      loaded: the encoder, or None.
      sets: the pretraining sets that are here; None for those that are not.
      features: of the encoder, float32 [n, width]; None without one.
      predicted: what its linear layer said of the test part, by (split_by, seed): shares
        [n_test, classes] or targets [n_test, 1].
    """

    report: dict
    prepared: Prepared
    found: Labelled
    made: list[Plan]
    read: features.Reader
    loaded: LoadedEncoder | None
    sets: dict[str, Prepared | None]
    features: np.ndarray | None
    predicted: dict[tuple[str, int], np.ndarray]


def evaluate(cfg: EvalConfig, loaded: LoadedEncoder | None, data_dir: str | None) -> Evaluation:
    """Scores a frozen encoder and its floors.

    Targets are scored where the set has any, else classes. Every initialisation gets the same
    head, learning-rate sweep and standardisation (`linear` or `regression`, `knn20`, `knn200`);
    the network as pretrained and as initialised also without, as the paper has it (`linear_raw`,
    `regression_raw`). All choices are made on validation; test is read once.
    An official split replaces the drawn ones; without ids there is no grouped split.

    Args:
      cfg: what to run.
      loaded: the pretrained encoder; None scores the floors alone.
      data_dir: prepared data; None = TFDS_DATA_DIR, else TFDS's default.

    Raises:
      HistoError: an unknown option; no labels; a class absent from a part; a leaking split.
    """
    _check(cfg)
    prepared = open_prepared(default_data_dir(data_dir), cfg.dataset)
    found = labelled(prepared)
    made = plans(cfg, prepared, found)
    card = loaded.card if loaded else UNTRAINED
    sets = pretraining.open_sets(card, default_data_dir(data_dir), prepared)
    size = cfg.image_size or card["image_size"]
    network = _network(card, loaded)
    read = features.reader(prepared, found.rows, size, cfg.batch_size)
    sources = _Sources(cfg, loaded, network, read, len(found.rows))
    decay = linear.weight_decay(card["encoder"])
    scores, per_class, choices, confusion = [], [], [], []
    own, predicted = None, {}
    for init in (("ssl",) if loaded else ()) + tuple(cfg.init):
        print(f"{init}: {len(found.rows)} images, {len(made)} splits", file=sys.stderr)
        for plan, x in sources.of(init, made):
            for outcome in protocols.run(init, x, plan, found, decay):
                cell = {
                    "init": init, "protocol": outcome.protocol, "dataset": prepared.name,
                    "split": "test", "split_by": plan.split_by, "seed": plan.seed,
                    "layer": None if init in floors.PIXELS else cfg.layer, "fraction": 1.0,
                }  # fmt: skip
                values, classes = protocols.score(outcome, plan, found)
                scores += [cell | value for value in values]
                per_class += [cell | row for row in classes]
                if outcome.head:
                    choices.append(cell | _choice(outcome.head))
                if init == "ssl" and outcome.protocol in ("linear", "regression"):
                    own, predicted[plan.split_by, plan.seed] = x, outcome.shares
                    confusion += protocols.confusion(cell, outcome, plan, found)
    data = {
        "name": prepared.name,
        "content_hash": prepared.card["content_hash"],
        "n": len(found.rows),
        "n_groups": len(np.unique(found.groups)),
        "unit": found.unit,
        "classes": found.classes and list(found.classes),
        "pretrained_on": loaded
        and pretraining.overlap(card, sets, prepared.table["sha256"][found.rows]),
    }
    used = versions() | {"scikit-image": importlib.metadata.version("scikit-image")}
    result = report.build(
        scores, per_class, choices, confusion, data, as_dict(cfg), loaded and card, used,
        git_commit(),
    )  # fmt: skip
    return Evaluation(result, prepared, found, made, read, loaded, sets, own, predicted)


class _Sources:
    """Features of every initialisation; each image is read as rarely as its floor allows."""

    def __init__(
        self,
        cfg: EvalConfig,
        loaded: LoadedEncoder | None,
        network: features.Network,
        read: features.Reader,
        n: int,
    ):
        self._cfg, self._loaded, self._network, self._read, self._n = cfg, loaded, network, read, n

    def of(self, init: str, made: list[Plan]) -> Iterator[tuple[Plan, np.ndarray]]:
        """Each plan with its features float32 [n, width]."""
        if init == "ssl":
            x = self._extract(self._loaded.params, self._loaded.batch_stats)
            yield from ((plan, x) for plan in made)
        elif init in floors.PIXELS:
            x = np.concatenate([floors.PIXELS[init](b) for b in self._read(np.arange(self._n))])
            yield from ((plan, x) for plan in made)
        else:
            for seed in dict.fromkeys(plan.seed for plan in made):
                yield from self._untrained(init, seed, [p for p in made if p.seed == seed])

    def _untrained(
        self, init: str, seed: int, made: list[Plan]
    ) -> Iterator[tuple[Plan, np.ndarray]]:
        """A new network a seed; calibrated, its statistics come from each plan's training part."""
        params, batch_stats = floors.random_init(self._network.encoder, seed)
        if init == "random":
            x = self._extract(params, batch_stats)
            yield from ((plan, x) for plan in made)
        else:
            for plan in made:
                train = np.random.default_rng(seed).permutation(plan.rows("train"))
                batches = self._read(train[: floors.CALIBRATION_IMAGES])
                known = floors.calibrated(self._network, params, batch_stats, batches)
                yield plan, self._extract(params, known)

    def _extract(self, params: dict, batch_stats: dict) -> np.ndarray:
        batches, cfg = self._read(np.arange(self._n)), self._cfg
        return features.extract(
            self._network, cfg.layer, params, batch_stats, batches, cfg.batch_size
        )


def _network(card: dict, loaded: LoadedEncoder | None) -> features.Network:
    """The card's architecture; refuses weights of another one before anything is read."""
    encoder = build_encoder(card["encoder"], width=card["width"])
    if loaded:
        have = {"params": loaded.params, "batch_stats": loaded.batch_stats}
        checkpoint.fill(floors.shapes(encoder), checkpoint.named(have), loaded.path)
    return features.Network(encoder, tuple(card["mean"]), tuple(card["std"]))


def _choice(head: linear.Head) -> dict:
    return {
        "learning_rate": head.learning_rate,
        "epoch": head.epoch,
        "validation": head.validation,
        "updates": head.updates,
    }


def _check(cfg: EvalConfig) -> None:
    """Refuses options no evaluation has, before anything is opened."""
    known = {
        "protocol": ((cfg.protocol,), ("linear",)),
        "layer": ((cfg.layer,), features.LAYERS),
        "init": (cfg.init, floors.FLOORS),
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
