"""Where a report goes: beside others of the same encoder, never over another's only copy."""

import hashlib
import json
import os
from pathlib import Path

from histo_jax.errors import HistoError
from histo_jax.evaluation import page, report
from histo_jax.evaluation.foreign import Given, workdir
from histo_jax.evaluation.results import Evaluation
from histo_jax.training.checkpoint import LoadedEncoder

FREE = ("data", "batch_size")  # options that change no number


def home(out: Path | None, sources: dict[str, LoadedEncoder | Given]) -> Path:
    """The folder of the report: `out`, else the work directory of the first source.

    Raises:
      HistoError: it is a file, or can't be written; the first source is in no work directory.
    """
    first = next(iter(sources.values()), None)
    if out is None and first is None:
        raise HistoError("--out", "config", "is not set", "name a folder for the report")
    folder = out or workdir(first)
    if folder is None:
        what = "is not inside of a work directory"
        raise HistoError(first.path, "config", what, "name a folder for the report by --out")
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        what = f"{'is' if there == folder.absolute() else 'lies in'} a file, not a folder"
        raise HistoError(folder, "write-failed", what, "name a folder for the report")
    if not os.access(there, os.W_OK | os.X_OK):
        raise HistoError(folder, "write-failed", "cannot write: no permission", "name another")
    return folder


def publish(done: Evaluation, out: Path | None) -> list[Path]:
    """Writes `report.json` and `report.html`; returns the pages, the one to open first.

    Without `out` they go to `eval/<set>/<step>-<digest>/` of the work directory, a place of their
    own for each set, step and options, and, as the last evaluation, to the work directory itself.
    """
    folder = home(out, done.sources)
    folders = [folder] if out else [folder, folder / own_place(done.report)]
    built = page.build(done.report, done)
    for place in reversed(folders):
        report.write(place, done.report)
        page.write(place, built)
    return [place / page.FILE for place in folders]


def own_place(result: dict) -> Path:
    """`eval/<builder>-<config>/<step>-<digest>`: equal for equal questions only."""
    asked = {k: v for k, v in result["config"].items() if k not in FREE}
    others = {name: card for name, card in result["encoders"].items() if card != result["card"]}
    facts = json.dumps([asked, result["data"]["content_hash"], others], sort_keys=True)
    digest = hashlib.sha256(facts.encode()).hexdigest()[:8]
    name = result["data"]["name"].replace("/", "-")
    step = (result["card"] or {}).get("step", 0)
    return Path("eval") / name / f"{step}-{digest}"
