"""A work directory belongs to one run: its options, its data, one process group at a time."""

from pathlib import Path

from histo_jax import files
from histo_jax.config import Config, differences
from histo_jax.errors import HistoError
from histo_jax.training.card import as_dict

# Fields that change how fast or where, never what is computed.
FREE = (
    "data.dir", "data.cache", "augment.placement", "training.save_every", "training.log_every",
    "training.mapper", "training.on_change",
)  # fmt: skip


def claim(workdir: Path, config: Config, card: dict) -> None:
    """Writes `config.json` and `card.json`, or refuses a directory made by another run.

    Raises:
      HistoError: options or data differ from what the directory was made with.
    """
    new = as_dict(config)
    if (workdir / "config.json").exists():
        old = files.read_json(workdir / "config.json")
        changed = [f"config.{f}" for f in differences(new, old) if f not in FREE]
        if (workdir / "card.json").exists():
            before = files.read_json(workdir / "card.json")
            if before["data_digest"] != card["data_digest"]:
                changed.append("the prepared data")
        if changed and config.training.on_change == "refuse":
            raise HistoError(
                workdir, "workdir-changed", "was made with other " + ", ".join(changed),
                "use a new --workdir, or --config.training.on_change=accept to go on all the same",
            )  # fmt: skip
    files.write_json(workdir / "config.json", new)
    files.write_json(workdir / "card.json", card)
