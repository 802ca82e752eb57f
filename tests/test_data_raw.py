import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from prepared_sets import make_set, pixels, refused

from histo_jax.data import __main__ as command
from histo_jax.data import raw
from histo_jax.data.images import read_images

SIZE = 16


@pytest.fixture
def tiny(tmp_path):
    return make_set(tmp_path, n=21, odd=True)


def test_cache_holds_what_decoding_gives(tiny):
    rows = np.array([3, 20, 3, 0, 7])
    decoded = list(read_images(tiny, rows, SIZE, 2))
    path = raw.build_raw(tiny, SIZE)
    assert path.parent.name == ".raw" and path.name == f"{tiny.card['content_hash']}-{SIZE}.npy"
    pixels = np.load(path, allow_pickle=False)  # numpy alone reads it
    np.testing.assert_array_equal(pixels[rows], np.concatenate(decoded))
    cached = list(read_images(tiny, rows, SIZE, 2))
    assert [len(b) for b in cached] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(cached), np.concatenate(decoded))


def test_images_of_the_right_size_are_not_touched(tiny):
    raw.build_raw(tiny, 24)
    np.testing.assert_array_equal(raw.open_raw(tiny, 24)[5], pixels(0, 5))


def test_building_again_keeps_a_good_cache(tiny):
    path = raw.build_raw(tiny, SIZE)
    before = path.stat().st_mtime_ns
    assert raw.build_raw(tiny, SIZE) == path and path.stat().st_mtime_ns == before
    path.with_suffix(".json").unlink()  # a build stopped before its end is made anew
    assert not raw.has_raw(tiny, SIZE)
    raw.build_raw(tiny, SIZE)
    assert path.stat().st_mtime_ns > before
    assert len(raw.verify_raw(tiny)) == 1


def test_a_cache_that_is_not_this_sets_is_refused(tiny):
    with refused("no-cache", "no raw cache of this set and size", "data cache histo_patches/tiny"):
        raw.open_raw(tiny, SIZE)
    path = raw.build_raw(tiny, SIZE)
    facts, data = path.with_suffix(".json"), path.read_bytes()
    path.write_bytes(data[:-1])
    with refused("damaged", "missing or cut", "remove it and make it"):
        raw.open_raw(tiny, SIZE)
    np.save(path, np.zeros((3, SIZE, SIZE, 3), np.uint8))
    with refused("damaged", r"holds uint8\[3, 16, 16, 3\], the set has 21 images"):
        raw.open_raw(tiny, SIZE)
    sample = json.loads(facts.read_text())["sample"]
    row = next(row for row in range(21) if str(row) not in sample)  # quick looks miss one pixel
    at = len(data) - (21 - row) * SIZE * SIZE * 3
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    raw.open_raw(tiny, SIZE)
    with refused("damaged", "pixels differ"):
        raw.verify_raw(tiny)
    path.write_bytes(data)
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"keys": "0" * 64}))
    with refused("other-keys", "other images or another order"):
        raw.open_raw(tiny, SIZE)


def test_pixels_in_another_order_are_noticed_at_once(tiny):
    path = raw.build_raw(tiny, SIZE)
    pixels, rng = np.load(path), np.random.default_rng(0)
    np.save(path, pixels[rng.permutation(len(pixels))])
    with refused("damaged", "image .* is not the one written there", "remove it and make it"):
        raw.open_raw(tiny, SIZE)
    np.save(path, pixels)
    raw.open_raw(tiny, SIZE)
    facts = path.with_suffix(".json")
    older = json.loads(facts.read_text())
    assert 8 < len(older.pop("sample")) <= raw.SAMPLE
    facts.write_text(json.dumps(older))  # made before there were samples
    np.save(path, pixels[::-1])
    raw.open_raw(tiny, SIZE)


def test_no_space_is_said_before_the_work(tiny, monkeypatch):
    monkeypatch.setattr(raw.shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with refused("no-space", "GB are free", "data.cache=none"):
        raw.build_raw(tiny, SIZE)
    assert [p.suffix for p in raw.raw_path(tiny, SIZE).parent.iterdir()] == [".lock"]


def test_a_failed_build_leaves_no_cache(tiny):
    with open(tiny.shards[1], "r+b") as file:
        file.seek(300)
        file.write(b"damaged")
    with refused("damaged", tiny.shards[1].name, "verify"):
        raw.build_raw(tiny, SIZE)
    names = [p.name for p in raw.raw_path(tiny, SIZE).parent.iterdir()]
    assert all(n.endswith(".lock") for n in names)


def test_what_a_killed_build_left_makes_room_again(tiny):
    path = raw.raw_path(tiny, SIZE)
    path.parent.mkdir()
    left = path.with_name(f".{path.name}.tmp.0123abcd")
    others = path.with_name(f".other-{SIZE}.npy.tmp.0123abcd")
    for leftover in (left, others):
        leftover.write_bytes(b"half")
    raw.build_raw(tiny, SIZE)
    assert not left.exists() and others.exists()  # another build may be writing that


def test_commands_make_and_time_it(tiny, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["data", *arguments, "--data_dir", str(tmp_path)])
        return command.errors.run(lambda: command.main(command.arguments()))

    speed = ("speed", tiny.name, "--size", "16", "--batch_size", "4", "--seconds", "0.2")
    assert run(*speed, "--cache", "raw") == 1
    assert "no raw cache" in capsys.readouterr().err
    assert run("cache", tiny.name, "--size", "16") == 0
    assert capsys.readouterr().out.strip() == str(raw.raw_path(tiny, SIZE))
    for cache in ("raw", "none"):
        assert run(*speed, "--cache", cache) == 0
        assert f"21 images, cache={cache}: " in capsys.readouterr().out


RAW_ONLY = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets", "jax"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
import numpy as np
from histo_jax.data import mixture, pipeline
from histo_jax.data.images import read_images
from histo_jax.errors import HistoError

data = mixture.open_mixture(sys.argv[1], "auto")
options = dict(split="train", seed=0, batch_size=8, start_step=0, total_steps=3)
made = list(pipeline.batches(data, image_size=16, cache="raw", **options))
assert [b["image"].shape for b in made] == [(8, 16, 16, 3)] * 3
assert next(read_images(data.sets[0], np.arange(3), 16, 3)).shape == (3, 16, 16, 3)
try:
    list(pipeline.batches(data, image_size=16, cache="none", **options))
except HistoError as error:
    print(error)
print(sum(int(b["image"].sum()) for b in made))
"""


def test_raw_batches_need_neither_tensorflow_nor_jax(tiny, tmp_path):
    raw.build_raw(tiny, SIZE)
    done = subprocess.run(
        [sys.executable, "-c", RAW_ONLY, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    message, total = done.stdout.splitlines()
    assert message.startswith("tensorflow: can't be imported") and "data.cache=raw" in message
    assert int(total) > 0
