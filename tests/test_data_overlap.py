import io
import json
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from prepared_sets import encode, refused, write_set

from histo_jax.data import __main__ as commands
from histo_jax.data import fingerprints, overlap
from histo_jax.data.mixture import open_mixture


def picture(seed: int, side: int = 64) -> Image.Image:
    """Smooth noise: no two alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int = 80) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def row(seed: int, key: str, data: bytes | None = None, **names: str) -> dict:
    image = encode(np.asarray(picture(seed)), "PNG") if data is None else data
    return {"image": image, "key": key.encode()} | {k: v.encode() for k, v in names.items()}


def test_near_pairs_finds_all_and_no_more():
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, 300, np.uint64)
    for bits in range(1, 12):  # neighbours at every distance
        flip = np.bitwise_or.reduce(
            np.uint64(1) << random.choice(64, bits, False).astype(np.uint64)
        )
        hashes = np.append(hashes, hashes[bits] ^ flip)
    hashes = np.unique(hashes)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None])
    wanted = np.argwhere(np.triu(apart <= fingerprints.NEAR, 1))
    np.testing.assert_array_equal(fingerprints.near_pairs(hashes), wanted)
    assert len(wanted) >= fingerprints.NEAR
    assert fingerprints.near_pairs(hashes[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: Image.open(io.BytesIO(jpeg(image, 70))),
        lambda image: image.resize((48, 48), Image.Resampling.BILINEAR),
        lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    ],
    ids=["compressed", "shrunk", "darker"],
)
def test_a_picture_stays_like_itself_and_unlike_others(change):
    drawn = [picture(kind) for kind in range(40)]
    before = np.array([fingerprints.of(np.asarray(im))[1] for im in drawn], np.uint64)
    after = [fingerprints.of(np.asarray(change(im).convert("RGB"))) for im in drawn]
    apart = np.bitwise_count(before[:, None] ^ np.array([a[1] for a in after], np.uint64))
    own = np.diag(apart)
    assert (own <= fingerprints.NEAR).mean() > 0.9
    assert apart[~np.eye(len(apart), dtype=bool)].min() > fingerprints.NEAR
    assert len({a[0] for a in after} & {fingerprints.of(np.asarray(im))[0] for im in drawn}) == 0


def test_an_image_may_look_like_several():
    def part(*hashes):
        flat = np.zeros(len(hashes), bool)
        return SimpleNamespace(
            rows=np.arange(len(hashes)),
            prints=fingerprints.Fingerprints(flat, np.array(hashes, np.uint64), flat),
        )

    (found,) = overlap.alike(
        [part(0b0, (2**20 - 1) << 40, 0b0)], [part(0b1), part(0b11, 2**40 - 1)]
    )
    assert found.tolist() == [True, False, True]
    (found,) = overlap.alike([part(0b0)], [part(0b1)])
    assert found.tolist() == [True]
    first, second, third = part(0b0), part(0b1), part(0b11)
    looks = overlap._Looks([first, second, third])
    assert [looks.like(0, j).tolist() for j in range(3)] == [[False], [True], [True]]
    assert [looks.like(j, 0).tolist() for j in range(3)] == [[False], [True], [True]]


def test_blank_images_are_like_none():
    assert fingerprints.of(np.full((30, 20, 3), 243, np.uint8))[2]
    assert not fingerprints.of(np.asarray(picture(0)))[2]
    a = fingerprints.of(np.zeros((20, 30, 3), np.uint8))
    assert a[0] != fingerprints.of(np.zeros((30, 20, 3), np.uint8))[0]  # the same bytes


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Pool a shares with labelled b: 1 exact, 1 alike, 1 file, 1 slide, 1 patient; 2 are its own."""
    folder = tmp_path_factory.mktemp("data")
    white = encode(np.full((64, 64, 3), 240, np.uint8), "PNG")
    pool = [
        row(0, "f0-0-0-0"),
        row(1, "f1-0-0-0"),
        row(2, "shared-0-0-0"),
        row(3, "f3-0-0-0", slide="TCGA-A7-A13E-01Z"),
        row(4, "f4-0-0-0", patient="TCGA-A7-A13F"),
        row(5, "f5-0-0-0", slide="07", patient="1"),
        row(6, "f6-0-0-0", white),
    ]
    write_set(folder, "histo_wsi/a", {"train": pool})
    labelled = {
        "train": [
            row(10, "g0-0-0-0", encode(np.asarray(picture(0)), "BMP"), patient="1"),
            row(11, "g1-0-0-0", jpeg(picture(1)), slide="07"),
            row(12, "shared-0-64-0", slide="in both"),
            row(16, "g6-0-0-0", white),
        ],
        "test": [
            row(13, "g3-0-0-0", slide="TCGA-A7-A13E-01Z"),
            row(14, "g4-0-0-0", patient="TCGA-A7-A13F"),
            row(15, "g5-0-0-0", slide="in both"),
        ],
    }
    write_set(folder, "histo_labelled/b", labelled)
    return folder


def test_what_two_sets_share(data_dir, tmp_path, capsys):
    where = ["--data_dir", str(data_dir), "--json", str(tmp_path / "shared.json")]
    status = command("overlap", "histo_wsi/a", "histo_labelled/b", *where)
    assert status == 1  # a slide is in two splits of b
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "LEAK  histo_labelled/b:test and histo_labelled/b:train: 1 slide"
    assert out[1:] == [
        "histo_wsi/a:train and histo_labelled/b:test: 1 slide, 1 patient",
        "histo_wsi/a:train and histo_labelled/b:train: 2 and 2 images the same, "
        "1 and 1 images alike, 1 file",
        "compared 14 images of 3 splits; 2 are too flat to be alike",
    ]
    report = json.loads((tmp_path / "shared.json").read_text())
    (pair,) = (p for p in report["pairs"] if p["exact"] != [0, 0])
    assert pair["files"] == ["shared"] and not pair["leak"]
    assert ["f0-0-0-0", "g0-0-0-0", "the same"] in pair["examples"]
    assert ["f1-0-0-0", "g1-0-0-0", "alike"] in pair["examples"]
    assert {s["name"]: s["images"] for s in report["sets"]} == {
        "histo_wsi/a:train": 7, "histo_labelled/b:train": 4, "histo_labelled/b:test": 3,
    }  # fmt: skip


def test_within_one_split(tmp_path, capsys):
    twice = [row(0, "a-0-0-0"), row(0, "b-0-0-0"), row(1, "c-0-0-0")]
    write_set(tmp_path, "histo_patches/a", {"train": twice})
    assert command("overlap", "--data_dir", str(tmp_path)) == 0
    assert capsys.readouterr().out.startswith("within histo_patches/a:train: 2 images the same\n")
    with refused("no-set", str(tmp_path / "none")):
        command("overlap", "--data_dir", str(tmp_path / "none"))


def test_fingerprints_are_kept_and_made_again_when_damaged(data_dir, monkeypatch):
    (part,) = overlap.parts_of(open_mixture(data_dir, "histo_wsi/a").sets[0])
    (kept,) = (
        p
        for p in (data_dir / ".fingerprints").iterdir()
        if p.stem == part.prepared.card["content_hash"]
    )
    monkeypatch.setattr(fingerprints, "_made", lambda prepared: pytest.fail("made again"))
    fingerprints.fingerprints(part.prepared)
    monkeypatch.undo()
    data = kept.read_bytes()
    kept.write_bytes(data[: len(data) // 2])
    again = fingerprints.fingerprints(part.prepared)
    np.testing.assert_array_equal(again.look, part.prints.look)
    np.testing.assert_array_equal(again.pixels, part.prints.pixels)


def test_pretraining_leaves_out_what_validation_holds(data_dir):
    mixture = open_mixture(data_dir, "auto", exclude_validation=True)
    (one,) = mixture.sets
    assert one.table["key"][mixture.rows[0]].tolist() == ["f5-0-0-0"]
    first, absent, *rest = mixture.remarks
    assert first == (
        "histo_wsi/a: left out 2 with the pixels of a validation image, 1 from the file of one, "
        "1 from the slide of one, 1 from the patient of one, 1 that look like one"
    )
    assert absent.startswith("not prepared here, so not checked: bach, ") and "lymph" in absent
    assert not rest  # some patients are known
    assert open_mixture(data_dir, "auto").n == 7
    # What is trained on is no validation set.
    both = (("histo_wsi/a", None), ("histo_labelled/b", None))
    assert open_mixture(data_dir, both, exclude_validation=True).n == 7 + 4


def test_hidden_names_are_not_compared(data_dir, tmp_path):
    hidden = [row(20, "h0-0-0-0", patient="TCGA-A7-A13F")]
    write_set(tmp_path, "histo_wsi/h", {"train": hidden}, {"pseudonymise": True})
    write_set(tmp_path, "histo_labelled/b", {"train": [row(14, "g-0-0-0", patient="TCGA-A7-A13F")]})
    mixture = open_mixture(tmp_path, "auto", exclude_validation=True)
    assert mixture.n == 1
    assert mixture.remarks[-1] == "patients unknown or hidden, so not compared: histo_wsi/h"


def test_the_catalogue_knows_sets_that_hold_others(tmp_path):
    lymphoma = {"catalogue": "janowczyk_lymphoma"}
    write_set(tmp_path, "histo_patches/l", {"train": [row(0, "a-0-0-0")]}, lymphoma)
    with refused("no-set", "nothing is left: histo_patches/l: left out whole, it holds lymph"):
        open_mixture(tmp_path, "auto", exclude_validation=True)
    nat = {"catalogue": "post_nat_brca"}
    write_set(tmp_path, "histo_wsi/post_nat_brca", {"train": [row(1, "b-0-0-0")]}, nat)
    assert open_mixture(tmp_path, "auto").names == ("histo_patches/l",)  # not of the pool
    assert open_mixture(tmp_path, "histo_wsi/*").names == ("histo_wsi/post_nat_brca",)


def command(*words: str) -> int:
    with mock.patch.object(sys, "argv", ["data", *words]):
        return commands.main(commands.arguments())
