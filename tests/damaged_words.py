"""The damaged inputs of `damaged.py` that users write: tables, folders, options."""

from pathlib import Path

from tests.damaged import Case
from tests.damaged_files import GRAY, JPEG, PAGE, PNG, saved

# slides.csv beside a.svs and b.svs; labels.csv beside a.png and b.png.
SLIDE_TABLES = [
    Case(38, "typo", "file,lable\na.svs,x\n", "table", "unknown column 'lable' (did you mean label?)"),
    Case(38, "unknown", "file,target\na.svs,1\n", "table", "unknown column 'target' (known: file, mpp, patient, label, split)"),
    Case(38, "semicolons", "file;mpp\na.svs;0,25\n", "table", "parts its columns by ';' (save it with commas, numbers with points)"),
    Case(38, "tabs", "file\tmpp\na.svs\t0.25\n", "table", "parts its columns by '\\t' (save it with commas, numbers with points)"),
    Case(38, "no file", "label\nx\n", "table", "has the columns label (`file` and each other column once)"),
    Case(38, "column twice", "file,label,label\na.svs,x,y\n", "table", "has the columns file, label, label (`file` and each other column once)"),
    Case(38, "empty", "", "table", "has the columns none (`file` and each other column once)"),
    Case(38, "no rows", "file\n", "table", "has no rows (one row a file)"),
    Case(38, "row twice", "file,label\na.svs,x\na.svs,x\n", "table", "line 3 names a.svs again (one row a file)"),
    Case(38, "short row", "file,label\na.svs\n", "table", "line 2 has not 2 cells (one a column; quote those with commas)"),
    Case(38, "long row", "file,label\na.svs,x,y\n", "table", "line 2 has not 2 cells (one a column; quote those with commas)"),
    Case(38, "nameless row", "file,label\n,x\n", "table", "line 2 names no file (one row a file)"),
    Case(38, "no number", "file,mpp\na.svs,fine\n", "table", "mpp of a.svs is 'fine', not a number (like 0.25, with a point)"),
    Case(38, "comma", 'file,mpp\na.svs,"0,25"\n', "table", "mpp of a.svs is '0,25', not a number (like 0.25, with a point)"),
    Case(38, "nan", "file,mpp\na.svs,nan\n", "table", "mpp of a.svs is 'nan', not a number (like 0.25, with a point)"),
    Case(38, "Latin-1", b"file\n\xff.svs\n", "table", "not readable as CSV in UTF-8: … (save it as CSV, UTF-8)"),
    Case(38, "quotes", 'file\n"a.svs\n', "table", "not readable as CSV in UTF-8: unexpected end of data (save it as CSV, UTF-8)"),
    Case(2, "gone", "file\nx.svs\ny.svs\n", "missing", "names 2 files that are not in its folder: x.svs, y.svs (names are paths inside the folder, with `/`)"),
    Case(2, "backslash", "file\nb\\c.svs\n", "missing", "names 1 files that are not in its folder: b\\c.svs (names are paths inside the folder, with `/`)"),
    Case(27, "patients", "file,split,patient\na.svs,train,p\nb.svs,test,p\n", "leak", "patients in more than one split: p (keep each patient in one split)"),
    Case(28, "other split", "file,split\na.svs,val\nb.svs,test\n", "split", "a.svs is in split 'val' (known: train, validation, test)"),
    Case(28, "no split", "file,split\na.svs,train\nb.svs,\n", "split", "names no split for b.svs (fill them all)"),
    Case(28, "no row", "file,split\na.svs,train\n", "split", "names no split for b.svs (fill them all)"),
]  # fmt: skip
LABEL_TABLES = [
    Case(2, "gone", "file,label\ngone.png,x\n", "missing", "names 1 files that are not in its folder: gone.png (names are paths inside the folder, with `/`)"),
    Case(27, "slides", "file,label,slide,split\na.png,x,s,train\nb.png,x,s,test\n", "leak", "slides in more than one split: s (keep each slide in one split)"),
    Case(28, "silent", "file,patient\na.png,x\n", "no-labels", "says neither label nor target of a.png (give one of them for every file)"),
    Case(28, "silent row", "file,label\na.png,x\nb.png,\n", "no-labels", "says neither label nor target of b.png (give one of them for every file)"),
    Case(38, "typo", "file,class\na.png,x\n", "table", "unknown column 'class' (…)"),
    Case(38, "target", "file,target\na.png,12 %\n", "table", "target of a.png is '12 %', not a number (like 0.25, with a point)"),
]  # fmt: skip

# Folders: what they hold by name.
SLIDE_FOLDERS = [
    Case(1, "text", {"a.txt": b"text"}, "no-slides", "no slide in it (give slides as .svs, …; images go to histo_patches)"),
    Case(2, "links", lambda p: [p.mkdir(), (p / "x.svs").symlink_to("gone"), (p / "y.svs").symlink_to("y.svs")], "unreachable", "no file behind the link, or no permission: …/x.svs, …/y.svs (mend or remove them)", "x.svs"),
]  # fmt: skip
IMAGE_FOLDERS = [
    Case(25, "text", {"a.txt": b"text"}, "no-images", "no image in it (give images as .png, …)"),
    Case(26, "mask missing", {"a.png": PNG, "b.png": PNG, "masks/a.png": PNG}, "mask", "no <name>.png for b.png (add the masks)", "masks"),
    Case(26, "one mask for two", {"a.png": PNG, "a.jpg": JPEG, "masks/a.png": PNG}, "mask", "one mask for a.jpg and a.png (rename one of them)", "masks/a.png"),
    Case(28, "one class", {"fat/1.png": PNG, "fat/2.png": PNG}, "no-labels", "one class only: fat (one sub-folder a class, or labels.csv)"),
    Case(28, "loose", {"fat/1.png": PNG, "stroma/1.png": PNG, "loose.png": PNG}, "no-labels", "no labels.csv, and outside the class folders lie loose.png (one sub-folder a class, or labels.csv)"),
    Case(38, "ids", {"a/p1.png": PNG, "b/x.png": PNG}, "ids", "ids='(?P<patient>p[0-9])' is not found in 1 names: b/x.png (widen the pattern, or give labels.csv)", options={"ids": "(?P<patient>p[0-9])"}),
]  # fmt: skip

# Regions drawn on a slide of 320 x 256 pixels.


def geojson(coordinates: str, kind: str = "Polygon", properties: str = "{}") -> str:
    geometry = f'{{"type": "{kind}", "coordinates": {coordinates}}}'
    feature = f'{{"type": "Feature", "geometry": {geometry}, "properties": {properties}}}'
    return f'{{"type": "FeatureCollection", "features": [{feature}]}}'


def asap(corners: str) -> str:
    annotation = f'<Annotation Name="n" PartOfGroup="tumor"><Coordinates>{corners}</Coordinates></Annotation>'
    return f"<ASAP_Annotations><Annotations>{annotation}</Annotations></ASAP_Annotations>"


def corner(order: object, x: object, y: object) -> str:
    return f'<Coordinate Order="{order}" X="{x}" Y="{y}"/>'


TUMOUR = '{"classification": {"name": "Tumour"}}'
FAR = "[[[0, 0], [0, 9], [9, 9000]]]"
LAUGHS = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
REGIONS = [
    Case(39, "empty.geojson", "", "regions", "empty.geojson: is no JSON: Expecting value: line 1 column 1 (char 0)"),
    Case(39, "page.geojson", "<!DOCTYPE html>", "regions", "page.geojson: is no JSON: Expecting value: line 1 column 1 (char 0)"),
    Case(39, "cut.geojson", geojson("[[[0, 0]")[:90], "regions", "cut.geojson: is no JSON: …"),
    Case(39, "Latin-1.geojson", b'{"name": "\xe9"}', "regions", "Latin-1.geojson: is no JSON: …"),
    Case(39, "deep.geojson", "[" * 10**5, "regions", "deep.geojson: is no JSON: …"),
    Case(39, "long.geojson", "9" * 5000, "regions", "long.geojson: is no JSON: …"),
    Case(39, "number.geojson", "7", "regions", "number.geojson: holds no list of features"),
    Case(39, "numbers.geojson", "[7]", "regions", "numbers.geojson: feature 1 is no Feature of GeoJSON"),
    Case(39, "class.geojson", geojson("[]", properties='{"classification": 3}'), "regions", "class.geojson: feature 1 is no Feature of GeoJSON"),
    Case(39, "nothing.geojson", geojson("null", properties=TUMOUR), "regions", "nothing.geojson: feature 1: has no corner"),
    Case(39, "nowhere.geojson", geojson("null", "MultiPolygon"), "regions", "nowhere.geojson: feature 1 is no Feature of GeoJSON"),
    Case(39, "text.geojson", geojson('[[["0", "1"], ["2", "3"], ["4", "5"]]]'), "regions", "text.geojson: feature 1: its corners aren't three or more pairs of numbers"),
    Case(39, "null.geojson", geojson("[[[0, 1], [2, null], [4, 5]]]"), "regions", "null.geojson: feature 1: its corners aren't three or more pairs of numbers"),
    Case(39, "ragged.geojson", geojson("[[[0, 1], [2], [4, 5]]]"), "regions", "ragged.geojson: feature 1: its corners aren't three or more pairs of numbers"),
    Case(39, "two.geojson", geojson("[[[0, 1], [2, 3]]]"), "regions", "two.geojson: feature 1: its corners aren't three or more pairs of numbers"),
    Case(39, "flat.geojson", geojson("[[0, 1], [2, 3], [4, 5]]"), "regions", "flat.geojson: feature 1: its corners aren't three or more pairs of numbers"),
    Case(39, "nan.geojson", geojson("[[[0, 1], [2, NaN], [4, 5]]]"), "regions", "nan.geojson: feature 1: a corner is not finite"),
    Case(39, "vast.geojson", geojson("[[[0, 1], [2, 1e999], [4, 5]]]"), "regions", "vast.geojson: feature 1: a corner is not finite"),
    Case(39, "far.geojson", geojson(FAR, properties=TUMOUR), "regions-outside", "far.geojson: feature 1 reaches 9, 9000, outside a slide of 320x256 pixels"),
    Case(39, "left.geojson", geojson("[[[0, 0], [-4, 9], [9, 9]]]", properties=TUMOUR), "regions-outside", "left.geojson: feature 1 reaches -4, 0, outside a slide of 320x256 pixels"),
    Case(39, "classes.geojson", "[" + ",".join(geojson("[[[0, 0], [0, 9], [9, 9]]]", properties=TUMOUR.replace("our", f"our {i}"))[len('{"type": "FeatureCollection", "features": ['):-2] for i in range(256)) + "]", "regions", "classes.geojson: 256 classes, at most 255 may be"),
    Case(2, "folder.geojson", Path.mkdir, "regions", "folder.geojson: cannot be read: Is a directory"),
    Case(39, "empty.xml", "", "regions", "empty.xml: is no XML: no element found: line 1, column 0"),
    Case(39, "page.xml", PAGE, "regions", "page.xml: is no XML…"),
    Case(39, "cut.xml", asap(corner(0, 1, 2))[:99], "regions", "cut.xml: is no XML: …"),
    Case(39, "imagescope.xml", "<Annotations MicronsPerPixel='0.5'/>", "regions", "imagescope.xml: is no XML of ASAP: it begins <Annotations>"),
    Case(39, "text.xml", asap(corner(0, "a", 2)), "regions", "text.xml: annotation 1: could not convert string to float: 'a'"),
    Case(39, "comma.xml", asap(corner(0, "1,5", 2)), "regions", "comma.xml: annotation 1: could not convert string to float: '1,5'"),
    Case(39, "half.xml", asap('<Coordinate Order="0" X="1"/>'), "regions", "half.xml: annotation 1: a corner lacks its Order, X or Y"),
    Case(39, "two.xml", asap(corner(0, 1, 2) * 2), "regions", "two.xml: annotation 1: its corners aren't three or more pairs of numbers"),
    Case(39, "nan.xml", asap(corner(0, 1, "nan") * 3), "regions", "nan.xml: annotation 1: a corner is not finite"),
    Case(39, "far.xml", asap(corner(0, 1, 2) * 2 + corner(1, 400, 2)), "regions-outside", "far.xml: annotation 1 reaches 400, 2, outside a slide of 320x256 pixels"),
    Case(39, "laughs.xml", f'<!DOCTYPE a [<!ENTITY l0 "lol">{LAUGHS}]><ASAP_Annotations>&l9;</ASAP_Annotations>', "regions", "laughs.xml: is no XML: limit on input amplification factor …"),
    Case(39, "file.xml", '<!DOCTYPE a [<!ENTITY l SYSTEM "file:///etc/hostname">]><ASAP_Annotations>&l;</ASAP_Annotations>', "regions", "file.xml: is no XML: undefined entity &l;: …"),
]  # fmt: skip
SLIDE = b"II*\0"
REGION_FOLDERS = [
    Case(39, "none", {"a.svs": SLIDE, "b.geojson": b"[]"}, "no-regions", "no file of regions beside any of 1 slides (export them as <name of the slide>.geojson (QuPath) or .xml (ASAP))"),
    Case(39, "two files", {"a.svs": SLIDE, "a.geojson": b"[]", "a.xml": b""}, "regions", "two files of regions: a.geojson, a.xml (keep one of them)", "a.svs"),
    Case(39, "two slides", {"a.svs": SLIDE, "a.tif": SLIDE, "a.xml": b""}, "regions", "lies beside two slides, a.svs and a.tif (call it a.tif.xml or as the other)", "a.xml"),
    Case(2, "link", lambda p: [p.mkdir(), (p / "a.svs").write_bytes(SLIDE), (p / "a.xml").symlink_to("gone")], "unreachable", "no file behind the link, or no permission: …/a.xml (mend or remove them)", "a.xml"),
]  # fmt: skip

# Folders of images as a build of histo_labelled reads them.
BUILDS = [
    Case(17, "labels", {"a/1.png": PNG, "b/copy.png": PNG}, "conflict", "is a copy of a/1.png, but its label is 'b', not 'a' (keep one of them)", "b/copy.png"),
    Case(17, "splits", {"1.png": PNG, "2.png": PNG, "labels.csv": b"file,label,split\n1.png,x,train\n2.png,x,test\n"}, "conflict", "is a copy of 1.png, but its split is 'test', not 'train' (keep one of them)", "2.png"),
    Case(17, "patients", {"1.png": PNG, "2.png": PNG, "labels.csv": b"file,label,patient\n1.png,x,p\n2.png,x,q\n"}, "conflict", "is a copy of 1.png, but its patient is 'q', not 'p' (keep one of them)", "2.png"),
    Case(26, "mask's size", {"a.png": PNG, "masks/a.png": saved(GRAY.resize((8, 8)), "PNG")}, "mask", "has 8x8 pixels, a.png 40x40 (give the mask its image's size)", "masks/a.png"),
    Case(38, "targets", {"1.png": PNG, "labels.csv": b"file,target\n1.png,3\n"}, "target", "targets are of whole images, tile=16 asks for parts (cut the images first, or leave out tile)", options={"tile": 16}),
]  # fmt: skip

# Options: the JSON of --config beside the name, and whose it is; `where` is the option.
WSI, PATCHES, LABELLED = "histo_wsi", "histo_patches", "histo_labelled"
OPTIONS = [
    Case(38, '"mp": 1', WSI, "config", "no such option (did you mean mpp?)", "mp"),
    Case(38, '"colour": 1', WSI, "config", "no such option (known: name, pseudonymise, …, memory_bytes)", "colour"),
    Case(38, '"mpp": "0.5"', WSI, "config", '"0.5" should be a number or null', "mpp"),
    Case(38, '"mpp": [0.5]', WSI, "config", "[0.5] should be a number or null", "mpp"),
    Case(38, '"max_tiles": 1.5', WSI, "config", "1.5 should be a whole number", "max_tiles"),
    Case(38, '"max_tiles": true', WSI, "config", "true should be a whole number", "max_tiles"),
    Case(38, '"max_tiles": null', WSI, "config", "null should be a whole number", "max_tiles"),
    Case(38, '"pseudonymise": 1', WSI, "config", "1 should be true or false", "pseudonymise"),
    Case(38, '"tissue": 1', WSI, "config", "1 should be text or null", "tissue"),
    Case(38, '"max_quarantine": -1', WSI, "config", "is negative", "max_quarantine"),
    Case(38, '"workers": 0', WSI, "config", "0 is not within 1 .. 4,096", "workers"),
    Case(38, '"timeout_s": NaN', WSI, "config", "nan is not within 1 .. 1,000,000,000", "timeout_s"),
    Case(38, '"memory_bytes": 1e30', WSI, "config", "1e+30 should be a whole number", "memory_bytes"),
    Case(38, '"memory_bytes": 1', WSI, "config", "1 is not within 268,435,456 .. …", "memory_bytes"),
    Case(38, '"name": "a/b"', WSI, "config", "'a/b' is no name of a folder (use letters, digits, _ . -)", "name"),
    Case(38, '"name": ".."', WSI, "config", "'..' is no name of a folder (use letters, digits, _ . -)", "name"),
    Case(38, '"name": ""', WSI, "config", "'' is no name of a folder (use letters, digits, _ . -)", "name"),
    Case(38, '"name": 5', WSI, "config", "5 is no name of a folder (use letters, digits, _ . -)", "name"),
    Case(38, '"tissue": "otzu"', WSI, "bad-option", "'otzu' is none of ciga2021, paper_literal, otsu, none", "tissue"),
    Case(38, '"regions": "all"', WSI, "config", "'all' is not 'only' (or leave it out)", "regions"),
    Case(38, '"tile_size": 0', WSI, "bad-option", "0 is not within 8 .. 4096", "tile_size"),
    Case(38, '"mpp": 352.8', WSI, "bad-option", "352.8 is not within 0.05 .. 10", "mpp"),
    Case(38, '"mpp": NaN', WSI, "bad-option", "nan is not within 0.05 .. 10", "mpp"),
    Case(38, '"default_mpp": 0', WSI, "bad-option", "0.0 is not within 0.05 .. 10", "default_mpp"),
    Case(38, '"min_foreground": 50', WSI, "bad-option", "50.0 is not within 0 .. 1", "min_foreground"),
    Case(38, '"max_tiles": 0', WSI, "bad-option", "0 is not within 1 .. 1e+06", "max_tiles"),
    Case(38, '"max_bad": NaN', WSI, "bad-option", "nan is not within 0 .. 1", "max_bad"),
    Case(38, '"quality": 101', WSI, "bad-option", "101 is not within 1 .. 100", "quality"),
    Case(38, '"seed": -1', WSI, "bad-option", "-1 is not within 0 .. 9.22337e+18", "seed"),
    Case(38, '"tile": 4', PATCHES, "config", "4 is below 8 pixels", "tile"),
    Case(38, '"mpp": 50', LABELLED, "config", "50 µm is not within 0.05 .. 10", "mpp"),
    Case(38, '"fit": "pad"', PATCHES, "config", "'pad' is none of resize, tile, crop", "fit"),
    Case(38, '"fit": "resize", "tile": 64', PATCHES, "config", "'resize' keeps images whole, tile asks for parts (leave out one of them)", "fit"),
    Case(38, '"ids": "("', LABELLED, "config", "'(' is no regular expression: missing ), unterminated subpattern at position 0", "ids"),
    Case(38, '"ids": "x"', LABELLED, "config", "'x' has the groups none (name them (?P<slide>…), (?P<patient>…))", "ids"),
    Case(38, '"ids": "(?P<y>x)"', LABELLED, "config", "'(?P<y>x)' has the groups y (name them (?P<slide>…), (?P<patient>…))", "ids"),
    Case(38, '"catalogue": "bach"', PATCHES, "config", "bach is built by tfds_builders/bach, not here", "catalogue"),
    Case(38, '"catalogue": "glas2015", "variant": "x"', PATCHES, "config", "glas2015 has no variant 'x' (known: none)", "variant"),
    Case(38, '"catalogue": "idcgrade_databiox", "variant": "20"', PATCHES, "config", "idcgrade_databiox has no variant '20' (did you mean 20x?)", "variant"),
    Case(38, '"variant": "20x"', PATCHES, "config", "is of no dataset (name `catalogue`)", "variant"),
    Case(38, '"catalogue": "glas2015", "ids": "(?P<slide>.)"', PATCHES, "config", "the catalogue reads the names of glas2015 (leave it out)", "ids"),
    Case(38, '"catalogue": "bach"', "bach_seg", "config", "bach is built by tfds_builders/bach, not here", "catalogue"),
    Case(38, '"mpp": 0.5', "bach_seg", "config", "regions are outlined in pixels of level 0 (leave it out)", "mpp"),
    Case(38, '"slides": 7', "histo_demo", "config", "7 is no multiple of the six classes", "slides"),
    Case(38, '"palette": "red"', "histo_demo_patches", "config", "is 'red' (known: classic, other)", "palette"),
    Case(38, '"patients": 0', "histo_demo_patches", "config", "0 is below 1", "patients"),
]  # fmt: skip
