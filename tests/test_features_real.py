"""Clusters of real tissue: what is glass on CMU-1, and whether artefacts keep to themselves."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_limits

from histo_jax.features.table import open_table
from tests import commands
from tests.test_features_cluster import run
from tests.test_features_overlay import area, check

pytestmark = pytest.mark.slow


def test_glass_of_cmu_1_is_a_cluster_and_lies_where_it_is_glass(real_data, tmp_path):
    slide = real_data / "wsi" / "cmu-1-small-region.svs"
    done = commands.run(
        sys.executable, "-m", "histo_jax.features", "extract", "--slides", slide, "--checkpoint", "random:resnet18",
        "--tissue", "none", "--out", tmp_path / "features",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = run(tmp_path / "features", tmp_path / "out", "--k", "8")
    table = open_table(tmp_path / "features")
    with np.load(out / "clusters.npz") as held:
        labels = held["labels"]
    tiles = [np.asarray(table.picture(row)) for row in range(table.n)]
    glass = np.array([(tile.min(-1) > 220).mean() > 0.97 for tile in tiles])
    largest = np.bincount(labels).argmax()
    assert glass.sum() > 40 and (labels[glass] == largest).mean() > 0.95
    features = check(json.loads((out / "slides/cmu-1-small-region.geojson").read_text()))
    rings = [ring for feature in features for ring in feature["geometry"]["coordinates"]]
    corners = np.array([corner for ring in rings for corner in ring])
    assert corners.min() >= 0 and (corners.max(0) <= (2220, 2967)).all()
    assert sum(map(area, rings)) == table.n * 224**2  # all eight clusters are shown by default
    overview = table.slides[0].overview()
    drawn = np.asarray(Image.open(out / "slides/cmu-1-small-region.png"))
    assert drawn.shape[0] > overview.height and drawn.shape[1] == overview.width


def test_artefacts_fall_into_clusters_of_their_own(real_data, monkeypatch):
    monkeypatch.syspath_prepend(commands.ROOT / "benchmarks")
    import cluster_artefacts

    tiles, groups = cluster_artefacts.squares(real_data)
    x = cluster_artefacts.described(tiles, "random:resnet18")
    with threadpool_limits(1):
        found = [
            cluster_artefacts.alike(cluster_artefacts.labels(x, 12, seed), groups)
            for seed in range(5)
        ]
    for name in ("glass", "fat", "pen"):
        chance = (groups == name).mean()
        assert np.median([one[name] for one in found]) > 2.5 * chance, name
