"""Drawn tissue on glass: slides and labelled patches as files, like those of a lab."""

import io
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from tqdm import tqdm

from histo_jax import files
from histo_jax.data.drawn import stain, tissue
from histo_jax.data.drawn.cells import Canvas
from histo_jax.data.drawn.stain import Patient
from histo_jax.data.drawn.tissue import CLASSES

MPP = 0.5  # µm per level-0 pixel
GRID = 5  # tiles along a slide's side, of 2 * tile_size level-0 pixels each
BLOCK = 3  # patches along the side of a piece of tissue
OTHERS = 10_000  # number of the first patient of patches
THREADS = len(os.sched_getaffinity(0))
INKS = ((30, 60, 150), (25, 110, 60), (30, 30, 34), (160, 30, 40))


def canvas_of(name: str, n: int, patient: Patient, rng: np.random.Generator) -> Canvas:
    """A square of a class, n level-0 pixels a side, as amounts of stain."""
    canvas = Canvas(n, patient.cellularity, patient.nuclear_size, rng)
    tissue.draw(name, canvas)
    return canvas


def draw_slide(name: str, n: int, patient: Patient, seed: tuple[int, ...]) -> np.ndarray:
    """A piece of tissue of a class on glass: uint8 RGB [n, n, 3] at 0.5 µm per pixel.

    Some have a fold, some a mark of a pen at the edge.
    """
    rng = np.random.default_rng(seed)
    canvas = canvas_of(name, n, patient, rng)
    here = _outline(canvas)
    if rng.uniform() < 0.3:
        _fold(canvas)
    picture = stain.develop(canvas.haematoxylin * here, canvas.eosin * here, patient, rng)
    return _pen(picture, rng) if rng.uniform() < 0.25 else picture


def _outline(canvas: Canvas) -> np.ndarray:
    """Where the tissue lies: 1 in a blob with a ragged edge, float32 [n, n]."""
    half, rng = canvas.n // 2, canvas.rng
    y, x = np.mgrid[-1 : 1 : half * 1j, -1 : 1 : half * 1j].astype(np.float32)
    turn = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    wide, high = rng.uniform(0.78, 0.95, 2).astype(np.float32)
    along, across = np.abs(x * cos + y * sin) / wide, np.abs(y * cos - x * sin) / high
    out = np.cbrt(along * along * along + across * across * across)
    edge = 1 - out + 0.07 * canvas.noise(half / 2, part=2) + 0.012 * canvas.noise(14, part=2)
    return np.clip(canvas.grown(edge) * (canvas.n / 10), 0, 1)


def _fold(canvas: Canvas) -> None:
    """A band where the tissue lies on itself."""
    n, rng = canvas.n, canvas.rng
    angle, place = rng.uniform(0, np.pi), rng.uniform(-0.3, 0.3) * n
    y, x = np.mgrid[:n, :n].astype(np.float32) - n / 2
    away = np.abs(x * np.cos(angle) + y * np.sin(angle) - place + 14 * canvas.noise(n / 4))
    band = np.clip((rng.uniform(10, 22) - away) / 4, 0, 1).astype(np.float32)
    for amounts in (canvas.haematoxylin, canvas.eosin):
        amounts += band * (0.15 + ndimage.shift(amounts, (17, -11), order=0, mode="mirror"))


def _pen(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A stroke of ink across a corner, as of somebody who marked the tissue."""
    n = picture.shape[0]
    layer = Image.new("L", (n, n))
    centre, reach = rng.choice([0, n], 2), rng.uniform(0.2, 0.34) * n
    theta = np.linspace(0, 2 * np.pi, 60)
    wave = reach * (1 + 0.06 * np.sin(3 * theta + rng.uniform(0, 6)))
    points = np.stack([centre[0] + wave * np.cos(theta), centre[1] + wave * np.sin(theta)], 1)
    ImageDraw.Draw(layer).line(points.ravel().tolist(), fill=255, width=n // 24, joint="curve")
    cover = ndimage.uniform_filter(np.asarray(layer), 7)[..., None] / np.float32(255)
    ink = np.array(INKS[rng.integers(len(INKS))], np.float32) / 255
    marked = picture * (1 - cover * (1 - ink))  # ink lets through what it doesn't absorb
    return np.clip(marked + 0.5, 0, 255).astype(np.uint8)


def draw_slides(folder: Path, *, slides: int, tile_size: int, seed: int, palette: str) -> None:
    """Fills a folder with drawn slides and their slides.csv; slides already there stay.

    Each patient has one slide of every class.
    """
    rows, jobs = [], []
    for number in range(slides):
        owner, kind = divmod(number, len(CLASSES))
        name = list(CLASSES)[kind]
        path = folder / f"patient{owner:03d}_{name}.tif"
        rows.append((path.name, f"patient{owner:03d}", name))
        if not path.exists():
            jobs.append((path, name, owner, (seed, owner, kind)))

    def job(path: Path, name: str, owner: int, seeds: tuple[int, ...]) -> None:
        patient = stain.draw_patient(seed, owner, palette)
        write_slide(path, draw_slide(name, GRID * 2 * tile_size, patient, seeds))

    with ThreadPoolExecutor(THREADS) as pool:
        done = pool.map(lambda arguments: job(*arguments), jobs)
        list(tqdm(done, total=len(jobs), desc="Drawing slides", unit=" slides", leave=False))
    files.write_csv(folder / "slides.csv", ("file", "patient", "label"), rows)


def draw_patches(folder: Path, *, patients: int, size: int, seed: int, palette: str) -> None:
    """Fills a folder with patches of one µm per pixel, masks of their nuclei and labels.csv.

    Each patient has BLOCK x BLOCK patches of every class, cut from one piece of tissue. `target` is
    the cellularity: nuclei's share of the area, in percent.
    """
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    rows = []
    owners = range(OTHERS, OTHERS + patients)  # never those of the slides
    for owner, name in itertools.product(owners, CLASSES):
        patient = stain.draw_patient(seed, owner, palette)
        rng = np.random.default_rng((seed, owner, list(CLASSES).index(name)))
        canvas = canvas_of(name, BLOCK * 2 * size, patient, rng)
        picture = stain.develop(canvas.haematoxylin, canvas.eosin, patient, rng)
        whole = np.asarray(Image.fromarray(picture).reduce(2))
        nuclei = canvas.nuclei[::2, ::2]
        for i, j in itertools.product(range(BLOCK), repeat=2):
            part = np.s_[i * size : (i + 1) * size, j * size : (j + 1) * size]
            file = f"patient{owner:03d}_{name}_{i}{j}.png"
            _write_png(folder / file, whole[part])
            _write_png(folder / "masks" / file, nuclei[part])
            rows.append((file, f"patient{owner:03d}", name, f"{100 * nuclei[part].mean():.2f}"))
    files.write_csv(folder / "labels.csv", ("file", "patient", "label", "target"), rows)


def _write_png(path: Path, image: np.ndarray) -> None:
    with files.atomic(path) as file:
        Image.fromarray(image).save(file, "PNG")


def write_slide(path: Path, image: np.ndarray) -> None:
    """Writes a tiled TIFF of two levels that OpenSlide reads; the file appears whole or not."""
    import tifffile

    half = Image.fromarray(image).reduce(2)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as out:
        for level, pixels in enumerate((image, np.asarray(half))):
            per_cm = 1e4 / (MPP * 2**level)
            out.write(
                pixels, photometric="rgb", tile=(128, 128), compression="zlib",
                compressionargs={"level": 1}, subfiletype=int(level > 0),
                resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
                metadata=None, software="", datetime=None,
            )  # fmt: skip
    with files.atomic(path) as file:
        file.write(buffer.getbuffer())
