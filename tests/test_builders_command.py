"""`tfds build` as a user types it: what it prints, how it fails, what a kill leaves."""

import json
import time

import numpy as np
import pytest

from histo_jax.data.prepared import open_prepared, verify
from tests import commands, folder_builders

LAB = '{"name": "lab", "mpp": 1.0, "tile_size": 64, "min_foreground": 0.1}'


def tfds_build(builder, config, folder, data, *flags):
    return (
        commands.TFDS, "build", f"tfds_builders/{builder}", "--config", config,
        "--manual_dir", folder, "--data_dir", data, *flags,
    )  # fmt: skip


def test_a_build_and_its_refusal(tmp_path):
    slides, data = tmp_path / "slides", tmp_path / "data"
    slides.mkdir()
    folder_builders.slide(slides / "a.tif", 1)
    (slides / "b.svs").write_text("<html>")
    done = commands.run(*tfds_build("histo_wsi", LAB, slides, data))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "histo_wsi/lab: 4 records from 1 of 2 slides; skipped: 1 html" in done.stdout
    assert "  b.svs: skipped, holds a web page" in done.stdout
    verify(open_prepared(data, "histo_wsi/lab"))
    done = commands.run(*tfds_build("histo_wsi", LAB.replace("mpp", "mp"), slides, data))
    assert "--config, mp: no such option (did you mean mpp?)" in commands.error_line(done)


@pytest.mark.slow
def test_a_failed_overwrite_keeps_the_old_set(tmp_path):
    images, data = tmp_path / "images", tmp_path / "data"
    images.mkdir()
    folder_builders.picture(1).save(images / "a.png")
    config = '{"name": "p"}'
    assert commands.run(*tfds_build("histo_patches", config, images, data)).returncode == 0
    done = commands.run(*tfds_build("histo_patches", config, tmp_path / "no", data, "--overwrite"))
    assert "no such folder" in commands.error_line(done)
    assert open_prepared(data, "histo_patches/p").n == 1
    folder_builders.picture(2).save(images / "b.png")
    (images / "a.png").unlink()
    done = commands.run(*tfds_build("histo_patches", config, images, data, "--overwrite"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert open_prepared(data, "histo_patches/p").n == 1


@pytest.mark.slow
def test_more_refusals_are_one_line(tmp_path):
    slides, data = tmp_path / "slides", tmp_path / "data"
    done = commands.run(*tfds_build("histo_wsi", LAB, slides, data))
    assert "no such folder, or it is empty (name yours by --manual_dir)" in commands.error_line(
        done
    )
    done = commands.run(*tfds_build("histo_wsi", '{"name": "x"', slides, data))
    assert "--config: is no JSON" in commands.error_line(done)
    slides.mkdir()
    (slides / "b.svs").write_text("<html>")
    done = commands.run(*tfds_build("histo_wsi", LAB, slides / "b.svs", data))
    assert "no such folder, or it is empty" in commands.error_line(done)
    done = commands.run(*tfds_build("histo_wsi", LAB, slides, data))
    assert "gave no record for split train" in commands.error_line(done)
    assert "1 html" in commands.error_line(done)
    done = commands.run(
        *tfds_build("histo_labelled", '{"name": "x"}', slides, data, "--file_format=array_record")
    )
    assert "prepared sets are TFRecord" in commands.error_line(done)


@pytest.mark.slow
def test_killed_twenty_times_it_ends_in_the_same_set(tmp_path):
    """Each time after at least one more slide was done; nor does the number of workers matter."""
    slides, killed = tmp_path / "slides", tmp_path / "killed"
    slides.mkdir()
    for number in range(40):
        folder_builders.slide(slides / f"{number}.tif", number, 1024)

    def build(data, workers, run=commands.run):
        slow = {"tissue": "ciga2021", "max_tiles": 1000, "tile_size": 32, "workers": workers}
        config = json.dumps(json.loads(LAB) | slow)
        return run(*tfds_build("histo_wsi", config, slides, data))

    for workers in (1, 4):
        done = build(tmp_path / str(workers), workers)
        assert done.returncode == 0, done.stderr[-3000:]
    parts, random = killed / ".parts/histo_wsi-lab", np.random.default_rng(0)
    for kill in range(20):
        before = len(list(parts.glob("*.zip")))
        process = build(killed, 1, commands.start)
        while process.poll() is None and len(list(parts.glob("*.zip"))) == before:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.05))
        assert process.poll() is None, f"kill {kill + 1} came too late"
        process.kill()
        process.wait()
    assert len(list(parts.glob("*.zip"))) < 40
    assert build(killed, 1).returncode == 0
    one, four, resumed = (
        open_prepared(data, "histo_wsi/lab") for data in (tmp_path / "1", tmp_path / "4", killed)
    )
    for other in (four, resumed):
        assert other.card["content_hash"] == one.card["content_hash"]
        for column in ("key", "sha256", "slide"):
            np.testing.assert_array_equal(other.table[column], one.table[column])
    assert [p.name for p in (killed / "histo_wsi/lab").iterdir()] == ["1.0.0"]


@pytest.mark.slow
def test_real_slides(real_data, tmp_path):
    """CMU-1 gives the 41 tiles measured by hand; crash.svs aborts whoever reads it unprepared."""
    data = tmp_path / "data"
    (tmp_path / "slides").mkdir()
    for name in ("wsi", "wsi_broken"):
        (tmp_path / "slides" / name).symlink_to(real_data / name)
    config = '{"name": "real", "mpp": 0.5}'
    done = commands.run(*tfds_build("histo_wsi", config, tmp_path / "slides", data))
    assert done.returncode == 0, done.stderr[-3000:]
    made = open_prepared(data, "histo_wsi/real")
    assert made.card["summary"]["skipped"] == {"html": 1, "implausible-tile": 1, "not-a-slide": 1}
    assert made.n == 41 and set(made.table["slide"]) == {"wsi/cmu-1-small-region.svs"}


@pytest.mark.slow
def test_real_patches(real_data, tmp_path):
    folder = real_data / "dsb2018_brightfield" / "images"
    config = '{"name": "dsb", "tile": 128}'
    done = commands.run(*tfds_build("histo_patches", config, folder, tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    made = open_prepared(tmp_path, "histo_patches/dsb")
    assert made.n == 4 * 81 and made.card["summary"]["skipped"] == {}
