"""The six tissues. What tells them apart is architecture: their colours overlap."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import ndimage, spatial

from histo_jax.data.drawn import cells
from histo_jax.data.drawn.cells import Canvas

TURN = 2 * np.pi


@dataclasses.dataclass(frozen=True, eq=False)
class _Blob:
    """A wavy disc on the canvas.

    Attributes:
      radius: over the angle, in pixels.
      part: the rows and columns it lies in.
      inside: there, pixels inside the outline (negative outside).
      theta: there, the angle seen from its centre.
    """

    radius: Callable[[np.ndarray], np.ndarray]
    part: tuple[slice, slice]
    inside: np.ndarray
    theta: np.ndarray


def _blob(canvas: Canvas, y: float, x: float, radius: float, rough: float) -> _Blob:
    """A disc around (y, x), its outline rough by that share of the radius."""
    orders = range(2, 6)
    waves = (canvas.rng.normal(0, rough, 4) / np.sqrt(orders)).astype(np.float32)
    phases = canvas.rng.uniform(0, TURN, 4).astype(np.float32)

    def edge(theta: np.ndarray) -> np.ndarray:
        swing = zip(orders, waves, phases, strict=True)
        return np.float32(radius) * (1 + sum(w * np.cos(k * theta + p) for k, w, p in swing))

    reach = int(radius * (1 + np.abs(waves).sum())) + 5
    top, left = max(0, int(y) - reach), max(0, int(x) - reach)
    part = np.s_[top : max(0, int(y) + reach), left : max(0, int(x) + reach)]
    height, width = canvas.eosin[part].shape
    down = np.arange(top, top + height, dtype=np.float32)[:, None] - np.float32(y)
    right = np.arange(left, left + width, dtype=np.float32)[None, :] - np.float32(x)
    theta = np.arctan2(down, right)
    return _Blob(edge, part, edge(theta) - np.hypot(down, right), theta)


def _paint(canvas: Canvas, blob: _Blob, cover: np.ndarray, haematoxylin, eosin) -> None:
    """Replaces what lies under `cover` [0, 1]."""
    for amounts, wanted in ((canvas.haematoxylin, haematoxylin), (canvas.eosin, eosin)):
        here = amounts[blob.part]
        here += cover * (wanted - here)


def _fibres(canvas: Canvas, amount: float) -> np.ndarray:
    """Wavy collagen with clefts; returns its direction as an angle [n / 2, n / 2]."""
    half = canvas.n // 2
    angle = canvas.rng.uniform(0, np.pi)
    y, x = np.mgrid[:half, :half].astype(np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = cos * x + sin * y
    across = cos * y - sin * x + 8 * canvas.noise(80, part=2) + 1.5 * canvas.noise(18, part=2)
    where = np.stack([across, along])
    coarse, fine = (
        ndimage.map_coordinates(canvas.noise(*size, part=2), where, order=1, mode="mirror")
        for size in ((110, 13), (44, 4))
    )
    clefts = np.clip((coarse - 1.25 + 0.35 * fine) * 1.6, 0, 1)
    eosin = np.clip(0.66 + 0.12 * coarse + 0.12 * fine, 0.05, None) * (1 - 0.93 * clefts)
    canvas.eosin += np.float32(amount) * canvas.grown(eosin) * (1 + 0.07 * canvas.noise(3))
    canvas.haematoxylin += np.float32(0.07 * amount)
    slope_y, slope_x = np.gradient(ndimage.uniform_filter(across, 9))
    return np.arctan2(-slope_x, slope_y)


def _fibroblasts(canvas: Canvas, direction: np.ndarray, spacing: float) -> None:
    points = canvas.cells(spacing)
    angles = canvas.at(direction, points) + canvas.rng.normal(0, 0.15, len(points))
    canvas.stamp(cells.FIBROBLAST, points, angles)


def _vessel(canvas: Canvas, y: float, x: float, radius: float) -> None:
    """A lumen with red cells in it, a thin wall and flat nuclei."""
    rng = canvas.rng
    blob = _blob(canvas, y, x, radius, 0.12)
    canvas.eosin[blob.part] += 0.4 * np.exp(-(((blob.inside + 3) / 2.5) ** 2))
    _paint(canvas, blob, np.clip(blob.inside / 2 + 0.5, 0, 1), 0.01, 0.02)
    for turn in rng.uniform(0, TURN, int(radius)):
        out = max(0.0, radius - 8) * rng.uniform() ** 0.5
        red = _blob(canvas, y + out * np.sin(turn), x + out * np.cos(turn), 6.0, 0.05)
        _paint(canvas, red, np.clip(red.inside, 0, 1), 0.05, 1.25 - 0.06 * red.inside)
    theta = np.linspace(0, TURN, int(radius / 2.5), endpoint=False)
    theta = theta + rng.normal(0, 0.15, len(theta))
    out = blob.radius(theta) + 3
    around = np.stack([y + out * np.sin(theta), x + out * np.cos(theta)], 1)
    canvas.stamp(cells.FLAT, around, theta + np.pi / 2)


def _gland(
    canvas: Canvas, y: float, x: float, radius: float, lumen: float, rough: float, cell: float
) -> Callable:
    """Epithelium of cells `cell` pixels wide around a lumen, a share of the radius.

    Returns its radius over the angle.
    """
    blob = _blob(canvas, y, x, radius, rough)
    wide = blob.theta * (0.8 * radius / cell)
    border = np.exp(-(((wide - np.rint(wide)) * cell / 1.3) ** 2))
    grain = canvas.grain[blob.part] - 0.35 * border
    tone = canvas.rng.uniform(0.3, 0.55)
    canvas.eosin[blob.part] += 0.3 * np.exp(-(((blob.inside + 1.5) / 1.6) ** 2))  # its membrane
    _paint(canvas, blob, np.clip(blob.inside / 2 + 0.5, 0, 1), 0.22 * grain, tone * grain)
    if lumen > 0.05:
        depth = blob.inside - (1 - lumen) * blob.radius(blob.theta)
        mucin = canvas.rng.choice([0.0, 0.0, 0.12])
        _paint(canvas, blob, np.clip(depth / 3 + 0.5, 0, 1), mucin + 0.01, 0.02)
    return blob.radius


def _around(edge: Callable, y: float, x: float, theta: np.ndarray, share) -> np.ndarray:
    """Points [m, 2] at angles `theta`, at a share of a gland's radius."""
    out = edge(theta) * share
    return np.stack([y + out * np.sin(theta), x + out * np.cos(theta)], 1)


def _stroma(canvas: Canvas) -> None:
    rng = canvas.rng
    direction = _fibres(canvas, rng.uniform(0.75, 1.15))
    for y, x in canvas.scatter(300):
        if rng.uniform() < 0.5:
            _vessel(canvas, y, x, rng.uniform(10, 26))
    _fibroblasts(canvas, direction, rng.uniform(36, 50))
    _strangers(canvas, 70)


def _strangers(canvas: Canvas, spacing: float) -> None:
    """Single lymphocytes, as everywhere, in loose groups."""
    points = canvas.scatter(spacing)
    near = canvas.at(canvas.noise(150), points) > 0.9
    canvas.stamp_anyhow(cells.LYMPHOCYTE, points[near])


def _normal_glands(canvas: Canvas) -> None:
    """Round, alike, one row of nuclei at the base."""
    rng = canvas.rng
    _fibroblasts(canvas, _fibres(canvas, rng.uniform(0.6, 1.0)), 48)
    _strangers(canvas, 44)
    for y, x in canvas.scatter(138):
        edge = _gland(canvas, y, x, rng.uniform(48, 60), rng.uniform(0.32, 0.52), 0.05, 11)
        count = int(TURN * 46 / 12 * canvas.cellularity**0.5)
        theta = np.linspace(0, TURN, count, endpoint=False) + rng.normal(0, 0.03, count)
        share = rng.uniform(0.80, 0.85, count)
        canvas.stamp(cells.COLUMNAR, _around(edge, y, x, theta, share), theta)


def _tumour_glands(canvas: Canvas) -> None:
    """Crowded, of any form, nuclei piled up, of any size and in any direction."""
    rng = canvas.rng
    _fibroblasts(canvas, _fibres(canvas, rng.uniform(0.6, 1.0)), 42)
    _strangers(canvas, 60)
    for y, x in canvas.scatter(122):
        lumen = rng.uniform(0.12, 0.38) if rng.uniform() < 0.7 else 0.0
        edge = _gland(canvas, y, x, rng.uniform(50, 72), lumen, 0.14, 15)
        for row in (0.87, 0.66, 0.45):
            count = int(TURN * 58 * row / 16.5 * canvas.cellularity**0.5)
            theta = np.linspace(0, TURN, count, endpoint=False) + rng.normal(0, 0.12, count)
            share = row + rng.normal(0, 0.05, count)
            kept = share > lumen + 0.12
            theta, share = theta[kept], share[kept]
            angles = theta + rng.normal(0, 0.5, len(theta))
            canvas.stamp(cells.TUMOUR, _around(edge, y, x, theta, share), angles)


def _lymphocytes(canvas: Canvas) -> None:
    """Small, round and dark, wall to wall, on next to nothing."""
    rng = canvas.rng
    net = np.abs(canvas.noise(16))
    canvas.eosin += np.clip(rng.uniform(0.3, 0.6) * (1 - 0.6 * net), 0.03, None)
    canvas.haematoxylin += np.float32(0.12)
    points = canvas.cells(15.0)
    crowded = canvas.at(canvas.noise(90), points) > rng.uniform(-2.4, -0.5, len(points))
    canvas.stamp_anyhow(cells.LYMPHOCYTE, points[crowded])
    few = canvas.scatter(75)
    canvas.stamp_anyhow(cells.TUMOUR, few[rng.uniform(size=len(few)) < 0.25])  # blasts


def _fat(canvas: Canvas) -> None:
    """Empty cells with thin walls, nuclei pressed flat."""
    half = canvas.n // 2
    centres = canvas.scatter(canvas.rng.uniform(64, 84)) / 2
    y, x = np.mgrid[:half, :half] + 3 * np.stack([canvas.noise(40, part=2)] * 2)
    near = spatial.cKDTree(centres).query(np.stack([y, x], -1), k=2)[0]
    apart = canvas.grown((near[..., 1] - near[..., 0]).astype(np.float32))
    wall = np.exp(-((apart / 2.0) ** 2))
    canvas.eosin += 0.8 * wall * (1 + 0.25 * canvas.noise(20)) + np.float32(0.015)
    canvas.haematoxylin += 0.12 * wall
    walls = np.argwhere(wall > 0.9)
    some = walls[canvas.rng.integers(0, len(walls), int((canvas.n / 48) ** 2))]
    slope_y, slope_x = np.gradient(apart)
    angles = np.arctan2(canvas.at(slope_y, some), canvas.at(slope_x, some)) + np.pi / 2
    canvas.stamp(cells.FLAT, some, angles)
    loose = canvas.noise(120) - 1.5
    canvas.eosin += 0.5 * np.clip(loose, 0, 1) * (1 + 0.5 * canvas.noise(6)).clip(0)
    _strangers(canvas, 60)


def _necrosis(canvas: Canvas) -> None:
    """Granular, without cells: ghosts and the dust of nuclei."""
    rng = canvas.rng
    grains = 0.13 * canvas.noise(3.5) + 0.1 * canvas.noise(9) + 0.16 * canvas.noise(60)
    canvas.eosin += np.clip(rng.uniform(0.5, 0.8) + grains, 0.03, None)
    canvas.haematoxylin += np.clip(0.12 + 0.08 * canvas.noise(30), 0, None)
    canvas.stamp_anyhow(cells.GHOST, canvas.scatter(32))
    seeds = canvas.cells(26)
    seeds = np.repeat(seeds, rng.integers(0, 5, len(seeds)), axis=0)
    canvas.stamp_anyhow(cells.DUST, seeds + rng.normal(0, 7, seeds.shape))


CLASSES: dict[str, Callable[[Canvas], None]] = {
    "fat": _fat,
    "lymphocytes": _lymphocytes,
    "necrosis": _necrosis,
    "normal_glands": _normal_glands,
    "stroma": _stroma,
    "tumour_glands": _tumour_glands,
}


def draw(name: str, canvas: Canvas) -> None:
    """Draws a class all over an empty canvas."""
    CLASSES[name](canvas)
    np.clip(canvas.eosin, 0, None, out=canvas.eosin)
    np.clip(canvas.haematoxylin, 0, None, out=canvas.haematoxylin)
