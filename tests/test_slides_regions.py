"""Drawn regions: what is read of QuPath's and ASAP's files, which cells they cover, which are cut."""

import dataclasses
import json
import types

import numpy as np
import pytest

from histo_jax.slides import regions
from histo_jax.slides.grid import Grid
from histo_jax.slides.rule import options_digest
from histo_jax.slides.tiles import TileRule, cut
from tests.slide_files import PURPLE, write_slide

SLIDE = types.SimpleNamespace(path="a.svs", dimensions=(640, 480), bounds=(0, 0, 640, 480))
GRID = Grid(level=0, side=64, stride=64.0, x=0, y=0, columns=10, rows=7, mpp=0.5)


def box(left, top, right, bottom):
    """Closed, as GeoJSON has it."""
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(coordinates, name=None, kind="Polygon", **properties):
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": "7", "geometry": geometry, "properties": properties}


def written(folder, *features):
    """As QuPath's default, a list."""
    path = folder / "a.geojson"
    path.write_text(json.dumps(features))
    return path


def asap(folder, **groups):
    """One annotation a group, its corners in disorder."""
    text = ""
    for group, corners in groups.items():
        ordered = list(enumerate(corners))[::-1]
        lines = (f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in ordered)
        kind = f'Name="x" Type="Polygon" PartOfGroup="{group}"'
        text += f"<Annotation {kind}><Coordinates>{''.join(lines)}</Coordinates></Annotation>"
    path = folder / "a.xml"
    groups = "<AnnotationGroups><Group Name='x' PartOfGroup='None'/></AnnotationGroups>"
    path.write_text(
        f"<ASAP_Annotations><Annotations>{text}</Annotations>{groups}</ASAP_Annotations>"
    )
    return path


def covered(path, grid=GRID, slide=SLIDE):
    """Names of the cells' classes, empty for none: text [rows, columns]."""
    drawn = regions.read(path, slide)
    names = np.array(["", *drawn.classes])
    return names[drawn.cells(grid)].reshape(grid.rows, grid.columns)


def places(names, label):
    """(column, row) of the cells of a class."""
    return {(int(x), int(y)) for y, x in np.argwhere(names == label)}


def test_half_of_a_cell_is_enough_and_less_is_not(tmp_path):
    names = covered(written(tmp_path, feature([box(64, 64, 160, 128)], "Tumour")))
    assert places(names, "Tumour") == {(1, 1), (2, 1)} and names[1, 2] == "Tumour"  # half of it
    names = covered(written(tmp_path, feature([box(64, 64, 155, 128)], "Tumour")))
    assert places(names, "Tumour") == {(1, 1)}


def test_shares_of_cells_are_those_of_the_areas(tmp_path):
    """Right-angled triangles over one cell, of known area, from just below to just above half."""
    for width, height, inside in (
        (64, 61, False),
        (66, 66, True),
        (60, 66, False),
        (128, 44, True),
        (128, 41, False),
    ):
        triangle = [[0, 0], [width, 0], [0, height], [0, 0]]
        names = covered(written(tmp_path, feature([triangle], "t")))
        inside_cell = width * height / 2 - max(0, width - 64) ** 2 * height / width / 2
        inside_cell -= max(0, height - 64) ** 2 * width / height / 2
        assert (inside_cell >= 32 * 64) == inside == (names[0, 0] == "t"), (width, height)


def test_holes_and_many_polygons(tmp_path):
    ring = [box(0, 0, 192, 192), box(64, 64, 128, 128)]
    both = feature([ring, [box(320, 320, 384, 384)]], "Stroma", "MultiPolygon")
    everywhere = {(x, y) for x in range(3) for y in range(3)} - {(1, 1)}
    assert places(covered(written(tmp_path, both)), "Stroma") == everywhere | {(5, 5)}


def test_the_smaller_lies_on_the_larger_whatever_their_order(tmp_path):
    large, small = (
        feature([box(0, 0, 320, 320)], "Stroma"),
        feature([box(64, 64, 192, 192)], "Tumour"),
    )
    ignored = feature([box(256, 256, 320, 320)], "Ignore*")
    one = covered(written(tmp_path, small, ignored, large))
    other = covered(written(tmp_path, large, small, ignored))
    np.testing.assert_array_equal(one, other)
    assert places(one, "Tumour") == {(1, 1), (2, 1), (1, 2), (2, 2)}
    assert one[4, 4] == "" and len(places(one, "Stroma")) == 25 - 4 - 1  # no class called Ignore*
    assert regions.read(tmp_path / "a.geojson", SLIDE).classes == ("Stroma", "Tumour")


def test_lines_that_cross_enclose_what_is_odd(tmp_path):
    twice = [*box(0, 0, 192, 192)[:4], *box(64, 64, 128, 128)]  # the inner square a second time
    assert (1, 1) not in places(covered(written(tmp_path, feature([twice], "t"))), "t")


@pytest.mark.parametrize("form", ["list", "collection", "one"])
def test_forms_of_geojson(tmp_path, form):
    one = feature([box(0, 0, 64, 64)], "a  b\n")
    said = {
        "list": [one],
        "collection": {"type": "FeatureCollection", "features": [one]},
        "one": one,
    }
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(said[form]), encoding="utf-8-sig")
    assert covered(path)[0, 0] == "a b"


def test_what_is_no_region_is_counted(tmp_path):
    some = [
        feature([box(0, 0, 64, 64)], "Tumour", objectType="annotation"),
        feature([box(0, 0, 64, 64)], "Other", objectType="detection"),
        feature([1, 2], "Other", "Point"),
        feature([box(64, 0, 128, 64)]),
        feature([box(64, 0, 128, 64)], None, classification=None),
        {"type": "Feature", "geometry": None, "properties": None},
    ]
    drawn = regions.read(written(tmp_path, *some), SLIDE)
    assert drawn.classes == ("Tumour",) and drawn.remarks == (
        "2 drawn regions without a class left out",
        "3 drawn points, lines and detections left out",
    )
    nothing = regions.read(written(tmp_path), SLIDE)
    assert nothing.remarks == ("no region with a class is drawn",)
    assert not nothing.cells(GRID).any()


def test_classes_of_several_parts(tmp_path):
    said = feature([box(0, 0, 64, 64)], classification={"names": ["Tumour", "Positive"]})
    assert covered(written(tmp_path, said))[0, 0] == "Tumour: Positive"


def test_asap_is_read_by_order_and_group(tmp_path):
    corners = {
        "tumour": box(0, 0, 128, 64)[:4],
        "None": box(64, 64, 128, 128),
        "fat": box(128, 0, 192, 64),
    }
    path = asap(tmp_path, **corners)
    names = covered(path)
    assert places(names, "tumour") == {(0, 0), (1, 0)} and places(names, "fat") == {(2, 0)}
    assert regions.read(path, SLIDE).remarks == ("1 drawn regions without a class left out",)


def test_qupath_counts_from_the_scanned_part_and_asap_from_the_slide(tmp_path):
    slide = types.SimpleNamespace(
        path="a.mrxs", dimensions=(2000, 2000), bounds=(640, 320, 640, 480)
    )
    grid = dataclasses.replace(GRID, x=640, y=320)
    qupath = written(tmp_path, feature([box(0, 64, 64, 128)], "t"))
    names = covered(qupath, grid, slide)
    assert places(names, "t") == {(0, 1)}
    shifted = [[x + 640, y + 320] for x, y in box(0, 64, 64, 128)]
    np.testing.assert_array_equal(covered(asap(tmp_path, t=shifted), grid, slide), names)


def test_a_hand_may_slip_over_the_edge(tmp_path):
    assert covered(written(tmp_path, feature([box(-6, -6, 64, 64)], "t")))[0, 0] == "t"


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "a.svs"
    return write_slide(path, np.full((480, 640, 3), PURPLE, np.uint8))


def test_only_cells_in_regions_are_cut_in_the_order_they_have_without(slide, tmp_path):
    rule = TileRule(size=64, tissue="none")
    some = [feature([box(0, 0, 256, 128)], "Tumour"), feature([box(256, 0, 320, 128)], "Stroma")]
    path = written(tmp_path, *some)
    every, inside = cut(slide, rule), cut(slide, rule, regions=path)
    labels = {
        t.key: "Tumour" if t.x < 256 else "Stroma" for t in every.tiles if t.x < 320 and t.y < 128
    }
    assert {tile.key: tile.label for tile in inside.tiles} == labels and len(labels) == 10
    assert [t.key for t in inside.tiles] == [t.key for t in every.tiles if t.key in labels]
    assert all(tile.label is None for tile in every.tiles)
    assert inside.counts["outside"] == 60 and sum(inside.counts.values()) == 70
    assert inside.counts["not-needed"] == 0 and "outside" not in every.counts
    few = cut(slide, dataclasses.replace(rule, max_tiles=3), regions=path)
    assert few.tiles == inside.tiles[:3] and few.counts["not-needed"] == 7


def test_other_regions_are_other_options(slide, tmp_path):
    rule = TileRule(size=64)
    assert options_digest(rule) == cut(slide, rule).options_digest
    made = [
        cut(slide, rule, regions=written(tmp_path, feature([box(0, 0, 256, end)], "t")))
        for end in (128, 192)
    ]
    assert len({options_digest(rule), *(one.options_digest for one in made)}) == 3


def test_glass_in_a_region_is_no_tile(tmp_path):
    image = np.full((480, 640, 3), 245, np.uint8)
    image[:, :64] = PURPLE
    path = write_slide(tmp_path / "a.svs", image)
    drawn = written(tmp_path, feature([box(0, 0, 256, 64)], "t"))
    found = cut(path, TileRule(size=64), regions=drawn)
    assert [tile.x for tile in found.tiles] == [0]
    assert found.counts["background"] == 3 and found.counts["outside"] == 66


@pytest.mark.slow
@pytest.mark.parametrize("form", ["geojson", "asap"])
def test_a_large_file_takes_seconds(tmp_path, form):
    """One region of half a million corners, on a slide of 100,000 pixels."""
    import time

    angle = np.linspace(0, 2 * np.pi, 500_000, endpoint=False)
    radius = 40_000 + 500 * np.random.default_rng(0).normal(size=angle.size)
    corners = (50_000 + radius * np.array([np.cos(angle), np.sin(angle)])).T.round(4).tolist()
    slide = types.SimpleNamespace(path="a", dimensions=(100_000, 100_000), bounds=(0, 0, 0, 0))
    grid = Grid(0, 224, 224.0, 0, 0, 446, 446, 0.25)
    path = (
        asap(tmp_path, t=corners) if form == "asap" else written(tmp_path, feature([corners], "t"))
    )
    assert path.stat().st_size > 9e6
    begin = time.monotonic()
    cells = regions.read(path, slide).cells(grid)
    assert time.monotonic() - begin < 60
    assert abs(np.count_nonzero(cells) * 224**2 / (np.pi * 40_000**2) - 1) < 0.01
