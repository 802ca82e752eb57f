"""A work directory belongs to one run: its options, its data, one process group at a time."""

from pathlib import Path
from typing import Any

from histo_jax import files
from histo_jax.config import Config, differences
from histo_jax.errors import HistoError
from histo_jax.training.card import as_dict
from histo_jax.training.metrics import METRICS, TIMING

CONFIG, CARD = "config.json", "card.json"
# Fields, or groups of them, that change how fast, where or what is logged, never what is learned.
FREE = (
    "data.dir", "data.cache", "augment.placement", "model.remat", "probe", "training.save_every",
    "training.log_every", "training.mapper", "training.on_change",
)  # fmt: skip
REMEDY = "use a new --workdir"


def check(workdir: Path, config: Config, card: dict) -> None:
    """Refuses a directory made by another run; writes nothing.

    Raises:
      HistoError: no directory; options or data differ from what it was made with; a file of ours
        in it is not what we write.
    """
    if workdir.exists() and not workdir.is_dir():
        raise HistoError(workdir, "workdir-foreign", "is a file", "give --workdir a folder")
    old, before = _read(workdir / CONFIG), claimed(workdir)
    for name in (METRICS, TIMING):
        _check_lines(workdir / name)
    changed = []
    if old is not None:
        before_us = as_dict(Config())  # what older versions had no field for
        fields = differences(as_dict(config), _over(before_us, old))
        changed += [f"config.{f}" for f in fields if f not in FREE and f.split(".")[0] not in FREE]
    if before is not None and before["data_digest"] != card["data_digest"]:
        changed.append("the prepared data")
    if before is not None and before.get("init") != card["init"]:
        changed.append("the weights of config.model.init")
    if changed and config.training.on_change == "refuse":
        raise HistoError(
            workdir, "workdir-changed", "was made with other " + ", ".join(changed),
            f"{REMEDY}, or --config.training.on_change=accept to go on all the same",
        )  # fmt: skip


def claimed(workdir: Path) -> dict | None:
    """The card of the run that has the directory; None where none has."""
    return _read(workdir / CARD, "data_digest")


def claim(workdir: Path, config: Config, card: dict) -> None:
    """Writes `config.json` and `card.json`: from now on the directory is this run's."""
    files.write_json(workdir / CONFIG, as_dict(config))
    files.write_json(workdir / CARD, card)


def _over(under: dict, values: dict) -> dict:
    """Nested dicts, the second's values first."""
    return under | {
        name: _over(under[name], value) if isinstance(under.get(name), dict) else value
        for name, value in values.items()
    }


def _read(path: Path, *wanted: str) -> dict[str, Any] | None:
    """What stands in a JSON file; None without one."""
    if not path.exists():
        return None
    value = files.read_json(path)
    if not isinstance(value, dict) or not set(wanted) <= set(value):
        raise HistoError(path, "workdir-foreign", "was not written by a run", REMEDY)
    return value


def _check_lines(path: Path) -> None:
    try:
        lines = files.read_lines(path)
    except OSError as error:
        what = f"can't be read: {error.strerror}"
        raise HistoError(path, "workdir-foreign", what, REMEDY) from error
    for line in lines:
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            what = f"holds a line that no run wrote: {str(line)[:60]}"
            raise HistoError(path, "workdir-foreign", what, REMEDY)
