"""Damaged inputs: how each is made and what is said of it, read by `test_damaged_inputs.py`."""

import dataclasses
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histo_jax.data.prepared import BESIDE
from tests.damaged_files import (
    ANSWER,
    BMP,
    CIRCLE,
    GRAY,
    IMAGE,
    JPEG,
    PAGE,
    PNG,
    SMALL,
    TIFF,
    VMS,
    blank,
    changed,
    codec,
    coded,
    cut_between_pages,
    cut_off,
    dots,
    ended,
    flip_in,
    flipped,
    flipped_image,
    gray,
    holds,
    mirax,
    png,
    png16,
    said,
    same_key,
    saved,
    svs,
    tagged,
    tif,
    tiff,
    vast,
    without,
    zeroed,
)  # fmt: skip

# What may be wrong with an input.
FAULTS = {
    1: "a slide that is empty, a web page, no slide",
    2: "missing, a dead link, a folder, a pipe, no permission",
    3: "a slide cut short",
    4: "one damaged tile",
    5: "many damaged tiles",
    6: "a tile size or slide size that ends the process",
    7: "a read that never ends",
    8: "no mpp",
    9: "an mpp that can't be, or can't be met",
    10: "power and mpp disagree",
    11: "resolution in other units",
    12: "edges and transparent tiles",
    13: "bounds; reads outside",
    14: "one huge level",
    15: "colours and compressions that are not read",
    16: "strange names and properties",
    17: "one slide or image twice",
    18: "no tissue",
    19: "changed while it was read",
    20: "a handle used in another process",
    21: "companion files missing",
    22: "a damaged image",
    23: "an image that is not 8-bit RGB",
    24: "an image too large to decode",
    25: "another format than the suffix says, another size",
    26: "a mask that doesn't fit its image",
    27: "patients or slides in several splits",
    28: "classes or splits that are absent",
    30: "an archive that is not the published one",
    31: "a build that was killed",
    32: "shards or index cut, missing or too many",
    33: "a byte flipped in a shard",
    34: "a key twice",
    35: "a full disk",
    36: "two builds at once",
    37: "made by another program or version",
    38: "options and tables: misspelt, of another type, out of range",
    39: "regions drawn on a slide: not readable, of another slide",
}

# Tests of the faults, and of the reason codes, that need more than an input.
ELSEWHERE = {
    7: "test_slides_pool.py::test_a_slide_that_never_ends",
    13: "test_slides_source.py::test_bounds_and_background",
    14: "test_slides_pool.py::test_a_huge_single_level_stays_small",
    19: "test_slides_tiles.py::test_changed_while_it_was_read",
    20: "test_slides_source.py::test_a_handle_is_not_used_in_another_process",
    30: "test_catalogue_builders.py::test_archives_that_lie_in_the_folder_are_hashed",
    31: "test_builders_command.py::test_killed_twenty_times_it_ends_in_the_same_set",
    35: "test_builders_slides.py::test_a_failed_extension_leaves_the_old_set",
    36: "test_builders_slides.py::test_a_second_build_at_the_same_time_is_refused",
    "changed": "test_slides_tiles.py::test_changed_while_it_was_read",
    "implausible-levels": "test_slides_source.py::test_implausible_answers",
    "memory": "test_slides_pool.py::test_bad_slides_cost_only_themselves",
    "no-permission": "test_slides_source.py::test_no_permission_as_root",
    "read-failed": "test_slides_source.py::test_a_failing_disk",
    "timeout": "test_slides_pool.py::test_a_slide_that_never_ends",
    "unreadable-tile": "test_slides_source.py::test_one_bad_tile_costs_one_tile",
    "worker-died": "test_slides_pool.py::test_openslides_abort_is_survived",
    "worker-error": "test_slides_pool.py::test_bad_slides_cost_only_themselves",
    "worker-start": "test_slides_pool.py::test_workers_that_cannot_start",
    "wrong-process": "test_slides_source.py::test_a_handle_is_not_used_in_another_process",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One damaged input.

    Attributes:
      fault: which of `FAULTS`.
      name: of the file, or of the case.
      make: called with the path writes it; what a door takes where nothing is written.
      reason: the code that is expected.
      line: the message behind the path, `…` for any words; of a slide or image without remedy,
        which is the table's.
      where: the file at fault inside what is given.
      options: for the door.
    """

    fault: int
    name: str
    make: Any
    reason: str
    line: str
    where: str = ""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


# Slides, cut as a build does with tiles of 64 pixels; `given` is the mpp of slides.csv.
SLIDES = [
    Case(1, "zero.svs", holds(b""), "empty", "is empty"),
    Case(1, "page.svs", holds(PAGE), "html", "holds a web page, not a slide"),
    Case(1, "page with mark.svs", holds(b"\xef\xbb\xbf<HTML>"), "html", "holds a web page, not a slide"),
    Case(1, "refused.svs", holds(ANSWER), "html", "holds a web page, not a slide"),
    Case(1, "noise.svs", holds(b"noise" * 99), "not-a-slide", "no known slide format: begins b'noisenoi'"),
    Case(1, "answer.svs", holds(b'{"error": 404}'), "not-a-slide", "no known slide format: begins b'{\"error\"'"),
    Case(1, "packed.svs", holds(b"\x1f\x8b\x08" + bytes(99)), "not-a-slide", "no known slide format: begins b'\\x1f\\x8b…"),
    Case(1, "picture.tif", holds(PNG), "not-a-slide", "no known slide format: begins b'\\x89PNG…"),
    Case(2, "gone.svs", lambda p: None, "missing", "no such file"),
    Case(2, "link.svs", lambda p: p.symlink_to("nowhere"), "dangling-link", "is a link to nowhere"),
    Case(2, "loop.svs", lambda p: p.symlink_to(p.name), "dangling-link", "is a link to nowhere"),
    Case(2, "folder.svs", Path.mkdir, "directory", "is a directory, not a slide"),
    Case(2, "pipe.svs", os.mkfifo, "not-a-file", "is a pipe or device, not a file"),
    Case(3, "head.svs", holds(b"II*\0"), "truncated", "truncated: its directory points at byte 8 of 4"),
    Case(3, "first words.svs", holds(b"II*\0\x08\0\0\0"), "truncated", "truncated: its directory points at byte 10 of 8"),
    Case(3, "cut.svs", cut_off(svs(), 10), "truncated", "truncated: its … at byte … of …"),
    Case(3, "cut.tif", cut_off(tif(bigtiff=True), 10), "truncated", "truncated: its image data end at byte … of …"),
    Case(3, "pages.svs", cut_between_pages, "truncated", "truncated: its directory points at byte … of …"),
    Case(3, "circle.tif", holds(CIRCLE), "damaged", "its directories go in a circle"),
    Case(3, "samples.tif", tagged(tif(), {277: 9}), "damaged", "does not open: Invalid TIFF"),
    Case(3, "no width.svs", tagged(svs(), {256: 0}), "damaged", "does not open: Invalid TIFF"),
    Case(5, "40 %.svs", zeroed(range(8)), "too-many-unreadable", "8 of 20 tiles cannot be read"),
    Case(5, "all.svs", zeroed(range(20)), "too-many-unreadable", "level 0 cannot be read", options={"tissue": "otsu"}),
    Case(6, "crash.svs", tagged(svs(), {323: 1091018848}), "implausible-tile", "level 0 claims tiles with a height of 1091018848 pixels"),
    Case(6, "crumbs.svs", tagged(svs(), {256: 40, 257: 32, 322: 8, 323: 8}), "implausible-tile", "level 0 claims tiles with a width of 8 pixels"),
    Case(6, "wide.svs", tagged(svs(), {256: 400_000}), "implausible-dimensions", "claims 400000x256 pixels but has 20 of 25000 tiles"),
    Case(6, "high.svs", tagged(svs(), {257: 2**31 + 5}), "implausible-dimensions", "claims 320x2147483653 pixels but has 20 of 167772165 tiles"),
    Case(8, "none.svs", svs(mpp=None), "mpp-missing", "no mpp in the file, but 0.5 is wanted", options={"mpp": 0.5}),
    Case(8, "power.svs", svs(mpp=None, power=20), "mpp-missing", "no mpp in the file, but 0.5 is wanted", options={"mpp": 0.5}),
    Case(8, "half.svs", svs(mpp="half"), "mpp-missing", "no mpp in the file, but 0.5 is wanted", options={"mpp": 0.5}),
    Case(9, "500.svs", svs(mpp=500), "implausible-mpp", "implausible mpp 500 x 500"),
    Case(9, "0.025.svs", svs(mpp=0.025), "implausible-mpp", "implausible mpp 0.025 x 0.025"),
    Case(9, "negative.svs", svs(mpp=-0.5), "implausible-mpp", "implausible mpp -0.5 x -0.5"),
    Case(9, "72 dpi.tif", dots(72, "INCH"), "implausible-mpp", "implausible mpp 352.778 x 352.778 (72 dpi default?)"),
    Case(9, "1 per cm.tif", dots(1, "CENTIMETER"), "implausible-mpp", "implausible mpp 10000 x 10000"),
    Case(9, "oblong.tif", dots(2e4, "CENTIMETER", 4e4), "implausible-mpp", "implausible mpp 0.5 x 0.25"),
    Case(9, "given 40.svs", svs(mpp=None), "implausible-mpp", "implausible mpp 40 was given", options={"given": 40}),
    Case(9, "given -1.svs", svs(), "implausible-mpp", "implausible mpp -1 was given", options={"given": -1}),
    Case(9, "coarse.svs", svs(), "mpp-too-coarse", "scanned at mpp 0.5, coarser than the wanted 0.25", options={"mpp": 0.25}),
    Case(9, "far.svs", svs(mpp=0.05), "mpp-too-far", "mpp 10 is too far from its coarsest level, 0.05", options={"mpp": 10.0}),
    Case(14, "vast.tif", vast, "grid-too-large", "a grid of 9216x9216 tiles", options={"size": 8}),
    Case(15, "strips.tif", tif(tile=None), "untiled", "a TIFF without tiles"),
    Case(15, "gray.tif", gray(np.uint8), "colour-gray", "stored as gray values"),
    Case(15, "gray 16.tif", gray(np.uint16), "colour-16-bit", "stored with 16 bits a channel"),
    Case(15, "rgb 16.tif", tif(IMAGE.astype(np.uint16)), "colour-16-bit", "stored with 16 bits a channel"),
    Case(15, "float.tif", tif(IMAGE.astype(np.float32)), "colour-16-bit", "stored with 32 bits a channel"),
    Case(15, "cmyk.tif", tif(np.concatenate([IMAGE, IMAGE[..., :1]], -1), photometric="separated"), "colour-cmyk", "stored as CMYK"),
    Case(15, "palette.tif", tagged(tif(), {262: 3}), "colour-other", "stored with TIFF photometric 3, not RGB or YCbCr"),
    Case(15, "lab.tif", tagged(tif(), {262: 8}), "colour-other", "stored with TIFF photometric 8, not RGB or YCbCr"),
    Case(15, "jp2k.tif", codec(34712), "unsupported-codec", "compressed as JPEG 2000"),
    Case(15, "webp.tif", codec(50001), "unsupported-codec", "compressed as WebP"),
    Case(15, "jxl.tif", codec(50002), "unsupported-codec", "compressed as JPEG XL"),
    Case(15, "odd.tif", codec(60000), "unsupported-codec", "compressed as TIFF compression 60000"),
    Case(21, "lost.mrxs", holds(b"\xff\xd8\xff"), "missing-member", "lacks lost beside it"),
    Case(21, "hollow.mrxs", mirax, "missing-member", "lacks hollow/Slidedat.ini beside it"),
    Case(21, "a.vms", holds(VMS.encode()), "missing-member", "lacks a file: Couldn't open …/map.jpg: No such file or directory"),
]  # fmt: skip

# Odd slides that are read: what `cut` says of them.
ODD_SLIDES = [
    (4, "one of twenty.svs", zeroed(range(1)), {"kept": 19, "unreadable": 1}),
    (8, "no unit.tif", dots(2e4, "NONE"), {"mpp": None}),
    (8, "comma.svs", svs(mpp="0,5000"), {"mpp": 0.5}),
    (9, "given.tif", dots(72, "INCH"), {"given": 0.25, "mpp": 0.25, "warning": "mpp 352.778 x 352.778 of the file is not believed"}),
    (9, "file first.svs", svs(), {"given": 0.25, "default_mpp": 0.125, "mpp": 0.5}),
    (9, "given first.svs", svs(mpp=None), {"given": 0.25, "default_mpp": 0.125, "mpp": 0.25}),
    (9, "default.svs", svs(mpp=None), {"default_mpp": 0.125, "mpp": 0.125}),
    (10, "power.svs", svs(mpp=0.2325, power=20), {"mpp": 0.2325, "warning": "objective power 20 and mpp 0.2325 disagree: mpp used"}),
    (10, "agreeing.svs", svs(mpp=0.5, power=20), {"mpp": 0.5}),
    (11, "centimetres.tif", dots(2e4, "CENTIMETER"), {"mpp": 0.5}),
    (11, "inches.tif", dots(50800, "INCH"), {"mpp": 0.5}),
    (12, "sparse.svs", without(range(3), svs()), {"kept": 17, "transparent": 3}),
    (16, "no extension", svs(), {"kept": 20}),
    (16, "ünï cödé.svs", svs(), {"kept": 20}),
    (16, "-rf.svs", svs(), {"kept": 20}),
    (16, "a\nb.svs", svs(), {"kept": 20}),
    (16, "key.svs", lambda p: p.write_bytes(svs(power=20)(p).read_bytes().replace(b"AppMag", b"App\xffag")), {"kept": 20}),
    *((18, f"{rule} on {value}.svs", blank(value), {"tissue": rule, "kept": 0, "background": 20}) for rule in ("otsu", "ciga2021", "paper_literal") for value in (255, 245, 0)),
]  # fmt: skip

# Below HISTO_REAL_DATA.
REAL_SLIDES = [
    Case(1, "wsi_broken/broken.svs", None, "not-a-slide", "no known slide format: begins …"),
    Case(1, "wsi_broken/broken-html.svs", None, "html", "holds a web page, not a slide"),
    Case(1, "wsi_synthetic/boxes.png", None, "not-a-slide", "no known slide format: begins b'\\x89PNG…"),
    Case(6, "wsi_broken/crash.svs", None, "implausible-tile", "level 0 claims tiles with a height of 1091018848 pixels"),
    Case(9, "wsi_synthetic/boxes.tiff", None, "implausible-mpp", "implausible mpp 352.778 x 352.778 (72 dpi default?)"),
    Case(15, "wsi_synthetic/unopenable.tiff", None, "unsupported-codec", "compressed as TIFF compression 52479"),
    Case(21, "alone/boxes_1.dcm", "wsi_synthetic/boxes_1.dcm", "missing-member", "its DICOM series lacks instance 1, has 2: …"),
]  # fmt: skip

# Images, read as a build does.
IMAGES = [
    Case(1, "empty.png", holds(b""), "empty", "is empty"),
    Case(1, "page.jpg", holds(PAGE), "html", "holds a web page, not an image"),
    Case(1, "refused.jpg", holds(ANSWER), "html", "holds a web page, not an image"),
    Case(2, "gone.png", lambda p: None, "unreadable", "cannot be read: No such file or directory"),
    Case(2, "pipe.png", os.mkfifo, "unreadable", "is a pipe or device, not a file"),
    Case(22, "half.jpg", holds(JPEG[: len(JPEG) // 2]), "damaged", "does not decode: …"),
    Case(22, "no end.jpg", holds(JPEG[:-2]), "damaged", "does not decode: cut before its end"),
    Case(22, "other end.jpg", holds(changed(JPEG, -1, b"\xd8")), "damaged", "does not decode: cut before its end"),
    Case(22, "zeros.jpg", holds(changed(JPEG, 700, bytes(len(JPEG) - 700))), "damaged", "does not decode: …"),
    Case(22, "head.jpg", holds(JPEG[:30]), "damaged", "does not decode: Truncated File Read"),
    Case(22, "half.png", holds(PNG[: len(PNG) // 2]), "damaged", "does not decode: cut before its end"),
    Case(22, "no end.png", holds(PNG[:-2]), "damaged", "does not decode: cut before its end"),
    Case(22, "zeros.png", holds(changed(PNG, 100, bytes(len(PNG) - 112))), "damaged", "does not decode: …"),
    Case(22, "flipped.png", holds(changed(PNG, 80, bytes([PNG[80] ^ 1]))), "damaged", "does not decode: …checksum…"),
    Case(22, "head.png", holds(PNG[:20]), "damaged", "does not decode: Truncated File Read"),
    Case(22, "no width.png", holds(png(0, 8, 8, 2)), "damaged", "its header is damaged"),
    Case(22, "cut.tif", holds(TIFF[:-300]), "damaged", "does not decode: image file is truncated…"),
    Case(22, "head.tif", holds(TIFF[:20]), "damaged", "its header is damaged"),
    Case(22, "cut.bmp", holds(BMP[:-300]), "damaged", "does not decode: image file is truncated…"),
    Case(22, "codec.tif", coded, "unsupported-codec", "compressed as JPEG2000"),
    Case(22, "pages.tif", holds(saved(SMALL, "TIFF", save_all=True, append_images=[SMALL])), "several-images", "holds 2 images"),
    Case(22, "film.png", holds(saved(SMALL, "PNG", save_all=True, append_images=[SMALL.rotate(90)])), "several-images", "holds 2 images"),
    Case(23, "cmyk.jpg", holds(saved(SMALL.convert("CMYK"), "JPEG")), "colour-cmyk", "is no 8-bit RGB image but of mode CMYK"),
    Case(23, "cmyk.tif", holds(saved(SMALL.convert("CMYK"), "TIFF")), "colour-cmyk", "is no 8-bit RGB image but of mode CMYK"),
    Case(23, "gray 16.png", holds(png16(0, 1)), "colour-16-bit", "holds 16 bits a channel, not 8"),
    Case(23, "rgb 16.png", holds(png16(2, 3)), "colour-16-bit", "holds 16 bits a channel, not 8"),
    Case(23, "alpha 16.png", holds(png16(6, 4)), "colour-16-bit", "holds 16 bits a channel, not 8"),
    Case(23, "gray 16.tif", holds(saved(Image.fromarray(np.ones((9, 9), np.uint16)), "TIFF")), "colour-16-bit", "holds 16 bits a channel, not 8"),
    Case(23, "gray 32.tif", holds(saved(Image.fromarray(np.ones((9, 9), np.int32)), "TIFF")), "colour-16-bit", "holds 32 bits a channel, not 8"),
    Case(23, "rgb 16.tif", holds(tiff(np.ones((9, 9, 3), np.uint16))), "colour-16-bit", "holds 16 bits a channel, not 8"),
    Case(23, "float.tif", holds(saved(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF")), "colour-float", "is no 8-bit RGB image but of mode F"),
    Case(23, "rgb float.tif", holds(tiff(np.ones((9, 9, 3), np.float32))), "colour-float", "holds float32 values, not 8 bits a channel"),
    Case(23, "lab.tif", holds(saved(SMALL.convert("LAB"), "TIFF")), "colour-other", "is no 8-bit RGB image but of mode LAB"),
    Case(24, "large.png", holds(png(9000, 8000, 8, 2)), "too-many-pixels", "has 9000x8000 pixels"),
    Case(24, "larger.png", holds(png(11000, 11000, 8, 2)), "too-many-pixels", "claims too many pixels"),  # Pillow warns
    Case(24, "bomb.png", holds(png(20000, 20000, 8, 2)), "too-many-pixels", "claims too many pixels"),  # Pillow refuses
    Case(24, "bomb.bmp", holds(changed(BMP, 18, struct.pack("<ii", 30000, 30000))), "too-many-pixels", "claims too many pixels"),
    Case(24, "disk.png", lambda p: (p.touch(), os.truncate(p, 2**29 + 1)), "too-many-pixels", "has 536,870,913 bytes"),
    Case(25, "film.jpg", holds(saved(SMALL, "GIF")), "not-an-image", "no PNG, JPEG, TIFF or BMP: begins b'GIF8…"),
    Case(25, "web.png", holds(saved(SMALL, "WEBP")), "not-an-image", "no PNG, JPEG, TIFF or BMP: begins b'RIFF…"),
    Case(25, "text.png", holds(b"nothing"), "not-an-image", "no PNG, JPEG, TIFF or BMP: begins b'nothing'"),
    Case(25, "small.png", holds(PNG), "too-small", "40x40 pixels hold no tile of 224", options={"side": 224}),
]  # fmt: skip

# Masks of an image a.png of 40 x 40 pixels.
MASKS = [
    Case(26, "larger.png", holds(saved(GRAY.resize((80, 40)), "PNG")), "mask", "has 80x40 pixels, a.png 40x40 (give the mask its image's size)"),
    Case(26, "bomb.png", holds(png(9000, 9000, 8, 0)), "mask", "has 9000x9000 pixels, a.png 40x40 (give the mask its image's size)"),
    Case(26, "classes.png", holds(saved(Image.fromarray(np.full((40, 40), 300, np.uint16)), "PNG")), "mask", "mask of a.png holds the classes [300] (classes are 0..254; for objects set instance_masks)"),
    Case(26, "below 0.tif", holds(saved(Image.fromarray(np.full((40, 40), -3, np.int32)), "TIFF")), "mask", "mask of a.png holds the classes [-3] (classes are 0..254; for objects set instance_masks)"),
    Case(26, "colours.png", holds(PNG), "mask", "is of mode RGB, not one integer channel (store class numbers, not colours)"),
    Case(26, "alpha.png", holds(saved(GRAY.convert("LA"), "PNG")), "mask", "is of mode LA, not one integer channel (store class numbers, not colours)"),
    Case(26, "shares.tif", holds(saved(Image.fromarray(np.ones((40, 40), np.float32)), "TIFF")), "mask", "is of mode F, not one integer channel (store class numbers, not colours)"),
    Case(26, "pages.tif", holds(saved(GRAY, "TIFF", save_all=True, append_images=[GRAY])), "mask", "holds 2 images (give one mask a file)"),
    Case(26, "lossy.png", holds(saved(GRAY, "JPEG")), "mask", "no PNG or TIFF: begins b'\\xff\\xd8… (store masks as PNG)"),
    Case(26, "empty.png", holds(b""), "mask", "no PNG or TIFF: begins b'' (store masks as PNG)"),
    Case(26, "cut.png", holds(PNG[:-9]), "mask", "does not decode: cut before its end (fetch the file again)"),
]  # fmt: skip

# Arrays of images.
ARRAYS = [
    Case(22, "cut.npy", cut_off(lambda p: np.save(p, np.zeros((2, 8, 8, 3), np.uint8)), 9), "damaged", "is no numpy array: … (fetch the file again)"),
    Case(22, "text.npy", holds(b"text"), "damaged", "is no numpy array: … (fetch the file again)"),
    Case(22, "objects.npy", lambda p: np.save(p, np.array([{}])), "damaged", "is no numpy array: … (fetch the file again)"),
    Case(22, "flat.npy", lambda p: np.save(p, np.zeros((8, 8, 3))), "damaged", "is of shape (8, 8, 3), not [n, h, w, 3]"),
    Case(22, "beyond.npy", lambda p: np.save(p, np.full((2, 8, 8, 3), 300)), "damaged", "image 0 has values beyond 0 .. 255"),
    Case(22, "nan.npy", lambda p: np.save(p, np.full((2, 8, 8, 3), np.nan)), "damaged", "image 0 has values beyond 0 .. 255"),
]  # fmt: skip

# Prepared sets: what is done to a version folder; `where` is the file at fault.
REBUILD = "build it again with `tfds build --overwrite`"
FIRST, LAST = (
    f"histo_patches-{part}-of-00002" for part in ("test.tfrecord-00000", "train.tfrecord-00001")
)
SETS = [
    Case(32, "boundary", ended(0), "truncated", f"shard has … bytes, its card says … (copy it again, or {REBUILD})", LAST),
    Case(32, "record head", ended(7), "truncated", f"shard has … bytes, its card says … (copy it again, or {REBUILD})", LAST),
    Case(32, "in a record", ended(100), "truncated", f"shard has … bytes, its card says … (copy it again, or {REBUILD})", LAST),
    Case(32, "empty shard", lambda v: os.truncate(v / LAST, 0), "truncated", f"shard has 0 bytes, its card says … (copy it again, or {REBUILD})", LAST),
    Case(32, "grown", lambda v: os.truncate(v / LAST, 10**6), "truncated", f"shard has 1,000,000 bytes, its card says … (copy it again, or {REBUILD})", LAST),
    Case(32, "shard gone", lambda v: (v / FIRST).unlink(), "missing-shard", f"shard can't be read: No such file or directory ({REBUILD})", FIRST),
    Case(32, "shard more", lambda v: shutil.copy(v / FIRST, v / f"{FIRST[:-8]}of-00003"), "extra-shard", f"the card knows no such shard (remove it, or {REBUILD})", f"{FIRST[:-8]}of-00003"),
    Case(32, "index gone", lambda v: (v / "index.npz").unlink(), "missing-index", f"can't be read: No such file or directory ({REBUILD})", "index.npz"),
    Case(32, "index flipped", flipped("index.npz", 500), "index", f"is damaged or not of this build ({REBUILD})", "index.npz"),
    Case(32, "index empty", lambda v: os.truncate(v / "index.npz", 0), "index", f"is damaged or not of this build ({REBUILD})", "index.npz"),
    Case(32, "card cut", lambda v: os.truncate(v / "card.json", 50), "damaged", f"not readable as JSON: … ({REBUILD})", "card.json"),
    Case(37, "other schema", said('"schema": 1', '"schema": 2'), "schema", f"is of schema 2, this histo_jax reads schema 1 ({REBUILD})", "card.json"),
    Case(37, "no card of ours", lambda v: (v / "card.json").write_text("[]"), "schema", f"is of schema None, this histo_jax reads schema 1 ({REBUILD})", "card.json"),
    Case(37, "no card", lambda v: (v / "card.json").unlink(), "not-prepared", f"has no card.json: another program built it, or its build was stopped ({REBUILD})"),
]  # fmt: skip

# Damage that opening does not see: `verify --deep` and, in records, reading say so.
RECORDS = [
    Case(33, f"flipped {share}", flipped_image(share), "damaged", "record train-é0007 … (run `python -m histo_jax.data verify … --deep`)", LAST)
    for share in (0.2, 0.5, 0.9)
]  # fmt: skip
DEEP = [
    *RECORDS,
    Case(33, "checksum", flipped(LAST, 9), "damaged", f"bytes beside the images differ from those written by the build (copy it again, or {REBUILD})", LAST),
    *(Case(33, f"{name} changed", flipped(name, 0), "damaged", f"is not what the build wrote (copy it again, or {REBUILD})", name) for name in BESIDE),
    *(Case(33, f"{name} gone", lambda v, name=name: (v / name).unlink(), "damaged", f"is gone (copy it again, or {REBUILD})", name) for name in BESIDE),
]  # fmt: skip

# Shards of which no index is made.
INDEXES = [
    Case(32, "cut record", lambda v: os.truncate(v / FIRST, (v / FIRST).stat().st_size - 5), "damaged", "not readable as TFRecord: … (is the disk full? build it again)", FIRST),
    Case(32, "more bytes", lambda v: os.truncate(v / FIRST, (v / FIRST).stat().st_size + 7), "truncated", "ends inside the record at byte … (is the disk full? build it again)", FIRST),
    Case(32, "shard gone", lambda v: (v / FIRST).unlink(), "missing-shard", f"3 TFRecord shards of 4 ({REBUILD})"),
    Case(34, "key twice", same_key(FIRST), "duplicate-key", "key same comes more than once (make the keys unique and rebuild)"),
]  # fmt: skip

# Finished slides that wait for the end of a build.
PARTS = [
    Case(31, "empty", lambda p: os.truncate(p, 0), "damaged-part", "not a whole part: File is not a zip file (delete it and run again)"),
    Case(31, "cut", cut_off(lambda p: None, 30), "damaged-part", "not a whole part: File is not a zip file (delete it and run again)"),
    Case(31, "text", lambda p: p.write_bytes(b"{}"), "damaged-part", "not a whole part: File is not a zip file (delete it and run again)"),
    Case(33, "flipped tile", lambda p: p.write_bytes(flip_in(p.read_bytes(), b"\xff\xd9PK\x03\x04")), "damaged-part", "not a whole part: Bad CRC-32 for file '….jpg' (delete it and run again)"),
]  # fmt: skip
