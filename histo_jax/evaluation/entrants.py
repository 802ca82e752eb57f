"""Who is scored: pretrained encoders, untrained ones, numbers from pixels or from a file."""

import abc
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
    """

    layer: str | None = None
    raw = False

    def __init__(self, name: str, decay: float = 0.0):
        self.name, self.decay, self.floor = name, decay, report.is_floor(name)

    def groups(self, made: list[Plan]) -> list[list[Plan]]:
        """The plans, parted into those for which its features are the same."""
        return [made]


class FromFile(Entrant):
    """Features that another program made."""

    raw = True

    def __init__(self, name: str, given: Given, found: Labelled):
        super().__init__(name, linear.weight_decay("resnet18"))
        self.x = given.of(found.keys)

    def features(self, plan: Plan) -> np.ndarray:
        """Features float32 [n, width] of all labelled images."""
        return self.x


class Seeing(Entrant, abc.ABC):
    """Who looks at images.

    Attributes:
      card: of the network whose images these are.
      images: the labelled ones.
    """

    def __init__(self, name: str, card: dict, images: "Images"):
        super().__init__(name, linear.weight_decay(card["encoder"]))
        self.card, self.images = card, images

    @abc.abstractmethod
    def describe(self, batches: Iterable[np.ndarray], plan: Plan) -> np.ndarray:
        """Features float32 [m, width] of images uint8 [b, S, S, 3] in batches."""

    def features(self, plan: Plan) -> np.ndarray:
        """Features float32 [n, width] of all labelled images, for the plans of one group."""
        return self.describe(self.read(np.arange(self.images.n)), plan)

    def read(self, at: np.ndarray) -> Iterable[np.ndarray]:
        """Images uint8 [b, S, S, 3] in batches, `at` counting within the labelled ones."""
        return self.images.reader(self.card)(at)


class Pixels(Seeing):
    """Numbers counted from the pixels."""

    def describe(self, batches: Iterable[np.ndarray], plan: Plan) -> np.ndarray:
        return np.concatenate([floors.PIXELS[self.name](batch) for batch in batches])


class Net(Seeing):
    """A network, which also can be trained with labels.

    Attributes:
      tuned: whether fine-tuning starts from it.
      network: its architecture.
    """

    raw, tuned = True, True

    def __init__(self, name: str, card: dict, images: "Images"):
        super().__init__(name, card, images)
        self.layer, self.network = images.cfg.layer, network(card)

    @abc.abstractmethod
    def weights(self, plan: Plan) -> tuple[dict, dict]:
        """Params and running statistics."""

    def describe(self, batches: Iterable[np.ndarray], plan: Plan) -> np.ndarray:
        size = self.images.cfg.batch_size
        return features.extract(self.network, self.layer, *self.weights(plan), batches, size)


class Untrained(Net):
    """torchvision's initialisation, a new one a seed."""

    def groups(self, made: list[Plan]) -> list[list[Plan]]:
        return _parted(made, lambda plan: plan.seed)

    def weights(self, plan: Plan) -> tuple[dict, dict]:
        return floors.random_init(self.network.encoder, plan.seed)


class Calibrated(Untrained):
    """Untrained, with batch-norm statistics of the training part's images, labelled or not."""

    raw, tuned = False, False

    def __init__(self, name: str, card: dict, images: "Images"):
        super().__init__(name, card, images)
        self._known: tuple[tuple, tuple[dict, dict]] | None = None

    def groups(self, made: list[Plan]) -> list[list[Plan]]:
        return _parted(made, _training_part)

    def weights(self, plan: Plan) -> tuple[dict, dict]:
        if self._known is None or self._known[0] != _training_part(plan):
            params, batch_stats = super().weights(plan)
            some = np.random.default_rng(plan.seed).permutation(plan.pool)
            batches = self.read(some[: floors.CALIBRATION_IMAGES])
            statistics = floors.calibrated(self.network, params, batch_stats, batches)
            self._known = _training_part(plan), (params, statistics)
        return self._known[1]


class Encoder(Net):
    """A pretrained network: the same weights for every plan."""

    def __init__(self, name: str, loaded: LoadedEncoder, images: "Images"):
        super().__init__(name, loaded.card, images)
        have = {"params": loaded.params, "batch_stats": loaded.batch_stats}
        shapes = floors.shapes(self.network.encoder)
        checkpoint.fill(shapes, checkpoint.named(have), loaded.path)  # before anything is read
        self.loaded = loaded

    def weights(self, plan: Plan) -> tuple[dict, dict]:
        return self.loaded.params, self.loaded.batch_stats


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
    init: tuple[str, ...],
    sources: dict[str, LoadedEncoder | Given],
    images: Images,
    found: Labelled,
    untrained: str | None = None,
) -> list[Entrant]:
    """Everybody to score: the sources by name, then the floors of `init`.

    An untrained network comes in the architecture of each encoder, under the plain name for that
    of the first; where there is no encoder, in that of `untrained`.
    """
    cards = [s.card for s in sources.values() if not isinstance(s, Given)]
    if untrained or not cards:
        cards.append(UNTRAINED | ({"encoder": untrained} if untrained else {}))
    everyone: list[Entrant] = [
        FromFile(name, source, found)
        if isinstance(source, Given)
        else Encoder(name, source, images)
        for name, source in sources.items()
    ]
    kinds = {"random": Untrained, "random_calibrated": Calibrated}
    for floor in init:
        if floor in floors.PIXELS:
            everyone.append(Pixels(floor, cards[0], images))
            continue
        for architecture, card in {(c["encoder"], c["width"]): c for c in cards[::-1]}.items():
            first = architecture == (cards[0]["encoder"], cards[0]["width"])
            name = floor if first else f"{floor}:{card['encoder']}"
            everyone.append(kinds[floor](name, card, images))
    return everyone


def network(card: dict) -> features.Network:
    """The card's architecture and how its images are scaled."""
    encoder = build_encoder(card["encoder"], width=card["width"])
    return features.Network(encoder, tuple(card["mean"]), tuple(card["std"]))


def _training_part(plan: Plan) -> tuple[str, int]:
    """What the training images of a plan, labels apart, depend on."""
    return plan.split_by, plan.seed


def _parted(made: list[Plan], key: Callable) -> list[list[Plan]]:
    parts: dict = {}
    for plan in made:
        parts.setdefault(key(plan), []).append(plan)
    return list(parts.values())
