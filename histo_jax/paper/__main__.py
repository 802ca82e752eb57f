"""The tables and figures of the paper: what they need, what is there, ours beside theirs.

python -m histo_jax.paper --list
python -m histo_jax.paper "Table 2" --imagenet weights/ --dry-run
python -m histo_jax.paper "Table 2" "Fig. 4" --imagenet weights/
python -m histo_jax.paper --miniature runs/miniature

Only what is missing and whose data are here is run; the same command goes on where it stopped.
"""

import argparse
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

from histo_jax import errors
from histo_jax.errors import HistoError
from histo_jax.paper import cells, clusters, datasets, montage, numbers, page, show
from histo_jax.paper import plan as plans
from histo_jax.paper import run as runs
from histo_jax.paper.cells import Question, Setup
from histo_jax.paper.figures import LABELS
from histo_jax.paper.found import Found, look, trainings, unanswered
from histo_jax.sweeps.grid import given

# Figures that are drawn of tables' questions, and those that have runs of their own.
FIGURES = ("Fig. 2", "Fig. 3", "Fig. 4", "Fig. 5", "Fig. 6", "Fig. C.7")
ITEMS = (*numbers.load(), datasets.NAME, *FIGURES)


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """Our flags, and `--config.…` flags for every training (`data.dir` for its scores as well)."""
    parser = argparse.ArgumentParser(
        prog="python -m histo_jax.paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("items", nargs="*", metavar="ITEM", help='"Table 2", "Fig. 3", or all')
    parser.add_argument("--list", action="store_true", help="what each needs and lacks")
    parser.add_argument("--dry-run", action="store_true", help="the commands, run by run")
    parser.add_argument("--miniature", type=Path, metavar="OUT", help="all of it on drawn tissue")
    folder = Path("runs/paper")
    parser.add_argument("--folder", type=Path, default=folder, help=f"of all runs ({folder})")
    weights = "folder of torchvision's files, resnet18*.pth and so on"
    parser.add_argument("--imagenet", type=Path, metavar="FOLDER", help=weights)
    slides = "folder of slides to cluster (Figs. 5 and 6)"
    parser.add_argument("--slides", type=Path, metavar="FOLDER", help=slides)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each encoder (1)")
    parser.add_argument("--rate", type=float, help="images/s of ResNet-18, for --list")
    parser.add_argument("--retry", action="store_true", help="run again what failed")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser.parse_known_args()


def main(flags: argparse.Namespace, overrides: list[str]) -> int:
    """Status 1 where a command failed or is another process's."""
    if flags.miniature:
        from histo_jax.paper import miniature

        return miniature.make(flags.miniature)
    setup = setup_of(flags, given(overrides))
    if not flags.items and not flags.list:
        raise HistoError("ITEM", "config", "name a table or figure, or --list", known())
    items = [name for text in flags.items for name in find(text)] or list(ITEMS)
    if flags.list:
        print("\n".join(listed(items, setup, flags.rate)))
        return 0
    if flags.dry_run:
        for job in commands(items, setup, flags.retry):
            print(plans.told(job))
        return 0
    left = make(items, setup, flags.retry)
    tell(items, setup)
    return int(left > 0)


def setup_of(flags: argparse.Namespace, fields: dict[str, str]) -> Setup:
    """What the flags say."""
    for name, folder in (("--imagenet", flags.imagenet), ("--slides", flags.slides)):
        if folder is not None and not folder.is_dir():
            raise HistoError(f"{name} {folder}", "missing", "no such folder")
    if flags.seeds < 1:
        raise HistoError("--seeds", "config", f"is {flags.seeds}", "must be 1 or more")
    data_dir = fields.pop("data.dir", None)
    return Setup(
        flags.folder, data_dir, flags.imagenet, flags.slides, train=fields, seeds=flags.seeds
    )


def find(text: str) -> list[str]:
    """The table or figure that is meant; `all` is every one.

    Raises:
      HistoError: there is none of that name.
    """
    if text.lower() == "all":
        return list(ITEMS)
    plain = {name.lower(): name for name in ITEMS}
    wanted = text.lower().replace("figure", "fig.")
    if wanted in plain:
        return [plain[wanted]]
    near = difflib.get_close_matches(wanted, plain, 3)
    said = f"did you mean {' or '.join(plain[n] for n in near)}?" if near else known()
    raise HistoError(text, "config", "the paper has no such table or figure", said)


def known() -> str:
    """All names."""
    return f"known: {', '.join(ITEMS)}, all"


def asked(items: list[str], setup: Setup) -> list[Question]:
    """What evaluations the items need, each once."""
    return cells.merged(q for item in items for q in _questions(item, setup))


def _questions(item: str, setup: Setup) -> list[Question]:
    if item in LABELS:
        return cells.curves(LABELS[item], setup)
    item = "Table D.11" if item == "Fig. C.7" else item
    return cells.questions(item, setup) if item in numbers.load() else []


def sources(items: list[str], setup: Setup) -> list[cells.Source]:
    """Encoders that are needed without any evaluation."""
    asked_for = setup.slides and set(items) & set(clusters.FIGURES)
    return [clusters.encoder(setup)] if asked_for else []


def commands(items: list[str], setup: Setup, retry: bool = False) -> Iterator[plans.Job]:
    """What `make` would run, in its order."""
    more = sources(items, setup)
    yield from runs.commands(asked(items, setup), setup, retry, more)
    if more:
        yield from (job for job in clusters.jobs(setup, look(setup)) if job.word != "done")


def make(items: list[str], setup: Setup, retry: bool = False) -> int:
    """Runs what is missing; returns how many commands failed or are another process's."""
    more = sources(items, setup)
    left = runs.run(asked(items, setup), setup, retry, more)
    if more and more[0].id in (found := look(setup)).runs:
        for job in clusters.jobs(setup, found):
            if runs.do(job, retry):
                left += 1
                break
    if "Fig. 2" in items:
        try:
            montage.write(setup)
        except HistoError as error:  # sets that are not here
            print(f"Fig. 2: {error}", file=sys.stderr)
    return left


def tell(items: list[str], setup: Setup, miniature: dict | None = None) -> None:
    """Prints the tables, and writes them and the page."""
    found = look(setup)
    for item in items:
        if item in numbers.load():
            shown = page.shown(item, setup, found)
            show.write(shown, setup.folder)
            print(show.markdown(shown), end="\n\n")
        elif item == datasets.NAME:
            datasets.write(setup.data_dir, setup.folder)
            print(datasets.markdown(setup.data_dir), end="\n\n")
    failed = [*found.failed.values(), *(error for _, error in found.words.values())]
    for error in dict.fromkeys(failed):
        print(f"failed: {error}", file=sys.stderr)
    print("\n".join(lacking(plans.plan(asked(items, setup), setup, found))), file=sys.stderr)
    print(f"wrote    {page.write(setup, found, miniature)}")


def listed(items: list[str], setup: Setup, rate: float | None) -> Iterator[str]:
    """What each item needs, has and lacks; at the end all of it together."""
    found = look(setup)
    for item in items:
        yield from _told(item, _questions(item, setup), setup, found, rate)
        yield ""
    yield from _told("All of these", asked(items, setup), setup, found, rate)
    here = len(list(datasets.pool(setup.data_dir)))
    yield f"    {here} of the paper's 56 datasets of pretraining are prepared here"


def lacking(todo: plans.Plan) -> Iterator[str]:
    """What data are missing."""
    if todo.blocked:
        yield f"    {todo.blocked} evaluations lack data here:"
    for kind, names in todo.missing.items():
        yield f"        {kind}: {', '.join(names)}"


def _told(
    item: str, questions: list[Question], setup: Setup, found: Found, rate: float | None
) -> Iterator[str]:
    tables = numbers.load()
    yield f"{item}: {tables[item].about}" if item in tables else item
    if not questions:
        yield f"    {_without_questions(item, setup, found)}"
        return
    sources = list(trainings(questions))
    done = sum(not unanswered(q, setup, found) for q in questions)
    trained = sum(source.id in found.runs for source in sources)
    yield (
        f"    {len(questions)} evaluations, {done} done; "
        f"{len(sources)} encoders to pretrain, {trained} done"
    )
    todo = plans.plan(questions, setup, found)
    yield from lacking(todo)
    if todo.train:
        takes = plans.hours(todo.train, found, rate)
        known = "unknown, give --rate" if takes is None else f"about {takes:,.1f}"
        yield f"    hours of the {len(todo.train)} trainings that can be run: {known}"


def _without_questions(item: str, setup: Setup, found: Found) -> str:
    if item in clusters.FIGURES:
        there = clusters.encoder(setup).id in found.runs
        encoder = f"1 encoder to pretrain, {int(there)} done"
        if setup.slides is None:
            return f"{encoder}; missing here: slides (--slides FOLDER)"
        return f"{encoder}; features and clusters: {clusters.jobs(setup, found)[-1].word}"
    if item == datasets.NAME:
        return "counts alone, nothing to run"
    done = all(path.exists() for path in montage.paths(setup).values())
    return f"pictures of the pool and of {montage.PARTS['b']}: {'done' if done else 'waiting'}"


if __name__ == "__main__":
    flags, overrides = arguments()
    sys.exit(errors.run(lambda: main(flags, overrides), debug=flags.debug))
