"""Files of features: what goes in comes out, others read them, damaged ones are told in a line."""

import dataclasses
import io

import h5py
import numpy as np
import pytest
from PIL import Image

from histo_jax.errors import HistoError
from histo_jax.features import store
from histo_jax.features.store import Facts, SlideFeatures
from histo_jax.features.table import open_table
from tests.prepared_sets import refused

FACTS = Facts(
    slide="a", source="/slides/a.svs", encoder="resnet18", layer="pooled", checkpoint="c" * 64,
    patch_size=224, patch_size_level0=448, mpp=0.5, level0_width=9000, level0_height=7000,
    overview_x=100, overview_y=200, overview_width=8000, overview_height=6000,
    scale="half", options="o" * 16, identity="i" * 64,
)  # fmt: skip


def jpeg(colour, size=(8, 6)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "JPEG")
    return file.getvalue()


def written(path, n=5, seed=0, **changes):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 4)).astype(np.float32)
    coords = rng.integers(0, 5000, (n, 2))
    keys = [f"{path.stem}-é{i}" for i in range(n)]
    facts = dataclasses.replace(FACTS, slide=path.stem, **changes)
    small = [jpeg((i, 0, 0)) for i in range(n)]
    store.write(path, facts, features, coords, keys, small, jpeg("white", (80, 60)))
    return features, coords, keys, small


def test_what_is_written_is_read(tmp_path):
    features, coords, keys, small = written(tmp_path / "a.h5")
    read = SlideFeatures(tmp_path / "a.h5")
    assert read.facts == dataclasses.replace(FACTS, slide="a") and (read.n, read.width) == (5, 4)
    np.testing.assert_array_equal(read.features, features)
    assert isinstance(read.features, np.memmap) and read.features.dtype == np.float32
    np.testing.assert_array_equal(read.coords, coords)
    assert read.keys.tolist() == keys and read.pictures([3, 1]) == [small[3], small[1]]
    assert read.overview().size == (80, 60)


def test_other_programs_find_the_names_they_look_for(tmp_path):
    """CLAM reads features and coords; TRIDENT the attributes of coords as well."""
    features, coords, *_ = written(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["features"][:], features)
        np.testing.assert_array_equal(file["coords"][:], coords)
        assert dict(file["coords"].attrs) == {
            "name": "a", "patch_size": 224, "patch_size_level0": 448, "overlap": 0,
            "level0_width": 9000, "level0_height": 7000,
            "level0_magnification": 40, "target_magnification": 20,
        }  # fmt: skip


def test_what_is_unknown_is_left_out(tmp_path):
    facts = Facts("s", "/set", "resnet18", "pooled", "c", 224)
    store.write(tmp_path / "s.h5", facts, np.ones((2, 3), np.float32), np.zeros((2, 2)), ["a", "b"])
    read = SlideFeatures(tmp_path / "s.h5")
    assert np.isnan(read.facts.mpp) and read.overview() is None and read.pictures([0]) == [b""]
    with h5py.File(tmp_path / "s.h5") as file:
        assert "level0_magnification" not in file["coords"].attrs


def test_rows_come_in_pieces_or_not_at_all(tmp_path):
    features, coords, keys, small = written(tmp_path / "a.h5")
    overview = jpeg("white", (80, 60))
    with store.writing(tmp_path / "b.h5", FACTS, coords, keys, 4, True, overview) as file:
        for rows in (slice(0, 2), slice(2, 5)):
            file.add(features[rows], small[rows])
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with pytest.raises(ValueError, match="2 of 5 rows"):
        with store.writing(tmp_path / "c.h5", FACTS, coords, keys, 4) as file:
            file.add(features[:2])
    assert {path.name for path in tmp_path.iterdir()} == {"a.h5", "b.h5"}


def test_a_table_is_its_slides_one_after_the_other(tmp_path):
    """One of them without a tile."""
    parts = [written(tmp_path / f"{name}.h5", n, n) for name, n in (("a", 5), ("b", 0), ("c", 3))]
    table = open_table(tmp_path)
    whole = np.concatenate([features for features, *_ in parts])
    assert (table.n, table.width) == (8, 4)
    np.testing.assert_array_equal(np.concatenate([x for _, x in table.blocks(3)]), whole)
    at = np.array([7, 0, 5, 4])
    np.testing.assert_array_equal(table.rows(at), whole[at])
    assert [table.where(row)[0].facts.slide for row in at] == ["c", "a", "c", "a"]
    assert table.keys[6] == "c-é1" and table.picture(5).size == (8, 6)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-2000])


def _change(change):
    def damage(path):
        with h5py.File(path, "a") as file:
            change(file)

    return damage


def _replace(name, value, **options):
    def change(file):
        del file[name]
        file.create_dataset(name, data=value, **options)

    return _change(change)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_text("no HDF5"), "file signature not found"),
        (lambda path: path.write_bytes(b""), "file signature not found"),
        (_cut, "truncated file"),
        (_change(lambda file: file.attrs.update(schema=9)), "its schema is 9, not 1"),
        (_change(lambda file: file.attrs.pop("schema")), "its schema is None, not 1"),
        (_change(lambda file: file.attrs.pop("checkpoint")), "checkpoint"),
        (_change(lambda file: file.pop("coords")), "coords"),
        (_replace("coords", np.zeros((4, 2))), "coords .4, 2."),
        (_replace("features", np.zeros(5, np.float32)), "not enough values"),
        (_replace("features", np.zeros((5, 4))), "float64"),
        (_replace("features", np.zeros((5, 4), np.float32), chunks=(1, 4)), "not in one piece"),
        (_change(lambda file: (file.pop("features"), file.create_group("features"))), "shape"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, damage, words):
    written(tmp_path / "a.h5")
    damage(tmp_path / "a.h5")
    with refused("features", words):
        SlideFeatures(tmp_path / "a.h5")


def test_nothing_there_is_one_line(tmp_path):
    with refused("missing", "no such file of features"):
        SlideFeatures(tmp_path / "a.h5")
    with refused("missing", "holds no file of features"):
        open_table(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": "resnet50"}, "of encoder resnet50"),
        ({"layer": "layer3"}, "of layer layer3"),
        ({"checkpoint": "d" * 64}, "of checkpoint dddddddddddd,"),
        ({"patch_size": 256}, "of image size 256"),
        ({"scale": "imagenet"}, "of scaling imagenet"),
    ],
)
def test_a_mix_is_refused(tmp_path, changes, words):
    written(tmp_path / "a.h5")
    written(tmp_path / "b.h5", **changes)
    with refused("features-foreign", words):
        open_table(tmp_path)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.Writer, "add", full)
    with pytest.raises(HistoError, match="No space left"):
        written(tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())
