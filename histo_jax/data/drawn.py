"""Drawn tissue: slides that can be made anywhere, and look enough like H&E to run on.

Two stains on glass after Beer and Lambert: each pixel holds an amount of haematoxylin and one of
eosin, and transmits exp(-amounts x absorbances), the absorbances near those of Ruifrok & Johnston
2001. Patients differ in stain, glass, size and number of nuclei; what tells the six classes apart
is architecture. It shows that a program works and says nothing about patients.
"""

import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage, spatial

from histo_jax import files

MPP = 0.5  # µm per level-0 pixel
GRID = 5  # tiles along a slide's side, of 2 * tile_size level-0 pixels each
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])  # rows: haematoxylin, eosin


@dataclasses.dataclass(frozen=True, eq=False)
class Patient:
    """What all slides of a patient share.

    Attributes:
      stains: absorbance of haematoxylin and eosin in R, G, B [2, 3].
      glass: colour of the empty slide [3].
      cellularity: factor on the number of cells; `nuclear_size`: on their nuclei's diameter.
    """

    stains: np.ndarray
    glass: np.ndarray
    cellularity: float
    nuclear_size: float


def draw_patient(seed: int, number: int) -> Patient:
    """A patient's own stain and cells."""
    rng = np.random.default_rng((seed, number))
    strength = rng.uniform((0.8, 0.65), (1.3, 1.3))[:, None]
    stains = strength * np.clip(_STAINS + rng.normal(0, 0.05, (2, 3)), 0.02, None)
    glass = rng.uniform(232, 248) + rng.normal(0, 3, 3)
    return Patient(stains, glass, rng.uniform(0.75, 1.3), rng.uniform(0.9, 1.12))


class _Tissue:
    """A square of tissue being drawn: amounts of both stains, float32 [n, n]."""

    def __init__(self, n: int, patient: Patient, rng: np.random.Generator):
        self.n, self.patient, self.rng = n, patient, rng
        self.haematoxylin = np.zeros((n, n), np.float32)
        self.eosin = np.zeros((n, n), np.float32)
        self.chromatin = 1 + 0.22 * self.noise(4)

    def noise(self, wide: float, high: float | None = None) -> np.ndarray:
        """Smooth noise of about unit variance, its blobs `wide` x `high` pixels."""
        columns, rows = (int(self.n / s) + 3 for s in (wide, high or wide))
        coarse = Image.fromarray(self.rng.normal(0, 1.4, (rows, columns)).astype(np.float32))
        return np.asarray(coarse.resize((self.n, self.n), Image.Resampling.BICUBIC))

    def scatter(self, spacing: float) -> np.ndarray:
        """Points [m, 2] (y, x), about `spacing` pixels apart, in no visible order."""
        rows = np.arange(-spacing, self.n + spacing, spacing * 0.87)
        y, x = np.meshgrid(rows, np.arange(-spacing, self.n + spacing, spacing), indexing="ij")
        x = x + spacing / 2 * (np.arange(len(rows)) % 2)[:, None]
        points = np.stack([y.ravel(), x.ravel()], 1)
        return points + self.rng.uniform(-0.38, 0.38, points.shape) * spacing

    def cells(self, spacing: float) -> np.ndarray:
        """Points as of `scatter`, as dense as this patient's cells are."""
        return self.scatter(spacing / self.patient.cellularity**0.5)

    def nucleus(
        self, y: float, x: float, long: float, short: float, angle: float, depth: float
    ) -> None:
        """An ellipse of haematoxylin; half axes in pixels, `angle` of the long one from x."""
        long, short = (axis * self.patient.nuclear_size for axis in (long, short))
        reach = int(long + 2)
        top, left = max(0, int(y) - reach), max(0, int(x) - reach)
        part = np.s_[top : int(y) + reach + 1, left : int(x) + reach + 1]
        height, width = self.haematoxylin[part].shape
        if not height or not width:
            return
        down = np.arange(top, top + height, dtype=np.float32)[:, None] - np.float32(y)
        right = np.arange(left, left + width, dtype=np.float32)[None, :] - np.float32(x)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        inside = 1 - np.hypot((right * cos + down * sin) / long, (down * cos - right * sin) / short)
        cover = np.clip(inside * short / 1.2, 0, 1)
        rim = 1 + 0.25 * np.exp(-((inside * short - 1.5) ** 2))
        here = self.haematoxylin[part]
        here += cover * (depth * rim * self.chromatin[part] - here)
        self.eosin[part] *= 1 - 0.6 * cover

    def matrix(self, amount: float) -> np.ndarray:
        """Wavy collagen fibres; returns their direction as an angle [n, n]."""
        angle = self.rng.uniform(0, np.pi)
        y, x = np.mgrid[: self.n, : self.n].astype(np.float32)
        along = np.cos(angle) * x + np.sin(angle) * y
        across = np.cos(angle) * y - np.sin(angle) * x + 14 * self.noise(70)
        fibres = ndimage.map_coordinates(
            self.noise(90, 7), np.stack([across, along]), order=1, mode="reflect"
        )
        self.eosin += amount * np.clip(0.62 + 0.3 * fibres + 0.05 * self.noise(3), 0.05, None)
        self.haematoxylin += 0.05 * amount
        slope_y, slope_x = np.gradient(ndimage.gaussian_filter(across, 4))
        return np.arctan2(-slope_x, slope_y)

    def spindles(self, direction: np.ndarray, spacing: float) -> None:
        """Fibroblasts along the fibres."""
        for y, x in self.cells(spacing):
            row, column = (int(np.clip(v, 0, self.n - 1)) for v in (y, x))
            angle = direction[row, column] + self.rng.normal(0, 0.15)
            self.nucleus(y, x, self.rng.uniform(9, 14), self.rng.uniform(2.6, 3.8), angle, 0.95)

    def gland(self, y: float, x: float, radius: float, lumen: float, rough: float) -> Callable:
        """Epithelium around a lumen (share of the radius); returns its radius over the angle."""
        waves = self.rng.normal(0, rough, 4) / np.arange(2, 6) ** 0.5
        phases = self.rng.uniform(0, 2 * np.pi, 4)

        def edge(theta: np.ndarray) -> np.ndarray:
            waving = sum(w * np.cos(k * theta + p) for k, w, p in zip(range(2, 6), waves, phases,
                                                                     strict=True))  # fmt: skip
            return radius * (1 + waving)

        reach = int(radius * (1 + 4 * rough)) + 3
        top, left = max(0, int(y) - reach), max(0, int(x) - reach)
        part = np.s_[top : max(0, int(y) + reach), left : max(0, int(x) + reach)]
        height, width = self.eosin[part].shape
        down = np.arange(top, top + height, dtype=np.float32)[:, None] - y
        right = np.arange(left, left + width, dtype=np.float32)[None, :] - x
        outer = edge(np.arctan2(down, right))
        depth = outer - np.hypot(down, right)  # pixels inside the outline
        cover = np.clip(depth / 2 + 0.5, 0, 1)
        hollow = np.clip((depth - (1 - lumen) * outer) / 3 + 0.5, 0, 1)
        for amounts, cytoplasm in ((self.eosin, 0.42), (self.haematoxylin, 0.16)):
            here = amounts[part]
            here += cover * (cytoplasm * self.chromatin[part] - here)
            here *= 1 - 0.97 * hollow
        return edge


def _stroma(tissue: _Tissue) -> None:
    direction = tissue.matrix(1.0)
    tissue.spindles(direction, 46)


def _normal_glands(tissue: _Tissue) -> None:
    tissue.spindles(tissue.matrix(0.7), 52)
    rng = tissue.rng
    for y, x in tissue.scatter(150):
        edge = tissue.gland(y, x, rng.uniform(48, 60), rng.uniform(0.42, 0.52), 0.035)
        count = int(2 * np.pi * 46 / 12 * tissue.patient.cellularity**0.5)
        for theta in np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(0, 0.03, count):
            at = edge(theta) * rng.uniform(0.8, 0.84)  # one row, at the base
            at_y, at_x = y + at * np.sin(theta), x + at * np.cos(theta)
            tissue.nucleus(at_y, at_x, rng.uniform(7, 8.5), 4.4, theta, 0.95)


def _tumour_glands(tissue: _Tissue) -> None:
    tissue.spindles(tissue.matrix(0.75), 44)
    rng = tissue.rng
    for y, x in tissue.scatter(128):
        edge = tissue.gland(y, x, rng.uniform(54, 70), rng.uniform(0.0, 0.32), 0.11)
        for row in (0.86, 0.62, 0.42):  # piled up, of any size, in any direction
            count = int(2 * np.pi * 58 * row / 18 * tissue.patient.cellularity**0.5)
            for theta in np.linspace(0, 2 * np.pi, count) + rng.normal(0, 0.12, count):
                at = edge(theta) * (row + rng.normal(0, 0.05))
                at_y, at_x = y + at * np.sin(theta), x + at * np.cos(theta)
                short = rng.uniform(4.5, 7.5)
                long, angle = short * rng.uniform(1.1, 1.7), rng.uniform(0, np.pi)
                tissue.nucleus(at_y, at_x, long, short, angle, rng.uniform(0.55, 1.2))


def _lymphocytes(tissue: _Tissue) -> None:
    tissue.eosin += np.clip(0.3 + 0.1 * tissue.noise(12), 0.02, None)
    tissue.haematoxylin += 0.1
    crowd, rng = tissue.noise(110), tissue.rng
    for y, x in tissue.cells(17):
        row, column = (int(np.clip(v, 0, tissue.n - 1)) for v in (y, x))
        if crowd[row, column] > rng.uniform(-2.2, -0.6):
            radius = rng.uniform(5.6, 7.0)
            tissue.nucleus(y, x, radius * rng.uniform(1, 1.15), radius, rng.uniform(0, 3), 1.35)


def _fat(tissue: _Tissue) -> None:
    half = tissue.n // 2
    centres = tissue.scatter(96) / 2
    y, x = np.mgrid[:half, :half] + 4 * np.stack([tissue.noise(40)[::2, ::2][:half, :half]] * 2)
    near = spatial.cKDTree(centres).query(np.stack([y, x], -1), k=2)[0]
    wall = np.exp(-(((near[..., 1] - near[..., 0]) / 2.2) ** 2)).astype(np.float32)
    wall = np.asarray(Image.fromarray(wall).resize((tissue.n,) * 2, Image.Resampling.BILINEAR))
    tissue.eosin += 0.85 * wall * (1 + 0.2 * tissue.noise(20)) + 0.015
    tissue.haematoxylin += 0.12 * wall
    rows, columns = np.nonzero(wall > 0.9)
    for i in tissue.rng.integers(0, len(rows), int((tissue.n / 70) ** 2)):
        angle = tissue.rng.uniform(0, np.pi)
        tissue.nucleus(rows[i], columns[i], tissue.rng.uniform(6, 9), 2.8, angle, 1.1)


def _necrosis(tissue: _Tissue) -> None:
    rng = tissue.rng
    grains = 0.14 * tissue.noise(4) + 0.1 * tissue.noise(9) + 0.14 * tissue.noise(60)
    tissue.eosin += np.clip(0.68 + grains, 0.03, None)
    tissue.haematoxylin += np.clip(0.1 + 0.06 * tissue.noise(30), 0, None)
    for y, x in tissue.scatter(34):  # ghosts of cells
        tissue.nucleus(y, x, rng.uniform(6, 9), rng.uniform(5, 7), rng.uniform(0, 3), 0.2)
    for y, x in tissue.cells(30):  # dust of nuclei
        for _ in range(rng.integers(0, 5)):
            at_y, at_x = rng.normal((y, x), 7)
            size = rng.uniform(1.1, 2.8)
            tissue.nucleus(at_y, at_x, size * 1.2, size, 0.0, rng.uniform(0.8, 1.5))


CLASSES: dict[str, Callable[[_Tissue], None]] = {
    "fat": _fat,
    "lymphocytes": _lymphocytes,
    "necrosis": _necrosis,
    "normal_glands": _normal_glands,
    "stroma": _stroma,
    "tumour_glands": _tumour_glands,
}


def draw(name: str, n: int, patient: Patient, seed: tuple[int, ...]) -> np.ndarray:
    """One piece of tissue of a class on glass: uint8 RGB [n, n, 3] at 0.5 µm per pixel."""
    tissue = _Tissue(n, patient, np.random.default_rng(seed))
    CLASSES[name](tissue)
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    inside = np.clip((0.96 - (x**6 + y**6) ** (1 / 6) + 0.04 * tissue.noise(60)) * n / 8, 0, 1)
    amounts = np.stack([tissue.haematoxylin, tissue.eosin], -1) * inside[..., None]
    light = patient.glass * np.exp(-np.clip(amounts, 0, None) @ patient.stains)
    light = ndimage.gaussian_filter(light, (0.7, 0.7, 0)) + tissue.rng.normal(0, 1.2, (n, n, 1))
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def write_slide(path: Path, image: np.ndarray) -> None:
    """Writes a tiled TIFF of two levels that OpenSlide reads; the file appears whole or not."""
    import tifffile

    half = image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, 3)
    half = np.rint(half.mean((1, 3), dtype=np.float32)).astype(np.uint8)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as out:
        for level, pixels in enumerate((image, half)):
            per_cm = 1e4 / (MPP * 2**level)
            out.write(
                pixels, photometric="rgb", tile=(128, 128), compression="zlib",
                compressionargs={"level": 1}, subfiletype=int(level > 0),
                resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
                metadata=None, software="", datetime=None,
            )  # fmt: skip
    with files.atomic(path) as file:
        file.write(buffer.getbuffer())


def draw_slides(folder: Path, *, slides: int, tile_size: int, seed: int) -> None:
    """Fills a folder with drawn slides and their slides.csv; slides already there stay.

    Each patient has one slide of every class.
    """
    side = GRID * 2 * tile_size
    rows = []
    for number in range(slides):
        owner, kind = divmod(number, len(CLASSES))
        name = list(CLASSES)[kind]
        path = folder / f"patient{owner:03d}_{name}.tif"
        rows.append((path.name, f"patient{owner:03d}", name))
        if not path.exists():
            write_slide(path, draw(name, side, draw_patient(seed, owner), (seed, owner, kind)))
    table = io.StringIO(newline="")
    csv.writer(table).writerows([("file", "patient", "label"), *rows])
    with files.atomic(folder / "slides.csv") as file:
        file.write(table.getvalue().encode())
