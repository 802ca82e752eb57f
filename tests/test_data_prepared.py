import json
import shutil

import numpy as np
import pytest
from PIL import Image
from prepared_sets import digest, encode, make_set, pixels, refused, write_shard

from histo_jax.data import __main__ as command
from histo_jax.data import prepared
from histo_jax.data.images import read_images
from histo_jax.data.reader import Reader


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("data"), splits=("test", "train"), extra={"label": 3})


@pytest.fixture
def tiny(original, tmp_path):
    shutil.copytree(original.path.parents[2], tmp_path / "d")
    return prepared.open_prepared(tmp_path / "d", original.name)


def test_table_holds_what_the_records_hold(original):
    table = original.table
    assert original.n == original.card["n"] == 106
    assert original.name == "histo_patches/tiny"
    assert table["key"][0] == "test-é0000" and table["key"][53] == "train-é0000"
    assert table["x"].dtype == np.int64 and table["x"][55] == 48
    assert table["mpp"].dtype == np.float32 and (table["mpp"] == 0.5).all()
    assert table["label"].dtype == np.int32 and (table["label"] == 3).all()
    assert "target" not in table
    assert list(table["slide"][[53, 105]]) == ["s0", "s5"]
    assert table["sha256"][54] == digest(encode(pixels(0, 1), "PNG"))
    assert [len(original.rows(s)) for s in ("train", "test", "all", "test+train", "x")] == [
        53, 53, 106, 106, 0,
    ]  # fmt: skip
    with pytest.raises(ValueError):
        table["x"][0] = 1


def test_card_says_what_is_on_disk(original):
    for shard in original.shards:
        facts = original.card["shards"][shard.name]
        assert facts["bytes"] == shard.stat().st_size
    assert sum(f["records"] for f in original.card["shards"].values()) == 106
    assert original.card["schema"] == 1
    assert original.card["options"] == {} and original.card["version"] == "1.0.0"
    json.dumps(original.card)


def test_reader_gives_the_very_bytes(original):
    reader = Reader(original)
    for row in (105, 0, 54):
        assert digest(reader.read(row)) == original.table["sha256"][row]


def test_png_is_exact_and_other_shapes_are_resized(tmp_path):
    odd = make_set(tmp_path, n=7, odd=True)
    images = np.concatenate(list(read_images(odd, np.array([5, 1, 3, 0]), 24, 3)))
    np.testing.assert_array_equal(images[0], pixels(0, 5))
    np.testing.assert_array_equal(images[1], pixels(0, 1))
    small = Image.fromarray(pixels(0, 3, 20, 31))
    expected = np.asarray(small.resize((24, 24), Image.Resampling.BILINEAR), int)
    assert np.abs(images[2] - expected).max() <= 1  # PIL rounds after each axis
    shrunk = next(read_images(odd, np.array([5]), 9, 1))[0]
    expected = Image.fromarray(pixels(0, 5)).resize((9, 9), Image.Resampling.BILINEAR)
    assert np.abs(shrunk - np.asarray(expected, int)).max() <= 1


def test_content_hash_ignores_order_and_sees_every_field():
    keys, hashes = ["a", "b"], [b"1" * 64, b"2" * 64]
    base = prepared.content_hash(keys, hashes)
    assert base == prepared.content_hash(keys[::-1], hashes[::-1])
    assert base == prepared.content_hash(keys, [h.decode() for h in hashes])
    others = {
        base,
        prepared.content_hash(keys, hashes[::-1]),
        prepared.content_hash(keys, hashes, np.array([0, 1])),
        prepared.content_hash(keys, hashes, None, np.array([0, np.nan], np.float32)),
        prepared.content_hash(keys, hashes, None, np.array([0, 1], np.float32)),
    }
    assert len(others) == 5


def test_equal_builds_in_other_shards_have_one_content_hash(original, tmp_path):
    a = make_set(tmp_path / "a", n=8)
    b = make_set(tmp_path / "b", n=8)
    shutil.rmtree(b.path)
    b.path.mkdir()
    reader = Reader(a)
    examples = [{"key": k.encode(), "image": reader.read(i)} for i, k in enumerate(a.table["key"])]
    write_shard(b.path / "histo_patches-train.tfrecord-00000-of-00001", examples[::-1])
    assert prepared.write_index(b.path, {}).card["content_hash"] == a.card["content_hash"]


def test_list_and_default_dir(original, tmp_path, monkeypatch):
    data_dir = original.path.parents[2]
    assert prepared.list_prepared(data_dir) == ["histo_patches/tiny"]
    assert prepared.list_prepared(tmp_path / "none") == []
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert prepared.default_data_dir(None) == data_dir
    assert prepared.open_prepared(None, original.name).n == original.n
    assert prepared.default_data_dir(tmp_path) == tmp_path
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert prepared.default_data_dir(None).parts[-1] == "tensorflow_datasets"


def test_the_newest_version_is_opened(tiny):
    newer = tiny.path.with_name("1.10.0")
    shutil.copytree(tiny.path, newer)
    shutil.copytree(tiny.path, tiny.path.with_name("1.9.0"))
    tiny.path.with_name("incomplete.ABC_2.0.0").mkdir()
    assert prepared.open_prepared(tiny.path.parents[2], tiny.name).path == newer


def test_unknown_name_names_the_nearest(tiny):
    data_dir = tiny.path.parents[2]
    with refused("no-set", "no such prepared set", "did you mean histo_patches/tiny"):
        prepared.open_prepared(data_dir, "histo_patches/tyni")
    with refused("no-set", "prepared here: none"):
        prepared.open_prepared(data_dir / "x", "a/b")


def flip(shard, offset):
    with open(shard, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 16]))


def test_image_that_does_not_decode_is_named(tmp_path):
    folder = tmp_path / "a/b/1.0.0"
    folder.mkdir(parents=True)
    examples = [{"key": b"k1", "image": encode(pixels(0, 1), "PNG")},
                {"key": b"k2", "image": b"no image"}]  # fmt: skip
    write_shard(folder / "a-train.tfrecord-00000-of-00001", examples)
    prepared.write_card(prepared.write_index(folder, {}))
    opened = prepared.open_version(folder)
    expected = ("damaged", "record k2", "does not decode", "verify")
    with refused(*expected):
        prepared.verify(opened)
    with refused(*expected):
        list(read_images(opened, np.arange(2), 24, 2))


def test_verify_command(tiny, capsys, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["data", *arguments])
        return command.errors.run(lambda: command.main(command.arguments()))

    data_dir = str(tiny.path.parents[2])
    assert run("verify", data_dir, "--deep") == 0
    assert "ok       histo_patches/tiny: 106 images" in capsys.readouterr().out
    flip(tiny.shards[0], 100)
    assert run("verify", str(tiny.path)) == 0
    assert run("verify", str(tiny.path), "--deep") == 1
    assert tiny.shards[0].name in capsys.readouterr().err
    assert run("verify", data_dir + "/none") == 1
    assert "no prepared set" in capsys.readouterr().err
