"""Clusters of a slide as GeoJSON (RFC 7946) that QuPath reads: one polygon a connected region.

Coordinates are level-0 pixels. QuPath takes `objectType`, `name` and `classification` with `name`
and `color` [r, g, b] from a feature's properties.
"""

import itertools
from collections import deque
from typing import Any

import numpy as np

Cell = tuple[int, int]
RIGHT, DOWN, LEFT, UP = (1, 0), (0, 1), (-1, 0), (0, -1)


def collection(
    coords: np.ndarray, labels: np.ndarray, side: int, colours: dict[int, tuple[int, int, int]]
) -> dict[str, Any]:
    """A FeatureCollection of the clusters in `colours`.

    Args:
      coords: int [n, 2], (x, y) of the top left corner of each tile.
      labels: int [n], its cluster.
      side: of a tile, in the same pixels.
      colours: RGB of each cluster, in the order in which they are written.
    """
    features = []
    for number, colour in colours.items():
        for rings in regions(coords[labels == number], side):
            name = f"cluster {number}"
            properties = {
                "objectType": "annotation",
                "name": name,
                "classification": {"name": name, "color": list(colour)},
            }
            geometry = {"type": "Polygon", "coordinates": rings}
            features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def regions(coords: np.ndarray, side: int) -> list[list[list[list[int]]]]:
    """Rings of each region of tiles that share sides: the outer one first, then its holes.

    Tiles that don't lie on one grid each stay by themselves.
    """
    if not len(coords):
        return []
    origin = coords.min(0)
    cells, rest = np.divmod(coords - origin, side)
    if rest.any():
        groups = [({(0, 0)}, at) for at in coords]
    else:
        groups = [(group, origin) for group in _groups({(int(x), int(y)) for x, y in cells})]
    return [[_placed(ring, at, side) for ring in _rings(group)] for group, at in groups]


def _placed(ring: list[Cell], origin: np.ndarray, side: int) -> list[list[int]]:
    return [[int(origin[0]) + x * side, int(origin[1]) + y * side] for x, y in ring]


def _groups(cells: set[Cell]) -> list[set[Cell]]:
    """Cells that share sides, group by group, in the order of their first cell."""
    left, groups = dict.fromkeys(sorted(cells)), []
    while left:
        first = next(iter(left))
        del left[first]
        group, queue = {first}, deque([first])
        while queue:
            x, y = queue.popleft()
            for dx, dy in (RIGHT, DOWN, LEFT, UP):
                if (near := (x + dx, y + dy)) in left:
                    del left[near]
                    group.add(near)
                    queue.append(near)
        groups.append(group)
    return groups


def _rings(group: set[Cell]) -> list[list[Cell]]:
    """Corners of a group's outline, closed, positive area; then of its holes, negative.

    Every side of a cell is walked with the cell at the same hand. Where two cells meet in a corner
    only, the walk changes over to the other one: no ring then touches itself.
    """
    ways: dict[Cell, list[Cell]] = {}  # from each corner, directions of sides that start there
    for x, y in sorted(group):
        for (dx, dy), corner, way in (
            (UP, (x, y), RIGHT),
            (RIGHT, (x + 1, y), DOWN),
            (DOWN, (x + 1, y + 1), LEFT),
            (LEFT, (x, y + 1), UP),
        ):
            if (x + dx, y + dy) not in group:
                ways.setdefault(corner, []).append(way)
    rings = []
    while ways:
        start = at = next(iter(ways))
        first = way = ways[start][0]
        ring = [start]
        while True:
            _take(ways, at, way)
            at = (at[0] + way[0], at[1] + way[1])
            if at == start:
                break
            onward = ways[at]
            # Turning against the hand that the cell is at leads to the other cell.
            turn = onward[0] if len(onward) == 1 else (way[1], -way[0])
            if turn != way:
                ring.append(at)
            way = turn
        ring = ring[way == first :]  # no corner where it goes straight on
        rings.append([*ring, ring[0]])
    return sorted(rings, key=lambda ring: -_area(ring))


def _take(ways: dict[Cell, list[Cell]], corner: Cell, way: Cell) -> None:
    ways[corner].remove(way)
    if not ways[corner]:
        del ways[corner]


def _area(ring: list[Cell]) -> float:
    """Positive where the ring runs as RFC 7946 wants an outer one."""
    pairs = itertools.pairwise(ring)
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs) / 2
