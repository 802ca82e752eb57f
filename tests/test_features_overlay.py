"""Boxes by hand, a background that stays as it was, and GeoJSON by RFC 7946."""

import itertools
import json

import numpy as np
import pytest

from histo_jax.features import overlay, qupath
from tests import feature_files

FACTS = feature_files.facts("a")  # 4096 x 3072 level-0 pixels from (1024, 2048), tiles of 512


def test_boxes_by_hand():
    coords = np.array([(1024, 2048), (1024 + 512, 2048 + 1024), (1024 + 3584, 2048 + 2560)])
    small = overlay.boxes(coords, FACTS, (64, 48))  # 1/64: 8 pixels a tile
    assert small.tolist() == [[0, 0, 8, 8], [8, 16, 16, 24], [56, 40, 64, 48]]
    # 100/4096: 12.5 pixels a tile; edges at 0, 12.5, 25, 37.5 … are rounded to even.
    odd = overlay.boxes(coords, FACTS, (100, 75))
    assert odd.tolist() == [[0, 0, 12, 12], [12, 25, 25, 38], [88, 62, 100, 75]]


def test_neighbours_leave_no_gap_at_any_scale():
    columns = np.arange(8)
    coords = np.stack([1024 + 512 * columns, np.full(8, 2048)], 1)
    for width in range(20, 90):
        at = overlay.boxes(coords, FACTS, (width, 50))
        assert np.array_equal(at[1:, 0], at[:-1, 2]) and at[-1, 2] == width


def test_what_lies_outside_is_cut_off():
    at = overlay.boxes(np.array([(1024 - 256, 2048), (99999, 0)]), FACTS, (64, 48))
    assert at.tolist() == [[0, 0, 4, 8], [64, 0, 64, 0]]


def test_chosen_clusters_are_tinted_and_nothing_else():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    coords = np.array([(1024, 2048), (1536, 2048), (2048, 2048)])
    at = overlay.boxes(coords, FACTS, (64, 48))
    out = overlay.paint(picture, at, np.array([5, 6, 7]), {5: (0, 114, 255), 7: (255, 0, 0)})
    box = 0.6 * picture[:8, :8] + 0.4 * np.array([0, 114, 255])
    np.testing.assert_array_equal(out[:8, :8], np.rint(box).astype(np.uint8))
    outside = np.ones((48, 64), bool)
    outside[:8, :8] = outside[:8, 16:24] = False
    assert np.array_equal(out[outside], picture[outside]) and outside[:8, 8:16].all()


def test_colours_are_all_different():
    assert len({overlay.colour(place) for place in range(60)}) == 60


# GeoJSON.


def area(ring):
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in itertools.pairwise(ring)) / 2


def check(made):
    """RFC 7946 3.1.6 and 3.2 to 3.3, and what QuPath takes from properties."""
    made = json.loads(json.dumps(made, allow_nan=False))
    assert set(made) == {"type", "features"} and made["type"] == "FeatureCollection"
    for feature in made["features"]:
        assert set(feature) == {"type", "geometry", "properties"} and feature["type"] == "Feature"
        geometry = feature["geometry"]
        assert set(geometry) == {"type", "coordinates"} and geometry["type"] == "Polygon"
        for place, ring in enumerate(geometry["coordinates"]):
            assert len(ring) >= 4 and ring[0] == ring[-1]
            assert all(len(at) == 2 and all(type(v) in (int, float) for v in at) for at in ring)
            assert (area(ring) < 0) == bool(place)  # right-hand rule: outer counterclockwise
            corners = [tuple(at) for at in ring[:-1]]
            assert len({*corners}) == len(corners)  # it doesn't touch itself
            for (x0, y0), (x1, y1), (x2, y2) in zip(
                ring[-2:-1] + ring[:-2], ring[:-1], ring[1:], strict=True
            ):
                assert (x1 - x0) * (y2 - y1) != (y1 - y0) * (x2 - x1)  # every point is a corner
        said = feature["properties"]
        assert said["objectType"] == "annotation" and ":" not in said["name"]
        assert said["classification"]["name"] == said["name"]
        colour = said["classification"]["color"]
        assert len(colour) == 3 and all(type(v) is int and 0 <= v < 256 for v in colour)
    return made["features"]


def test_one_tile_by_hand():
    made = qupath.collection(np.array([(100, 50)]), np.array([3]), 10, {3: (1, 2, 3)})
    [feature] = check(made)
    assert feature["geometry"]["coordinates"] == [
        [[100, 50], [110, 50], [110, 60], [100, 60], [100, 50]]
    ]
    assert feature["properties"] == {
        "objectType": "annotation",
        "name": "cluster 3",
        "classification": {"name": "cluster 3", "color": [1, 2, 3]},
    }


def test_neighbours_are_one_region_with_its_hole():
    cells = [(x, y) for x in range(3) for y in range(3) if (x, y) != (1, 1)]
    coords = np.array([*cells, (5, 0)]) * 10
    large, small = check(
        qupath.collection(coords, np.zeros(9, int), 10, {0: (9, 9, 9), 4: (1, 1, 1)})
    )
    assert large["geometry"]["coordinates"] == [
        [[0, 0], [30, 0], [30, 30], [0, 30], [0, 0]],
        [[10, 10], [10, 20], [20, 20], [20, 10], [10, 10]],
    ]
    assert small["geometry"]["coordinates"] == [[[50, 0], [60, 0], [60, 10], [50, 10], [50, 0]]]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_any_pattern_keeps_its_area_and_no_ring_touches_itself(share):
    for seed in range(25):
        mask = np.random.default_rng(seed).random((9, 11)) < share
        coords = np.argwhere(mask)[:, ::-1] * 7 + 3
        made = qupath.collection(coords, np.zeros(len(coords), int), 7, {0: (0, 0, 0)})
        rings = [r for f in check(made) for r in f["geometry"]["coordinates"]]
        assert sum(map(area, rings)) == 49 * mask.sum()
        outer = sum(area(r) > 0 for r in rings)
        assert outer == len(made["features"]) == parts(mask)


def parts(mask):
    """Regions whose cells share sides."""
    from scipy import ndimage

    return ndimage.label(mask)[1]


def test_tiles_off_the_grid_stay_by_themselves():
    coords = np.array([(0, 0), (10, 0), (25, 3)])
    features = check(qupath.collection(coords, np.zeros(3, int), 10, {0: (0, 0, 0)}))
    assert [f["geometry"]["coordinates"][0][0] for f in features] == coords.tolist()
