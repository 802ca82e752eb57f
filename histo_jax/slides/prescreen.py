"""Which cells of the grid are surely glass, seen from afar, so that nobody need read them.

No proof: the tiles kept were those of the exact scan wherever the two were compared, but a coarse
pixel is the mean of many, in which faint specks may vanish, and a pyramid's levels may show
different things. So the margins are wide, rules that no mean can foretell are left alone, and the
first cells judged are read all the same: if one of them is kept, the whole slide is read.
"""

import numpy as np

from histo_jax.slides.grid import Grid
from histo_jax.slides.overview import Overview
from histo_jax.slides.rule import TileRule
from histo_jax.slides.source import Slide

LEAST_SIDE = 6  # pixels of the overview along a cell, or it says too little
CHECKED = 8  # cells that are read to see whether the overview is right
# Both times `min_foreground`. At 0.5 a cell is glass where less than a tenth of its coarse pixels
# lie above a fifth of the way from the mean of glass to the threshold. Tissue that is spread evenly
# among glass and half as bright lies above a quarter of the way.
SHARE, NEARNESS = 0.2, 0.4


class Prescreen:
    """Says which cells of a slide need not be read.

    Only for Otsu's rule, whose threshold is the overview's own: hues don't survive averaging, and
    the closing of `ciga2021` makes tissue of specks 24 pixels apart. Damage on glass goes
    unnoticed, and transparent cells count as background.
    """

    def __init__(
        self, slide: Slide, rule: TileRule, grid: Grid, seen: Overview, threshold: int | None
    ):
        self._grid, self._plan, self._bounds = grid, seen.plan, slide.bounds
        self._factor = slide.downsamples[-1]
        self._unchecked = CHECKED
        self._on = (
            rule.tissue == "otsu"
            and threshold is not None
            and seen.plan is not None
            and grid.stride >= LEAST_SIDE * self._factor
        )
        if self._on:
            below = seen.saturation[: threshold + 1]
            glass = below @ np.arange(threshold + 1) / max(below.sum(), 1)
            self._limit = int(glass + NEARNESS * rule.min_foreground * (threshold - glass))
            self._share = SHARE * rule.min_foreground

    def skips(self, cell: int) -> bool:
        """Whether a cell need not be read."""
        return self._unchecked == 0 and self._glass(cell)

    def check(self, cell: int, kept: bool) -> None:
        """Learns what became of a cell that was read."""
        if self._unchecked > 0 and self._glass(cell):
            self._unchecked -= 1
            self._on = not kept

    def _glass(self, cell: int) -> bool:
        """Whether a cell has far too little colour for tissue."""
        if not self._on:
            return False
        x, y = self._grid.corner(cell)
        left, top = (x - self._bounds[0]) / self._factor, (y - self._bounds[1]) / self._factor
        side = self._grid.stride / self._factor
        part = self._plan[int(top) : int(top + side) + 1, int(left) : int(left + side) + 1]
        return np.count_nonzero(part > self._limit) < self._share * part.size
