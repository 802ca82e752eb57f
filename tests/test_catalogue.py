"""The catalogue: what it holds, what its file may say, and the two commands."""

import subprocess
import sys

import pytest
import yaml

from histo_jax import catalogue, files
from histo_jax.catalogue import __main__ as command
from histo_jax.catalogue.layout import facts, is_meant, pattern
from histo_jax.catalogue.reading import PATH
from tests.prepared_sets import make_set, refused

ENTRIES = catalogue.load()
ROW = {
    "id": "x", "name": "X", "kind": "patch", "organ": "skin", "stain": "H&E", "magnification": "20x",
    "paper": 3, "access": "open", "homepage": "h", "citation": "c", "get": ["g"], "unit": "image",
    "confidence": "high", "layout": {"images": ["*.png"], "example": "a.png"},
}  # fmt: skip


def test_all_of_the_paper_is_there():
    kinds = [entry.kind for entry in ENTRIES.values()]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"patch": 22, "slides": 35, "labelled": 7, "outlined": 1}
    sums = {kind: sum(e.paper for e in ENTRIES.values() if e.kind == kind) for kind in set(kinds)}
    assert sums["patch"] == 39_035  # appendix F.1
    assert sums["slides"] - ENTRIES["post_nat_brca"].paper == 24_923
    assert len([i for i in ENTRIES if i.startswith("tcga_")]) == 21
    assert len([i for i in ENTRIES if i.startswith("cptac_")]) == 9


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_its_example_is_an_image_of_its_own_and_says_who_it_is(entry):
    example = entry.layout.example
    assert is_meant(entry.layout, example) and is_meant(entry.layout, f"some/where/{example}")
    known = facts(entry, example)
    assert known is not None
    if entry.unit in ("patient", "slide") and entry.layout.names:
        assert known.get(entry.unit)
    if entry.layout.labels:
        assert known["label"] in entry.layout.labels.values()


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("*.png", "a/b.png", True),
        ("*.png", "a.PNG", True),
        ("*.png", "a.png/b", False),
        ("x/*.png", "a/x/b.png", True),
        ("x/*.png", "ax/b.png", False),
        ("x/*.png", "x/a/b.png", False),
        ("x/**/*.png", "x/b.png", True),
        ("x/**/*.png", "x/a/a/b.png", True),
        ("masks/**", "a/masks/b/c.png", True),
        ("{a,bc}_?.{tif,png}", "bc_1.tif", True),
        ("{a,bc}_?.{tif,png}", "bc_12.tif", False),
        ("a,b.png", "a,b.png", True),
        ("[AH]0[0-4].bmp", "H04.bmp", True),
        ("[AH]0[0-4].bmp", "H05.bmp", False),
        ("a+b (1).png", "a+b (1).png", True),
    ],
)
def test_patterns(glob, path, fits):
    assert bool(pattern(glob).fullmatch(path)) == fits


def written(tmp_path, **changes):
    row = {k: v for k, v in {**ROW, **changes}.items() if v is not ...}
    path = tmp_path / "d.yaml"
    path.write_text(yaml.safe_dump({"datasets": [{**ROW, "id": "first"}, row]}))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"organn": "skin"}, "x: unknown field 'organn' .did you mean organ?"),
        ({"layout": {**ROW["layout"], "imges": []}}, "x, layout: unknown field 'imges' .did you mean images"),
        ({"organ": ...}, "x: lacks the field organ"),
        ({"paper": "3"}, "x, paper: '3' is no int"),
        ({"paper": True}, "x, paper: True is no int"),
        ({"get": "g"}, "x, get: 'g' is no list"),
        ({"get": [1]}, "x, get: 1 is no str"),
        ({"kind": "tile"}, "x: kind is 'tile' .known: patch, slides, labelled, outlined"),
        ({"layout": {**ROW["layout"], "alpha": "keep"}}, "alpha is 'keep' .known: white, drop"),
        ({"layout": {**ROW["layout"], "names": "("}}, "x: names: missing"),
        ({"layout": {**ROW["layout"], "names": "(?P<who>a)"}}, "names: groups who .known: slide"),
        ({"tissue": "otsu"}, "slides have a tissue rule, other kinds have none"),
        ({"template": "t"}, "no template 't' .known: none"),
        ({"id": "X Y"}, "an id is of a-z"),
        ({"id": "first"}, "this id comes twice"),
    ],
)  # fmt: skip
def test_what_the_file_may_not_say(tmp_path, changes, words):
    path = written(tmp_path, **changes)
    line = next(
        n for n, text in enumerate(path.read_text().splitlines(), 1) if n > 2 and text[0] == "-"
    )
    with refused("catalogue", f"d.yaml, line {line}, ", words):
        catalogue.load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("datasets: [", "not readable as YAML: while parsing"),
        (
            "datasets: !!python/object/apply:os.getcwd []",
            "not readable as YAML: could not determine",
        ),
        ("data: []", "needs `datasets`"),
        ("", "needs `datasets`"),
        ("datasets:\n- id: a\n  id: b\n", "line 3: id comes twice"),
        ("datasets:\n- a\n", "line 2: 'a' is no entry"),
    ],
)
def test_a_file_that_is_no_catalogue(tmp_path, text, words):
    (tmp_path / "d.yaml").write_text(text)
    with refused("catalogue", words):
        catalogue.load(tmp_path / "d.yaml")


def test_an_unknown_dataset_has_a_nearest():
    with refused("no-dataset", "knows no dataset 'glas' .did you mean glas2015?"):
        catalogue.find("glas")
    with refused("no-dataset", "'zzz' .python -m histo_jax.catalogue lists them"):
        catalogue.find("zzz")


def test_the_table_counts_what_is_prepared(tmp_path, monkeypatch, capsys):
    array = {"read": 1, "fit": {"resize": 2656}}  # one file of many images
    for config, known, variant, summary in (
        ("own", None, None, {"read": 9}),
        ("glas2015", "glas2015", None, {"read": 1234}),
        ("part", "glas2015", "some", {"read": 5}),
        ("pannuke_fold1", "pannuke_fold1", None, array),
    ):
        made = make_set(tmp_path, f"histo_patches/{config}")
        options = {"catalogue": known, "variant": variant}
        card = made.card | {"options": options, "summary": summary}
        files.write_json(made.path / "card.json", card)
    monkeypatch.setattr(sys, "argv", ["program", "--data_dir", str(tmp_path)])
    assert command.main(command.arguments()) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert set(ENTRIES) < set(lines)
    assert lines["glas2015"].split()[-5:] == ["165", "1,234", "form", "research", "only"]
    assert " 2,656    2,656  open " in lines["pannuke_fold1"]
    assert " 18,365        -  open " in lines["aml_cytomorphology_lmu"]


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_a_page_says_how_to_get_and_build_it(entry):
    text = " ".join("\n".join(command.one(entry)).split())
    for words in (entry.homepage, entry.doi, entry.licence or "unknown: ask", *entry.files):
        assert " ".join(words.split()) in text
    assert "{" not in entry.homepage + entry.citation + "".join(entry.get)  # templates are filled
    config = "" if entry.validates else f" --config {entry.id}"
    assert f"tfds build tfds_builders/{entry.builder}{config} --manual_dir" in text
    for variant in entry.layout.variants:
        config = f'"catalogue": "{entry.id}", "variant": "{variant}"'
        assert (f"--config {variant} " if entry.validates else config) in text


def test_it_works_without_tensorflow_and_jax(tmp_path):
    program = (
        "import sys, runpy; sys.argv = ['c', 'tcga_brca']\n"
        "sys.modules.update(dict.fromkeys(('tensorflow', 'tensorflow_datasets', 'jax')))\n"
        "runpy.run_module('histo_jax.catalogue', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PATH.parents[2]
    )
    assert done.returncode == 0 and "gdc-client download" in done.stdout, done.stderr
