"""What stands around a labelled set: its builder's folder, and archives that still lie beside it."""

import dataclasses
import hashlib
import re

import pytest

from histo_jax import catalogue
from histo_jax.data.catalogued import check_archives
from tests import folder_builders
from tests.prepared_sets import refused

ENTRIES = {e.id: e for e in catalogue.load().values() if e.validates}


@pytest.mark.parametrize(
    ("name", "archive", "said"),
    [
        ("lymph", "other.tar.gz", None),
        ("glas2015", "warwick_qu_dataset_released_2016_07_08.zip", "checksum"),
        ("bach", "ICIAR2018_BACH_Challenge.zip", "damaged, or another release"),
    ],
)
def test_archives_that_lie_in_the_folder_are_hashed(tmp_path, name, archive, said):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / archive).write_bytes(b"?")
    entry = catalogue.find(name)
    if said == "checksum":
        with refused(
            "checksum", f"{archive}: is md5:[0-9a-f]+, not md5:495b2a9f", "fetch it again"
        ):
            check_archives(tmp_path, entry)
        known = f"md5:{hashlib.md5(b'?').hexdigest()}"
        entry = dataclasses.replace(entry, digests={archive: ("sha256:0", known)})
        assert check_archives(tmp_path, entry) == [f"{archive} is the file that was published"]
    else:
        notes = check_archives(tmp_path, entry)
        assert [said in note for note in notes] == ([True] if said else [])


@pytest.mark.parametrize("name", ENTRIES)
def test_each_has_a_builder_that_says_where_it_is_from(name, tmp_path):
    entry, folder = ENTRIES[name], folder_builders.BUILDERS / name
    made = folder_builders.builder(name, tmp_path, "default")
    assert made.config.entry is entry and made.title == f"{name}/default"
    assert set(made.builder_configs) == {"default", *entry.layout.variants}
    assert entry.homepage in made.MANUAL_DOWNLOAD_INSTRUCTIONS
    assert all(file in made.MANUAL_DOWNLOAD_INSTRUCTIONS for file in entry.files)
    readme, cited = ((folder / file).read_text() for file in ("README.md", "CITATIONS.bib"))
    assert (
        f"python -m histo_jax.catalogue {name}" in readme and f"{entry.command} {name}/" in readme
    )
    assert all(f"--config {variant} " in readme for variant in entry.layout.variants)
    year = re.search(r" (\d{4})\. ", entry.citation)[1]
    assert all(words in cited for words in (entry.homepage, entry.doi, year, f"{{{name},"))
    assert (folder / "TAGS.txt").read_text().count("\n") == 3
    with refused("missing", "no such folder, or it is empty", f"histo_jax.catalogue {name}"):
        made.download_and_prepare()
