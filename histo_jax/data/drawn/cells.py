"""A square of tissue being drawn: fields of stain, and nuclei stamped into them."""

import dataclasses

import numpy as np
from PIL import Image

ANGLES = 16  # directions in which a kind of nucleus is kept
VARIANTS = 4


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of nucleus; lengths in level-0 pixels.

    Attributes:
      length, width: ranges of the half axes.
      depth: range of the amount of haematoxylin.
      rough: how far its outline strays from an ellipse, share of the radius.
      clumped: contrast of its chromatin.
      nucleolus: chance of a dark spot.
    """

    length: tuple[float, float]
    width: tuple[float, float]
    depth: tuple[float, float]
    rough: float = 0.03
    clumped: float = 0.2
    nucleolus: float = 0.0


FIBROBLAST = Kind((9, 15), (2.2, 3.6), (0.8, 1.2), 0.02, 0.12)
LYMPHOCYTE = Kind((5.6, 6.8), (5.2, 6.4), (1.15, 1.6), 0.03, 0.2)
COLUMNAR = Kind((7.5, 9.5), (4.2, 5.0), (0.8, 1.05), 0.02, 0.15)
TUMOUR = Kind((7, 12), (5, 8.5), (0.55, 1.35), 0.08, 0.25, 0.6)
GHOST = Kind((6, 9), (5, 7), (0.12, 0.28), 0.08, 0.1)
DUST = Kind((1.4, 3.4), (1.2, 2.6), (0.8, 1.5), 0.1, 0.0)
FLAT = Kind((6, 9), (2.0, 3.0), (0.9, 1.2), 0.02, 0.1)


class Canvas:
    """Amounts of both stains and where nuclei are, [n, n].

    Attributes:
      haematoxylin, eosin: amounts, float32.
      nuclei: uint8, 1 inside a nucleus.
      grain: of cytoplasm, a factor near 1.
    """

    def __init__(self, n: int, cellularity: float, nuclear_size: float, rng: np.random.Generator):
        self.n, self.rng = n, rng
        self.cellularity, self.nuclear_size = cellularity, nuclear_size
        self.haematoxylin = np.zeros((n, n), np.float32)
        self.eosin = np.zeros((n, n), np.float32)
        self.nuclei = np.zeros((n, n), np.uint8)
        self.grain = 1 + np.float32(0.1) * self.noise(4)
        self._banks: dict[Kind, list[tuple[np.ndarray, np.ndarray]]] = {}

    def noise(self, wide: float, high: float | None = None, part: int = 1) -> np.ndarray:
        """Smooth noise of about unit variance [n / part, n / part]; its blobs `wide` x `high`."""
        columns, rows = (int(self.n / size) + 3 for size in (wide, high or wide))
        coarse = self.rng.standard_normal((rows, columns), np.float32) * np.float32(1.4)
        size = (self.n // part, self.n // part)
        return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))

    def grown(self, field: np.ndarray) -> np.ndarray:
        """A field drawn at a part of the resolution, at all of it."""
        return np.asarray(Image.fromarray(field).resize((self.n, self.n), Image.Resampling.BICUBIC))

    def scatter(self, spacing: float) -> np.ndarray:
        """Points [m, 2] (y, x), about `spacing` pixels apart, in no visible order."""
        rows = np.arange(-spacing, self.n + spacing, spacing * 0.87)
        y, x = np.meshgrid(rows, np.arange(-spacing, self.n + spacing, spacing), indexing="ij")
        x = x + spacing / 2 * (np.arange(len(rows)) % 2)[:, None]
        points = np.stack([y.ravel(), x.ravel()], 1)
        return points + self.rng.uniform(-0.38, 0.38, points.shape) * spacing

    def cells(self, spacing: float) -> np.ndarray:
        """Points as of `scatter`, as dense as this patient's cells are."""
        return self.scatter(spacing / self.cellularity**0.5)

    def at(self, field: np.ndarray, points: np.ndarray) -> np.ndarray:
        """A field's values [m] at points [m, 2]; the nearest at the edge."""
        rows, columns = np.clip(points.astype(int), 0, self.n - 1).T
        part = self.n // field.shape[0]
        return field[rows // part, columns // part]

    def stamp(self, kind: Kind, points: np.ndarray, angles: np.ndarray) -> None:
        """Nuclei of a kind at points [m, 2], their long axes at `angles` [m] from x."""
        if kind not in self._banks:
            self._banks[kind] = self._bank(kind)
        bank = self._banks[kind]
        turns = np.rint(angles / np.pi * ANGLES).astype(int) % ANGLES
        which = turns * VARIANTS + self.rng.integers(0, VARIANTS, len(points))
        for y, x, i in zip(*points.astype(int).T, which, strict=True):
            cover, depth = bank[i]
            reach = cover.shape[0] // 2
            top, left = y - reach, x - reach
            if not (
                0 <= top <= top + 2 * reach < self.n and 0 <= left <= left + 2 * reach < self.n
            ):
                rows, columns = (slice(max(0, -at), max(0, self.n - at)) for at in (top, left))
                cover, depth = cover[rows, columns], depth[rows, columns]
                top, left = max(0, top), max(0, left)
                if not cover.size:
                    continue
            part = np.s_[top : top + cover.shape[0], left : left + cover.shape[1]]
            here = self.haematoxylin[part]
            here += cover * (depth - here)
            self.eosin[part] *= 1 - 0.55 * cover
            self.nuclei[part] |= cover > 0.5

    def stamp_anyhow(self, kind: Kind, points: np.ndarray) -> None:
        """Nuclei in any direction."""
        self.stamp(kind, points, self.rng.uniform(0, np.pi, len(points)))

    def _bank(self, kind: Kind) -> list[tuple[np.ndarray, np.ndarray]]:
        """For every direction some nuclei: cover and amount of haematoxylin, [s, s] each."""
        return [
            self._nucleus(kind, np.pi * turn / ANGLES)
            for turn in range(ANGLES)
            for _ in range(VARIANTS)
        ]

    def _nucleus(self, kind: Kind, angle: float) -> tuple[np.ndarray, np.ndarray]:
        rng = self.rng
        long, short = (rng.uniform(*ends) * self.nuclear_size for ends in (kind.length, kind.width))
        reach = int(max(long, short) * (1 + 2 * kind.rough) + 2)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along, across = (x * cos + y * sin) / long, (y * cos - x * sin) / short
        theta, radius = np.arctan2(across, along), np.hypot(along, across)
        edge = sum(
            rng.normal(0, kind.rough) * np.cos(k * theta + rng.uniform(0, 6.3)) for k in (2, 3, 4)
        )
        inside = (1 + edge - radius) * min(long, short)  # pixels from the outline
        cover = np.clip(inside / 1.2 + 0.3, 0, 1)
        side = 2 * reach + 1
        grain = rng.standard_normal((side // 3 + 2,) * 2, np.float32)
        grain = np.asarray(Image.fromarray(grain).resize((side, side), Image.Resampling.BICUBIC))
        depth = rng.uniform(*kind.depth) * (
            1 + kind.clumped * grain + 0.25 * np.exp(-((inside - 1.3) ** 2))
        )
        if rng.uniform() < kind.nucleolus:
            spot_y, spot_x = rng.normal(0, 0.25 * short, 2)
            depth += 0.6 * np.exp(-((y - spot_y) ** 2 + (x - spot_x) ** 2) / 2.5)
        return cover.astype(np.float32), np.clip(depth, 0.05, 2.2).astype(np.float32)
