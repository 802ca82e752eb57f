"""Features of every tile of slides, or of a prepared set, as one HDF5 file a slide."""

import argparse
import hashlib
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from histo_jax import files
from histo_jax.data.images import read_images
from histo_jax.data.prepared import Prepared, open_prepared
from histo_jax.errors import HistoError
from histo_jax.features import of_slides, store
from histo_jax.features.encoder import LAYERS, Encoder, open_encoder
from histo_jax.features.made import described, is_done
from histo_jax.slides.grid import TOLERANCE
from histo_jax.slides.rule import TileRule

HELP = "features of every tile of slides, or of a prepared set: one HDF5 file a slide"
OVERVIEW = 2048  # pixels, the longer side of a slide's overview
OF_SLIDES = ("mpp", "tissue", "max_tiles", "default_mpp", "workers")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    source = parser.add_mutually_exclusive_group(required=True)
    paths = "slides, and folders of them (with slides.csv, as for histo_wsi)"
    source.add_argument("--slides", nargs="+", type=Path, metavar="PATH", help=paths)
    source.add_argument("--dataset", metavar="NAME", help="a prepared set, builder/config")
    parser.add_argument("--data_dir", help="of the set; default: TFDS_DATA_DIR, else TFDS's own")
    sources = "as eval.py's: a work directory or step, a weights file, imagenet:FILE, random:NAME"
    parser.add_argument("--checkpoint", required=True, metavar="SOURCE", help=sources)
    parser.add_argument("--out", type=Path, required=True, help="folder of the files")
    parser.add_argument("--layer", default="pooled", help=" | ".join(LAYERS))
    parser.add_argument("--batch-size", type=int, default=128, help="images a forward pass")
    small = "pixels a side of each tile's small picture; 0: none"
    parser.add_argument("--pictures", type=int, default=96, metavar="PIXELS", help=small)
    replace = "replace files of other weights or options"
    parser.add_argument("--overwrite", action="store_true", help=replace)
    slides = parser.add_argument_group("of slides")
    slides.add_argument("--mpp", type=float, help="µm a pixel; default: the checkpoint's")
    slides.add_argument("--tissue", help="otsu (default) | ciga2021 | paper_literal | none")
    slides.add_argument("--max-tiles", type=int, help="of a slide; default: all with tissue")
    slides.add_argument("--default-mpp", type=float, help="µm a pixel of slides that don't say")
    slides.add_argument("--workers", type=int, help="processes that cut; default: one a core")


def run(args: argparse.Namespace) -> None:
    """Extracts what is not there yet."""
    for name, least in (("batch_size", 1), ("pictures", 0), ("workers", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise HistoError(_flag(name), "config", f"is {value}", f"must be {least} or more")
    if args.dataset:
        asked = [name for name in OF_SLIDES if getattr(args, name) is not None]
        if asked:
            what = "is for slides; the images of a prepared set are cut already"
            raise HistoError(_flag(asked[0]), "config", what, "leave it out")
        prepared = open_prepared(args.data_dir, args.dataset)
        encoder = open_encoder(args.checkpoint, args.layer)
        with files.hold(args.out, "*.h5"):
            of_set(args, encoder, prepared)
        return
    items = of_slides.find(args.slides)
    encoder = open_encoder(args.checkpoint, args.layer)
    rule, told = tile_rule(args, encoder.card)
    print(told)
    with files.hold(args.out, "*.h5"):
        of_slides.Extraction(args, encoder, rule).run(items)


def tile_rule(args: argparse.Namespace, card: dict) -> tuple[TileRule, str]:
    """How slides are cut, and a line that says so.

    What isn't asked for is as the checkpoint's card has it, else as `TileRule`.

    Raises:
      HistoError: an option out of its range.
    """
    mpp, (low, high) = args.mpp, card.get("mpp") or (math.nan, math.nan)
    if mpp is not None:
        at = f"{mpp:g} µm a pixel"
    elif high <= low * (1 + 2 * TOLERANCE):
        mpp = float(f"{(low + high) / 2:.3g}")
        at = f"{mpp:g} µm a pixel, as the checkpoint was trained"
    else:
        known = f"was trained at {low:g} to {high:g}" if high > low else "doesn't say how many"
        at = f"the slide's finest level (µm a pixel: --mpp, the checkpoint {known})"
    asked = {"tissue": args.tissue, "max_tiles": args.max_tiles, "default_mpp": args.default_mpp}
    rule = {"size": card["image_size"], "mpp": mpp, "max_tiles": None, "thumbnail": OVERVIEW}
    rule |= {name: value for name, value in asked.items() if value is not None}
    try:
        return TileRule(**rule), f"tiles of {card['image_size']} pixels a side at {at}"
    except HistoError as error:  # as the options of a build are called
        name = error.path.removeprefix("--config, ")
        raise HistoError(_flag(name), "bad-option", error.what, error.remedy) from error


def of_set(args: argparse.Namespace, encoder: Encoder, prepared: Prepared) -> None:
    """A prepared set, all of its splits, as one file.

    Raises:
      HistoError: a damaged set; a file of other weights or options is there; a full disk.
    """
    path, table = args.out / f"{prepared.name.replace('/', '-')}.h5", prepared.table
    options = hashlib.sha256(f"pictures {args.pictures}".encode()).hexdigest()[:16]
    made_by = encoder.facts | {"options": options, "identity": prepared.card["content_hash"]}
    if is_done(path, made_by, args.overwrite):
        print(f"done before\n{path}")
        return
    source, mpp = str(prepared.path.absolute()), _mpp(prepared, encoder.size)
    facts = store.Facts(prepared.name, source, mpp=mpp, **made_by)
    coords = np.stack([table["x"], table["y"]], 1)
    known = (path, facts, coords, table["key"].tolist(), encoder.width, args.pictures > 0)
    batches = read_images(prepared, np.arange(prepared.n), encoder.size, args.batch_size)
    bar = tqdm(total=prepared.n, unit=" images", desc="Extracting", leave=False)
    with bar, store.writing(*known) as file:
        for features, small in described(encoder, batches, args.batch_size, args.pictures):
            file.add(features, small)
            bar.update(len(features))
    print(f"{prepared.n:,} images, {prepared.n / bar.format_dict['elapsed']:,.1f} a second\n{path}")


def _mpp(prepared: Prepared, size: int) -> float:
    """µm a pixel of a set's images as the encoder sees them; nan where they differ, or the size
    at which they are stored isn't known."""
    known, side = prepared.table["mpp"], prepared.card["options"].get("tile_size")
    if side is None or not np.isfinite(known).all() or np.ptp(known) > TOLERANCE * known.min():
        return math.nan
    return float(np.median(known)) * side / size


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
