"""How fast slides become tiles, beside raw OpenSlide and other libraries: docs/data.md, "How fast".

    python benchmarks/slides.py OUT [--slides 4] [--rounds 5] [--real SLIDE ...]

The slides are drawn once into OUT (`drawn_slides.py`, half a minute each). From each everyone takes
100 tiles of 224 pixels that are half tissue, by turns (A B C A B C ...); what is counted is
CPU-seconds, user and system, of this process and its children. pyvips, tiatoolbox and histolab take
part where they are installed.

`ours` is `tiles.cut` in this process; `worker` is the same in the watched process of a build, which
writes parts and takes digests as well. `openslide`, `pyvips` and `judged` (tiatoolbox's extractor
as a reader) do the same work by the plain loop: every cell of the order is read until 100 have
tissue; the lists are compared. Not the same work: `tiatoolbox` takes 100 random places of its own
coarse mask and judges no tile (they are encoded here as ours are); histolab takes random places off
the grid, judges them by its own mask and writes PNG files.
"""

import argparse
import importlib.util
import io
import os
import random
import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
from drawn_slides import draw
from PIL import Image

from histo_jax.slides import tissue
from histo_jax.slides.grid import order_of
from histo_jax.slides.identity import slide_id
from histo_jax.slides.parts import read_card
from histo_jax.slides.pool import Job, cut_slides
from histo_jax.slides.tiles import TileRule, cut

RULE = TileRule()
SIZE = (RULE.size, RULE.size)
FIRST = "first.svs"  # cut by every worker before it is measured
Places = list[tuple[int, int]]


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=RULE.quality, subsampling=0)
    return file.getvalue()


def plain(path: Path, read: Callable[[int, int], Image.Image], threshold: int) -> Places:
    """Every cell of the order is read, until enough have tissue."""
    with openslide.OpenSlide(path) as slide:
        columns, rows = (extent // RULE.size for extent in slide.dimensions)
    kept: Places = []
    for cell in order_of(columns * rows, RULE.seed, slide_id(path)).tolist():
        x, y = cell % columns * RULE.size, cell // columns * RULE.size
        image = read(x, y)
        if tissue.otsu(np.asarray(image), threshold).mean() >= RULE.min_foreground:
            jpeg(image)
            kept.append((x, y))
            if len(kept) == RULE.max_tiles:
                break
    return kept


def threshold_of(slide: openslide.OpenSlide) -> int:
    level = slide.level_count - 1
    whole = slide.read_region((0, 0), level, slide.level_dimensions[level]).convert("RGB")
    return tissue.otsu_threshold(tissue.saturation_and_counts(np.asarray(whole))[1])


def run_openslide(path: Path, folder: Path) -> Places:
    with openslide.OpenSlide(path) as slide:

        def read(x: int, y: int) -> Image.Image:
            return slide.read_region((x, y), 0, SIZE).convert("RGB")

        return plain(path, read, threshold_of(slide))


def run_pyvips(path: Path, folder: Path) -> Places:
    import pyvips

    with openslide.OpenSlide(path) as slide:
        threshold = threshold_of(slide)
    region = pyvips.Region.new(pyvips.Image.tiffload(str(path), page=0))

    def read(x: int, y: int) -> Image.Image:
        return Image.frombytes("RGB", SIZE, bytes(region.fetch(x, y, *SIZE)))

    return plain(path, read, threshold)


def run_ours(path: Path, folder: Path) -> Places:
    return [(tile.x, tile.y) for tile in cut(path, RULE).tiles]


def run_tiatoolbox(path: Path, folder: Path) -> Places:
    from tiatoolbox.tools.patchextraction import SlidingWindowPatchExtractor

    extractor = SlidingWindowPatchExtractor(
        path, RULE.size, input_mask="otsu", min_mask_ratio=RULE.min_foreground, within_bound=True
    )
    most = min(RULE.max_tiles, len(extractor))
    chosen = random.Random(RULE.seed).sample(range(len(extractor)), most)
    for index in chosen:
        jpeg(Image.fromarray(extractor[index]))
    return [tuple(extractor.coordinate_list[index][:2].tolist()) for index in chosen]


def run_judged(path: Path, folder: Path) -> Places:
    from tiatoolbox.tools.patchextraction import SlidingWindowPatchExtractor

    with openslide.OpenSlide(path) as slide:
        threshold = threshold_of(slide)
    extractor = SlidingWindowPatchExtractor(path, RULE.size, within_bound=True)
    corners = map(tuple, extractor.coordinate_list[:, :2].tolist())
    index = {corner: number for number, corner in enumerate(corners)}
    return plain(path, lambda x, y: Image.fromarray(extractor[index[x, y]]), threshold)


def run_histolab(path: Path, folder: Path) -> Places:
    from histolab.slide import Slide
    from histolab.tiler import RandomTiler

    tiler = RandomTiler(
        SIZE, RULE.max_tiles, seed=RULE.seed, tissue_percent=100 * RULE.min_foreground
    )
    with tempfile.TemporaryDirectory(dir=folder) as out:
        tiler.extract(Slide(path, out), log_level="ERROR")
        return [(0, 0)] * len(os.listdir(out))


def run_worker(paths: list[Path], folder: Path) -> list[Places]:
    """All slides by one process of `cut_slides`."""
    with tempfile.TemporaryDirectory(dir=folder) as parts:
        outcomes = cut_slides([Job(str(path)) for path in paths], RULE, parts, workers=1)
        found = {outcome.path: outcome.part for outcome in outcomes}
        cards = [read_card(found[str(path)]) for path in paths]
    return [[(tile["x"], tile["y"]) for tile in card["tiles"]] for card in cards]


ALONE = {
    "openslide": run_openslide,
    "pyvips": run_pyvips,
    "ours": run_ours,
    "tiatoolbox": run_tiatoolbox,
    "judged": run_judged,
    "histolab": run_histolab,
}
MOST = 0.30  # CPU-seconds of the worker for a slide
BARS = (("tiatoolbox", 1.5), ("histolab", 10.0), ("ours", 1 / 1.1))


def cpu() -> float:
    """CPU-seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def round_of(names: list[str], paths: list[Path], folder: Path) -> tuple[dict, dict]:
    """CPU-seconds a slide, and the lists of places, of everybody in turn; `start` is what a worker
    takes to start and to cut its first slide, which is none of `paths`."""
    spent, lists = {}, {}
    for name in names:
        begin = cpu()
        lists[name] = [ALONE[name](path, folder) for path in paths]
        spent[name] = (cpu() - begin) / len(paths)
    begin = cpu()
    run_worker([folder / FIRST], folder)
    spent["start"] = cpu() - begin
    begin = cpu()
    _, *lists["worker"] = run_worker([folder / FIRST, *paths], folder)
    spent["worker"] = (cpu() - begin - spent["start"]) / len(paths)
    return spent, lists


def spread(values: list[float], form: str = ".3f") -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} ({low:{form}} to {high:{form}})"


def report(rounds: list[dict], lists: dict) -> None:
    print(
        f"{'':10}  {'CPU-s a slide':22} {'slides/CPU-s':>12} {'tiles/CPU-s':>11}  of the worker's"
    )
    for name, found in lists.items():
        tiles = statistics.fmean(map(len, found))
        spent = [one[name] for one in rounds]
        rate = 1 / statistics.median(spent)
        ratio = spread([one[name] / one["worker"] for one in rounds], ".2f")
        same = "the same tiles" if found == lists["worker"] else f"other tiles, {tiles:.0f} a slide"
        print(f"{name:10}  {spread(spent):22} {rate:12.2f} {rate * tiles:11.0f}  {ratio:22} {same}")
    print(f"A worker's start and first slide: {spread([one['start'] for one in rounds])} CPU-s")
    worker = statistics.median(one["worker"] for one in rounds)
    print(f"{'met' if worker <= MOST else 'MISSED'}: worker <= {MOST} CPU-s a slide")
    for name, least in BARS:
        if name in lists:
            ratio = statistics.median(one[name] / one["worker"] for one in rounds)
            verdict = "met" if ratio >= least else "MISSED"
            print(f"{verdict}: {name} takes {ratio:.2f} of the worker's time, wanted {least:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder of the drawn slides")
    parser.add_argument("--slides", type=int, default=4, help="how many are drawn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--real", type=Path, nargs="+", default=[], help="slides of yours")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    paths = [flags.out / f"drawn{seed}.svs" for seed in range(flags.slides)]
    for seed, path in enumerate([*paths, flags.out / FIRST]):
        if not path.exists():
            draw(path, seed)
    paths += flags.real
    names = []
    for name in ALONE:
        package = {"ours": "openslide", "judged": "tiatoolbox"}.get(name, name)
        if importlib.util.find_spec(package):
            names.append(name)
        else:
            print(f"{name}: not installed, left out")
    round_of(names, paths[:1], flags.out)  # imports
    rounds = []
    for _ in range(flags.rounds):
        spent, lists = round_of(names, paths, flags.out)
        rounds.append(spent)
        print({name: round(value, 3) for name, value in spent.items()}, flush=True)
    report(rounds, lists)


if __name__ == "__main__":
    main()
