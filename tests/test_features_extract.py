"""Features of slides and sets: the right numbers at the right places, whatever happens between."""

import argparse
import io
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import slide_files as files
from PIL import Image

from histo_jax import weights
from histo_jax.data.decode import decode_images, decode_into
from histo_jax.data.images import read_images
from histo_jax.errors import HistoError
from histo_jax.evaluation import entrants, features, floors, foreign
from histo_jax.evaluation.run import evaluate
from histo_jax.features import extract
from histo_jax.features.store import SlideFeatures
from histo_jax.features.table import open_table
from histo_jax.files import lock
from histo_jax.slides import pool
from histo_jax.slides.tiles import TileRule, cut
from tests import commands, prepared_sets
from tests.labelled_sets import CARD, config
from tests.prepared_sets import refused

SIZE = 32  # pixels a side of the tiny encoder's images
CARD = CARD | {"image_size": SIZE, "mpp": None, "mean": [0.4, 0.5, 0.6]}
TESTS = Path(__file__).parent

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def network():
    return entrants.network(CARD)


@pytest.fixture(scope="module")
def arrays(network):
    return floors.random_init(network.encoder, seed=4)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, arrays):
    """A tiny encoder as a file of ours."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights.save(*arrays, CARD, path)
    return path


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Three slides of 8 x 6 tiles, the last without tissue."""
    folder = tmp_path_factory.mktemp("slides")
    for seed, name in enumerate(("a.svs", "b.svs")):
        image = files.tissue_image(256, 192, seed)
        files.write_slide(folder / name, image, levels=2)
    files.write_slide(folder / "glass.svs", np.full((192, 256, 3), 245, np.uint8))
    return folder


def run(*words):
    """The command in this process."""
    parser = argparse.ArgumentParser()
    extract.add_flags(parser)
    extract.run(parser.parse_args([str(word) for word in words]))


def asked(checkpoint, slides, out, *more):
    return ["--checkpoint", checkpoint, "--slides", slides, "--out", out, *more]


@pytest.fixture(scope="module")
def made(checkpoint, slides, tmp_path_factory):
    """The three slides' files."""
    out = tmp_path_factory.mktemp("features")
    run(*asked(checkpoint, slides, out, "--batch-size", 16, "--pictures", 12))
    return out


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.h5")}


def decoded(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def test_every_tile_of_the_tissue_is_described(made, slides, network, arrays):
    """Coordinates, keys, pixels, numbers: those of the slide's own cut, row by row."""
    assert names(made) == ["a.h5", "b.h5", "glass.h5"]
    for name in ("a", "b"):
        tiles = cut(slides / f"{name}.svs", TileRule(size=SIZE, max_tiles=1000)).tiles
        tiles = sorted(tiles, key=lambda tile: (tile.y, tile.x))
        assert 10 < len(tiles) < 48
        read = SlideFeatures(made / f"{name}.h5")
        assert read.keys.tolist() == [tile.key for tile in tiles]
        assert read.coords.tolist() == [[tile.x, tile.y] for tile in tiles]
        jpegs = [tile.jpeg for tile in tiles]  # decoded as for training: Pillow rounds otherwise
        [images] = decode_images(jpegs, decode_into, SIZE, 48)
        wanted = features.extract(network, "pooled", *arrays, [images], len(images))
        np.testing.assert_allclose(read.features, wanted, rtol=1e-4, atol=1e-5)
        assert np.ptp(wanted, 0).max() > 0.01
        small = [decoded(jpeg) for jpeg in read.pictures(range(read.n))]
        assert {image.shape for image in small} == {(12, 12, 3)}
        means = [np.stack([image.mean((0, 1)) for image in of]) for of in (small, images)]
        np.testing.assert_allclose(*means, atol=4)


def test_a_file_says_what_it_is_of(made, slides, arrays):
    facts = SlideFeatures(made / "a.h5").facts
    assert facts.slide == "a" and facts.source == str(slides / "a.svs")
    assert (facts.encoder, facts.layer) == ("resnet_tiny", "pooled")
    assert facts.checkpoint == weights.digest(*arrays) and "0.4" in facts.scale
    assert (facts.patch_size, facts.patch_size_level0, facts.mpp) == (SIZE, SIZE, 0.5)
    assert (facts.level0_width, facts.level0_height) == (256, 192)
    shown = (facts.overview_x, facts.overview_y, facts.overview_width, facts.overview_height)
    assert shown == (0, 0, 256, 192)
    assert len({SlideFeatures(path).facts.identity for path in made.glob("*.h5")}) == 3


def test_the_overview_is_of_the_whole_slide(made, slides):
    seen = np.asarray(SlideFeatures(made / "a.h5").overview()).astype(int)
    assert seen.shape == (192, 256, 3)
    assert np.abs(seen - files.tissue_image(256, 192, 0)).mean() < 5  # JPEG, of noise


def test_a_slide_without_tissue_is_an_empty_file(made):
    glass = SlideFeatures(made / "glass.h5")
    assert (glass.n, glass.width) == (0, open_table(made).width) and glass.overview()
    assert open_table(made).n == sum(SlideFeatures(made / f"{name}.h5").n for name in "ab")


def test_tiles_twice_as_coarse(checkpoint, slides, tmp_path):
    run(
        *asked(
            checkpoint, slides / "a.svs", tmp_path, "--mpp", 1, "--max-tiles", 3, "--pictures", 0
        )
    )
    read = SlideFeatures(tmp_path / "a.h5")
    assert (read.n, read.facts.patch_size_level0, read.facts.mpp) == (3, 64, 1.0)
    assert (read.coords % 64 == 0).all() and read.pictures([0]) == [b""]
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["coords"].attrs["level0_magnification"] == 20
        assert file["coords"].attrs["target_magnification"] == 10


def test_a_set_of_the_same_tiles_gives_the_same_numbers(made, slides, checkpoint, tmp_path):
    """Pretraining and extraction see one and the same image."""
    examples = []
    for name in ("a.svs", "b.svs"):
        for tile in cut(slides / name, TileRule(size=SIZE)).tiles:
            at = {"x": tile.x, "y": tile.y, "mpp": tile.mpp, "slide": name.encode()}
            examples.append({"image": tile.jpeg, "key": tile.key.encode(), **at})
    options = {"tile_size": SIZE}
    prepared_sets.write_set(tmp_path, "histo_wsi/both", {"train": examples}, options)
    flags = ["--dataset", "histo_wsi/both", "--data_dir", tmp_path, "--checkpoint", checkpoint]
    run(*flags, "--out", tmp_path / "out", "--batch-size", 16, "--pictures", 12)
    assert names(tmp_path / "out") == ["histo_wsi-both.h5"]
    one, many = SlideFeatures(tmp_path / "out" / "histo_wsi-both.h5"), open_table(made)
    assert one.n == many.n == len(examples) and one.facts.mpp == 0.5
    first, second = np.argsort(one.keys), np.argsort(many.keys)
    np.testing.assert_array_equal(one.keys[first], many.keys[second])
    # The rows share batches with others: rounding.
    np.testing.assert_allclose(one.features[first], many.rows(second), rtol=1e-5, atol=1e-6)
    coords = np.concatenate([slide.coords for slide in many.slides])
    np.testing.assert_array_equal(one.coords[first], coords[second])


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """53 images of 24 pixels in two splits' shards."""
    return prepared_sets.make_set(tmp_path_factory.mktemp("data"), n=53, splits=("train", "test"))


def test_a_set_is_one_file_that_evaluation_reads(patches, checkpoint, network, arrays, tmp_path):
    flags = ["--dataset", patches.name, "--data_dir", patches.path.parents[2]]
    flags += ["--checkpoint", checkpoint, "--layer", "layer2", "--pictures", 0]
    for batch_size in (7, 64):
        run(*flags, "--out", tmp_path / str(batch_size), "--batch-size", batch_size)
    few, many = (tmp_path / str(n) / "histo_patches-tiny.h5" for n in (7, 64))
    batches = list(read_images(patches, np.arange(patches.n), SIZE, 7))
    wanted = features.extract(network, "layer2", *arrays, batches, 7)
    given = foreign.read_features(few)
    np.testing.assert_array_equal(given.of(patches.table["key"]), wanted)
    np.testing.assert_allclose(foreign.read_features(many).features, wanted, rtol=1e-4, atol=1e-5)
    read = SlideFeatures(few)
    assert read.facts.identity == patches.card["content_hash"] and read.overview() is None
    np.testing.assert_array_equal(read.coords[:, 0], patches.table["x"])
    assert np.isnan(read.facts.mpp)  # of what is stored it is known, not at which size


def test_what_is_done_is_left_alone(made, slides, checkpoint, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "out")
    again = asked(checkpoint, slides, tmp_path / "out", "--pictures", 12)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.h5")}
    run(*again)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "0 done, 3 before" in capsys.readouterr().out
    (tmp_path / "out" / "b.h5").write_bytes(b"cut short")
    (tmp_path / "out" / "a.h5").unlink()
    run(*again, "--batch-size", 16)
    assert "2 done, 1 before" in capsys.readouterr().out
    assert contents(tmp_path / "out") == contents(made)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--layer", "layer3"], "of another layer: pooled, not layer3"),
        (["--max-tiles", "9"], "with other options"),
        (["--pictures", "20"], "with other options"),
        (["--checkpoint", "imagenet:{bare}"], "with images scaled otherwise"),
        (["--checkpoint", "{other}"], "by another checkpoint"),
    ],
)
def test_a_folder_holds_one_kind_of_features(
    made, slides, checkpoint, network, tmp_path, more, words
):
    import safetensors.numpy

    bare, other = tmp_path / "bare.safetensors", tmp_path / "other.safetensors"
    safetensors.numpy.save_file(safetensors.numpy.load_file(checkpoint), bare)
    weights.save(*floors.random_init(network.encoder, seed=5), CARD, other)
    shutil.copytree(made, tmp_path / "out")
    more = [text.format(bare=bare, other=other) for text in more]
    flags = asked(checkpoint, slides, tmp_path / "out", "--pictures", 12, *more)
    if "imagenet" in " ".join(more):  # a bare file's card says 224 pixels
        words = "of tiles of another size|with images scaled otherwise"
    with refused("features-changed", words, "--overwrite"):
        run(*flags)
    assert contents(tmp_path / "out") == contents(made)


@pytest.mark.slow
def test_other_features_are_replaced_where_asked(made, slides, checkpoint, tmp_path):
    shutil.copytree(made, tmp_path / "out")
    flags = asked(checkpoint, slides, tmp_path / "out", "--pictures", 12, "--max-tiles", 9)
    run(*flags, "--overwrite")
    assert open_table(tmp_path / "out").n == 18


def test_another_slide_of_the_same_name(made, slides, checkpoint, tmp_path):
    (tmp_path / "slides").mkdir()
    shutil.copy(slides / "b.svs", tmp_path / "slides" / "a.svs")
    shutil.copytree(made, tmp_path / "out")
    with refused("features-changed", "of another slide"):
        run(*asked(checkpoint, tmp_path / "slides", tmp_path / "out", "--pictures", 12))


def test_bad_slides_cost_only_themselves(slides, checkpoint, tmp_path, monkeypatch, capsys):
    """One kills its worker, one is a web page; the others' files are those of good company."""
    monkeypatch.setattr(pool, "COMMAND", (sys.executable, "-P", str(TESTS / "slide_files.py")))
    (tmp_path / "slides").mkdir()
    for name, to in (("a.svs", "a.svs"), ("b.svs", "die.svs")):
        shutil.copy(slides / name, tmp_path / "slides" / to)
    (tmp_path / "slides" / "page.svs").write_text("<html>")
    run(*asked(checkpoint, tmp_path / "slides", tmp_path / "out"))
    said = capsys.readouterr().out
    assert "1 done, 0 before, 2 refused (1 html, 1 worker-died)" in said
    assert "die.svs: refused, worker killed by signal 6" in said
    assert "page.svs: refused, holds a web page" in said and said.count("\n") == 5
    assert names(tmp_path / "out") == ["a.h5"]


def test_nothing_but_bad_slides_is_a_failure(checkpoint, tmp_path):
    (tmp_path / "page.svs").write_text("<html>")
    with refused("slides-refused", "1 of 1 slides were refused: 1 html"):
        run(*asked(checkpoint, tmp_path, tmp_path / "out"))


def test_a_name_that_is_no_text(slides, checkpoint, tmp_path, capsys):
    """It is escaped: neither the file nor a table nor a page could hold it."""
    (tmp_path / "slides").mkdir()
    copy = os.fsencode(tmp_path / "slides") + b"/\xe4\n1.svs"
    shutil.copy(os.fsencode(slides / "glass.svs"), copy)
    for number, where in enumerate((tmp_path / "slides", Path(os.fsdecode(copy)))):
        run(*asked(checkpoint, where, tmp_path / str(number)))
        assert r"\xe4\n1.svs: no tissue found" in capsys.readouterr().out
        assert names(tmp_path / str(number)) == [r"\xe4\n1.h5"]
        facts = SlideFeatures(tmp_path / str(number) / r"\xe4\n1.h5").facts
        assert facts.slide == r"\xe4\n1" and facts.source.endswith("1.svs")


@pytest.mark.slow
def test_what_a_bigger_build_is_told_fits_this_command(checkpoint, tmp_path, capsys):
    files.write_slide(tmp_path / "a.svs", files.tissue_image(256, 192), mpp=None)
    for more, remedy in (([], "by --default-mpp"), (["--default-mpp", 2], "a coarser --mpp")):
        with refused("slides-refused", "1 of 1"):
            run(*asked(checkpoint, tmp_path / "a.svs", tmp_path / "out", "--mpp", 1, *more))
        assert remedy in capsys.readouterr().out


def test_names_that_clash(slides, checkpoint, tmp_path, capsys):
    """Another slide of one name is refused before any work, a copy is done once."""
    (tmp_path / "more").mkdir()
    shutil.copy(slides / "a.svs", tmp_path / "more" / "z.svs")
    flags = ["--checkpoint", checkpoint, "--out", tmp_path / "out", "--max-tiles", 2]
    paths = [slides / "a.svs", tmp_path / "more", slides / "a.svs"]
    run(*flags, "--slides", *paths)
    assert "z.svs: is a copy of a.svs, done once" in capsys.readouterr().out
    assert names(tmp_path / "out") == ["a.h5"]
    shutil.copy(slides / "b.svs", tmp_path / "more" / "a.svs")
    with refused("same-name", "would both be a.h5"):
        run(*flags, "--slides", *paths)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--slides", "nowhere"], "no such slide or folder"),
        (["--slides", "{slides}", "--checkpoint", "nowhere"], "no such folder"),
        (["--slides", "{slides}", "--checkpoint", "{made}/a.h5"], "holds features, no encoder"),
        (["--slides", "{slides}", "--layer", "layer9"], "known: stem"),
        (["--slides", "{slides}", "--batch-size", "0"], "must be 1 or more"),
        (["--slides", "{slides}", "--pictures", "-1"], "must be 0 or more"),
        (["--slides", "{slides}", "--max-tiles", "0"], "--max-tiles: 0 is not within"),
        (["--slides", "{slides}", "--tissue", "otus"], "--tissue: .otus. is none of"),
        (["--dataset", "histo_wsi/none", "--data_dir", "{slides}"], "no such prepared set"),
        (["--dataset", "histo_wsi/none", "--mpp", "1"], "is for slides"),
    ],
)
def test_what_cannot_be_is_one_line(slides, made, checkpoint, tmp_path, more, words):
    more = [text.format(slides=slides, made=made) for text in more]
    with pytest.raises(HistoError, match=words):
        run("--checkpoint", checkpoint, "--out", tmp_path / "out", *more)
    assert not list((tmp_path / "out").glob("*.h5"))


def test_one_at_a_time(slides, checkpoint, tmp_path):
    with lock(tmp_path / ".lock"), refused("locked", "in use by"):
        run(*asked(checkpoint, slides, tmp_path))


def test_numbers_that_are_none_end_it(slides, checkpoint, arrays, tmp_path):
    params, stats = arrays
    stats = stats | {"bn1": stats["bn1"] | {"mean": np.asarray(stats["bn1"]["mean"]) * np.nan}}
    encoder = extract.open_encoder(str(checkpoint))
    encoder = extract.Encoder(encoder.network, "pooled", params, stats, CARD)
    images = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    with refused("features-not-finite", "3 of 3"):
        list(encoder.describe([images], 4))


@pytest.mark.parametrize(
    ("mpp", "wanted", "words"),
    [
        ([0.499, 0.5], 0.499, "as the checkpoint was trained"),
        ([0.5, 0.5], 0.5, "0.5 µm a pixel"),
        ([0.25, 1.0], None, "was trained at 0.25 to 1"),
        (None, None, "doesn't say"),
    ],
)
def test_resolution_is_the_checkpoints_where_it_has_one(mpp, wanted, words):
    args = argparse.Namespace(mpp=None, tissue=None, max_tiles=None, default_mpp=None)
    rule, told = extract.tile_rule(args, {"image_size": 96, "mpp": mpp})
    assert (rule.size, rule.mpp, rule.max_tiles) == (96, wanted, None) and words in told
    args.mpp, args.max_tiles = 0.7, 5
    rule, told = extract.tile_rule(args, {"image_size": 96, "mpp": mpp})
    assert (rule.mpp, rule.max_tiles) == (0.7, 5) and "at 0.7 µm" in told


def test_an_untrained_encoder_can_be_asked():
    first, second = (extract.open_encoder("random:resnet_tiny").facts for _ in range(2))
    assert first == second and first["encoder"] == "resnet_tiny" and first["patch_size"] == 224


PROGRAM = (sys.executable, "-m", "histo_jax.features", "extract")


@pytest.mark.slow
def test_killed_and_run_again_is_as_if_undisturbed(checkpoint, tmp_path):
    """kill -9 amid the work; parts that were cut are not cut again."""
    (tmp_path / "slides").mkdir()
    for seed in range(6):
        image = files.tissue_image(768, 576, seed)
        files.write_slide(tmp_path / "slides" / f"{seed}.svs", image, levels=2)
    flags = asked(checkpoint, tmp_path / "slides", tmp_path / "out", "--workers", 1)
    program = commands.start(*PROGRAM, *flags)
    patience = time.monotonic() + 120
    while not list((tmp_path / "out").glob("*.h5")):
        assert time.monotonic() < patience and program.poll() is None
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.wait()
    first = contents(tmp_path / "out")
    assert 0 < len(first) < 6 and (tmp_path / "out" / ".parts").exists()
    (tmp_path / "out" / ".5.h5.tmp.0123abcd").write_bytes(b"half")  # as a kill amid a write leaves
    done = commands.run(*PROGRAM, *flags)
    assert done.returncode == 0 and f"{6 - len(first)} done, {len(first)} before" in done.stdout
    assert names(tmp_path / "out") == [f"{seed}.h5" for seed in range(6)]
    fresh = asked(checkpoint, tmp_path / "slides", tmp_path / "fresh", "--workers", 2)
    assert commands.run(*PROGRAM, *fresh).returncode == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


@pytest.mark.slow
def test_eval_scores_the_file(checkpoint, tmp_path):
    """As it scores the encoder itself."""
    rng = np.random.default_rng(0)
    examples = []
    for i in range(48):
        colour = ((200, 80, 160), (120, 60, 150))[i // 4 % 2]
        image = np.clip(colour + rng.integers(-40, 41, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
        known = {"label": i // 4 % 2, "patient": f"p{i // 4}".encode()}
        encoded = prepared_sets.encode(image, "PNG")
        examples.append({"image": encoded, "key": f"k{i:02d}".encode(), **known})
    prepared_sets.write_set(tmp_path, "histo_labelled/two", {"train": examples})
    flags = ["--data_dir", tmp_path, "--checkpoint", checkpoint, "--out", tmp_path / "out"]
    run("--dataset", "histo_labelled/two", *flags, "--batch-size", 32)
    file = tmp_path / "out" / "histo_labelled-two.h5"
    sources, _ = foreign.open_sources([f"ours={checkpoint}", f"file={file}"])
    how = config(dataset="histo_labelled/two", protocol=("knn",), init=("mean_rgb",))
    scores = evaluate(how, sources, tmp_path).report["scores"]
    own = ("init", "layer")
    ours, theirs = (
        [{k: v for k, v in row.items() if k not in own} for row in scores if row["init"] == name]
        for name in ("ours", "file")
    )
    assert ours and ours == theirs


@pytest.mark.slow
def test_real_slides(real_data, checkpoint, tmp_path):
    """CMU-1's region, a slide without tissue, and damaged ones."""
    flags = ["--slides", real_data / "wsi", real_data / "wsi_broken", "--out", tmp_path]
    run(*flags, "--checkpoint", checkpoint)
    read = SlideFeatures(tmp_path / "cmu-1-small-region.h5")
    assert read.n > 1000 and read.facts.mpp == pytest.approx(0.499)
    assert (read.coords % SIZE == 0).all() and (read.coords < (2220, 2967)).all()
    assert read.overview().size == (1532, 2048)
    assert names(tmp_path) == ["cmu-1-small-region.h5", "test3-DAPI-2-(387).h5"]
