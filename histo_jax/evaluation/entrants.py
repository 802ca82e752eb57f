"""Who is scored: pretrained encoders, untrained ones, numbers from pixels or from a file."""

import functools
from collections.abc import Callable, Iterable

import numpy as np

from histo_jax.config import EvalConfig
from histo_jax.data.prepared import Prepared
from histo_jax.evaluation import features, floors, linear, report
from histo_jax.evaluation.foreign import Given
from histo_jax.evaluation.labelled import Labelled, Plan
from histo_jax.models import build_encoder
from histo_jax.training import checkpoint
from histo_jax.training.checkpoint import LoadedEncoder

# The untrained network where no encoder is given.
UNTRAINED = {
    "encoder": "resnet18", "width": 64, "image_size": 224, "mean": [0.5] * 3, "std": [0.5] * 3,
    "datasets": [],
}  # fmt: skip


class Entrant:
    """One row of the tables.

    Attributes:
      name: in the report.
      layer: of the features; None where there is no network.
      decay: L2 weight of its linear layers (the paper's, by architecture).
      raw: whether it is also probed without standardisation, as the paper has it.
      floor: whether it is a baseline.
      card: of the network whose images it sees; None where it sees none.
      images: what it is scored on; None where it sees none.
    """

    name: str
    layer: str | None = None
    decay: float
    raw = False
    floor = True
    card: dict | None = None
    images: "Images | None" = None

    def groups(self, made: list[Plan]) -> list[list[Plan]]:
        """The plans, parted into those for which its features are the same."""
        return [made]

    def features(self, plan: Plan) -> np.ndarray:
        """Features float32 [n, width] of all labelled images, for the plans of one group."""
        return self.describe(self.read(np.arange(self.images.n)), plan)

    def read(self, at: np.ndarray) -> Iterable[np.ndarray]:
        """Images uint8 [b, S, S, 3] in batches, `at` counting within the labelled ones."""
        return self.images.reader(self.card)(at)

    def describe(self, batches: Iterable[np.ndarray], plan: Plan) -> np.ndarray:
        """Features float32 [m, width] of images uint8 [b, S, S, 3] in batches."""
        raise NotImplementedError


class Encoder(Entrant):
    """A pretrained network.

    Attributes:
      tuned: whether fine-tuning starts from it.
      loaded: its weights.
      network: its architecture.
    """

    raw, floor, tuned = True, False, True

    def __init__(self, name: str, loaded: LoadedEncoder, cfg: EvalConfig, images: "Images"):
        self.name, self.loaded, self.cfg, self.card = name, loaded, cfg, loaded.card
        self.floor = report.is_floor(name)
        self.layer, self.decay = cfg.layer, linear.weight_decay(self.card["encoder"])
        self.network, self.images = network(self.card, loaded), images

    def weights(self, plan: Plan) -> tuple[dict, dict]:
        """Params and running statistics."""
        return self.loaded.params, self.loaded.batch_stats

    def describe(self, batches: Iterable[np.ndarray], plan: Plan) -> np.ndarray:
        params, batch_stats = self.weights(plan)
        return features.extract(
            self.network, self.layer, params, batch_stats, batches, self.cfg.batch_size
        )


class Untrained(Encoder):
    """The same architecture with torchvision's initialisation, a new one a seed."""

    def __init__(self, name: str, card: dict, cfg: EvalConfig, images: "Images"):
        self.name, self.cfg, self.card, self.floor = name, cfg, card, True
        self.layer, self.decay = cfg.layer, linear.weight_decay(card["encoder"])
        self.network, self.images = network(card, None), images

    def groups(self, made: list[Plan]) -> list[list[Plan]]:
        return _parted(made, lambda plan: plan.seed)

    def weights(self, plan: Plan) -> tuple[dict, dict]:
        return floors.random_init(self.network.encoder, plan.seed)


class Calibrated(Untrained):
    """Untrained, with batch-norm statistics of the training part's images, labelled or not."""

    raw, tuned = False, False

    def groups(self, made: list[Plan]) -> list[list[Plan]]:
        return _parted(made, lambda plan: (plan.seed, plan.split_by))

    def weights(self, plan: Plan) -> tuple[dict, dict]:
        params, batch_stats = super().weights(plan)
        some = np.random.default_rng(plan.seed).permutation(plan.pool)
        batches = self.read(some[: floors.CALIBRATION_IMAGES])
        return params, floors.calibrated(self.network, params, batch_stats, batches)


class Pixels(Entrant):
    """Numbers counted from the pixels."""

    def __init__(self, name: str, card: dict, images: "Images"):
        self.name, self.decay = name, linear.weight_decay(card["encoder"])
        self.card, self.images = card, images

    def describe(self, batches: Iterable[np.ndarray], plan: Plan) -> np.ndarray:
        return np.concatenate([floors.PIXELS[self.name](batch) for batch in batches])


class FromFile(Entrant):
    """Features that another program made."""

    raw, floor = True, False

    def __init__(self, name: str, given: Given, found: Labelled):
        self.name, self.given, self.decay = name, given, linear.weight_decay("resnet18")
        self.x = given.of(found.keys)

    def features(self, plan: Plan) -> np.ndarray:
        return self.x


class Images:
    """Readers of the labelled images, one a size."""

    def __init__(self, cfg: EvalConfig, prepared: Prepared, found: Labelled):
        self.cfg, self.prepared, self.rows, self.n = cfg, prepared, found.rows, len(found.rows)
        self._of_size = functools.cache(self._open)

    def reader(self, card: dict) -> features.Reader:
        """Images of the size an encoder was pretrained at, or of the one asked for."""
        return self._of_size(self.cfg.image_size or card["image_size"])

    def _open(self, size: int) -> features.Reader:
        return features.reader(self.prepared, self.rows, size, self.cfg.batch_size)


def entrants(
    cfg: EvalConfig,
    sources: dict[str, LoadedEncoder | Given],
    images: Images,
    found: Labelled,
    untrained: str | None = None,
) -> list[Entrant]:
    """Everybody to score: the sources by name, then the floors.

    An untrained network comes in the architecture of each encoder, under the plain name for that
    of the first; where there is no encoder, in that of `untrained`.
    """
    cards = [s.card for s in sources.values() if not isinstance(s, Given)]
    if untrained or not cards:
        cards.append(UNTRAINED | ({"encoder": untrained} if untrained else {}))
    everyone: list[Entrant] = [
        FromFile(name, source, found)
        if isinstance(source, Given)
        else Encoder(name, source, cfg, images)
        for name, source in sources.items()
    ]
    kinds = {"random": Untrained, "random_calibrated": Calibrated}
    for floor in cfg.init:
        if floor in floors.PIXELS:
            everyone.append(Pixels(floor, cards[0], images))
            continue
        for architecture, card in {(c["encoder"], c["width"]): c for c in cards[::-1]}.items():
            first = architecture == (cards[0]["encoder"], cards[0]["width"])
            name = floor if first else f"{floor}:{card['encoder']}"
            everyone.append(kinds[floor](name, card, cfg, images))
    return everyone


def network(card: dict, loaded: LoadedEncoder | None) -> features.Network:
    """The card's architecture; refuses weights of another one before anything is read."""
    encoder = build_encoder(card["encoder"], width=card["width"])
    if loaded:
        have = {"params": loaded.params, "batch_stats": loaded.batch_stats}
        checkpoint.fill(floors.shapes(encoder), checkpoint.named(have), loaded.path)
    return features.Network(encoder, tuple(card["mean"]), tuple(card["std"]))


def _parted(made: list[Plan], key: Callable) -> list[list[Plan]]:
    parts: dict = {}
    for plan in made:
        parts.setdefault(key(plan), []).append(plan)
    return list(parts.values())
