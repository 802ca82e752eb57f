"""What an evaluation gathers: the rows of the report, and what its page shows beside them."""

import dataclasses
import importlib.metadata

import numpy as np

from histo_jax.config import EvalConfig
from histo_jax.data.prepared import Prepared, default_data_dir
from histo_jax.evaluation import features, paired, pretraining, protocols, report, sites
from histo_jax.evaluation.entrants import Entrant
from histo_jax.evaluation.foreign import Given
from histo_jax.evaluation.labelled import Labelled, Plan
from histo_jax.evaluation.masks import Masked, Originals
from histo_jax.evaluation.segment import Segmented
from histo_jax.files import git_commit
from histo_jax.training.card import as_dict, versions
from histo_jax.training.checkpoint import LoadedEncoder


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """A report, and what its page shows beside it.

    Attributes:
      report: `report.json`.
      prepared: the labelled set.
      found: its labelled rows.
      made: the splits.
      read: gives their images; None with masks.
      sources: what was scored beside the floors, by name.
      loaded: the first encoder of them, or None.
      sets: its pretraining sets that are here; None for those that are not.
      features: of that encoder, float32 [n, width]; None without one, or where none were asked for.
      predicted: what its linear layer said of the test part, by (split_by, seed): shares
        [n_test, classes] or targets [n_test, 1].
      originals: images and masks as they are stored; None without masks.
      segmented: what everybody said of masks, by plan and name.
    """

    report: dict
    prepared: Prepared
    found: Labelled
    made: list[Plan]
    read: features.Reader | None
    sources: dict[str, LoadedEncoder | Given]
    loaded: LoadedEncoder | None
    sets: dict[str, Prepared | None]
    features: np.ndarray | None
    predicted: dict[tuple[str, int], np.ndarray]
    originals: Originals | None = None
    segmented: dict[Plan, dict[str, Segmented]] = dataclasses.field(default_factory=dict)


class Ledger:
    """The rows of the report as they come in."""

    def __init__(self, cfg: EvalConfig, prepared: Prepared, found: Labelled):
        self.prepared, self.found = prepared, found
        self.asked = sites.tables(cfg, prepared, found)
        self.scores: list[dict] = []
        self.per_class: list[dict] = []
        self.choices: list[dict] = []
        self.confusion: list[dict] = []
        self.shift: list[dict] = []
        self.sites: list[dict] = []

    def enter(self, cell: dict, values: list[dict], classes: list[dict], choice: dict) -> None:
        """Takes in the scores of one cell, the rows of its classes, and what was chosen."""
        self.scores += [cell | value for value in values]
        self.per_class += [cell | row for row in classes]
        if choice:
            self.choices.append(cell | choice)

    def cell(self, entrant: Entrant, plan: Plan, protocol: str) -> dict:
        """What every row of one number says of where it belongs."""
        return {
            "init": entrant.name, "protocol": protocol, "dataset": self.prepared.name,
            "split": "test", "split_by": plan.split_by, "seed": plan.seed,
            "layer": entrant.layer, "fraction": plan.fraction,
        }  # fmt: skip

    def add(self, entrant: Entrant, plan: Plan, outcome: protocols.Outcome) -> None:
        """Scores an outcome."""
        cell = self.cell(entrant, plan, outcome.protocol)
        self.enter(cell, *protocols.score(outcome, plan, self.found), outcome.choice)
        if not entrant.floor and outcome.protocol in report.HEADS and plan.fraction == 1:
            self.confusion += protocols.confusion(cell, outcome, plan, self.found)


def build(
    cfg: EvalConfig,
    ledger: Ledger,
    made: list[Plan],
    sources: dict[str, LoadedEncoder | Given],
    loaded: LoadedEncoder | None,
    data_dir: str | None,
) -> tuple[dict, dict[str, Prepared | None]]:
    """`report.json` of what the ledger holds, and the encoder's pretraining sets that are here."""
    sets = pretraining.open_sets(loaded, default_data_dir(data_dir), ledger.prepared)
    encoders = [name for name in sources if not report.is_floor(name)]
    result = report.build(
        **{name: getattr(ledger, name) for name in report.LISTS},
        paired=paired.compare(ledger.scores, made, encoders),
        data=about(ledger.prepared, ledger.found, loaded, sets),
        config=as_dict(cfg),
        card=loaded and loaded.card,
        encoders={name: source.card for name, source in sources.items()},
        versions=used_versions(),
        git_commit=git_commit(),
    )
    return result, sets


def about(prepared: Prepared, found: Labelled, loaded: LoadedEncoder | None, sets: dict) -> dict:
    """What was scored on."""
    classes = found.kinds if isinstance(found, Masked) else found.classes
    return {
        "name": prepared.name,
        "content_hash": prepared.card["content_hash"],
        "n": len(found.rows),
        "n_groups": len(np.unique(found.groups)),
        "unit": found.unit,
        "classes": classes and list(classes),
        "pretrained_on": loaded
        and pretraining.overlap(loaded.card, sets, prepared.table["sha256"][found.rows]),
    }


def used_versions() -> dict[str, str]:
    """Of the packages that make the numbers."""
    more = ("scikit-image", "scikit-learn")
    return versions() | {name: importlib.metadata.version(name) for name in more}
