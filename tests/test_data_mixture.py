import itertools

import numpy as np
import pytest
from prepared_sets import make_set, refused, write_set

from histo_jax import catalogue
from histo_jax.data.mixture import draw, open_mixture, pool_size


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_set(folder, "histo_patches/one", 20, splits=("train", "test"))
    make_set(folder, "histo_patches/two", 11, seed=1)
    make_set(folder, "histo_wsi/lab", 7, seed=2)
    make_set(folder, "histo_labelled/lab", 5, seed=3)
    return folder


def test_auto_takes_the_unlabelled_sets(data_dir):
    mixture = open_mixture(data_dir, "auto")
    assert mixture.names == ("histo_wsi/lab", "histo_patches/one", "histo_patches/two")
    assert mixture.sizes == (7, 20, 11) and mixture.n == 38 and mixture.weights is None
    assert mixture.content_hashes == tuple(s.card["content_hash"] for s in mixture.sets)


def test_locate_finds_the_rows_of_the_split(data_dir):
    one = (("histo_patches/two", None), ("histo_patches/one", None))
    mixture = open_mixture(data_dir, one)
    which, rows = mixture.locate(np.array([0, 10, 11, 30]))
    assert which.tolist() == [0, 0, 1, 1]
    keys = [mixture.sets[w].table["key"][r] for w, r in zip(which, rows, strict=True)]
    assert keys == ["train-é0000", "train-é0010", "train-é0000", "train-é0019"]
    assert open_mixture(data_dir, one[1:], "test+train").n == 40


def test_globs_share_their_weight_by_size(data_dir):
    mixture = open_mixture(data_dir, (("histo_patches/*", 2.0), ("histo_wsi/lab", 1)))
    assert mixture.names == ("histo_patches/one", "histo_patches/two", "histo_wsi/lab")
    np.testing.assert_allclose(mixture.weights, (2 * 20 / 31, 2 * 11 / 31, 1))


def test_digest_tells_data_apart(data_dir, tmp_path):
    def digest(*sets, where=data_dir, split="train"):
        return open_mixture(where, sets, split).digest

    one = ("histo_patches/one", None)
    make_set(tmp_path, "histo_patches/one", 20, splits=("train", "test"))
    assert digest(one) == digest(one) == digest(one, where=tmp_path)
    two = ("histo_patches/two", None)
    different = [digest(one), digest(two), digest(one, two), digest(two, one),
                 digest(one, split="test"), digest(("histo_patches/one", 1.0))]  # fmt: skip
    assert len(set(different)) == 6


def test_what_is_refused(data_dir, tmp_path):
    one = ("histo_patches/one", None)
    with refused("twice", "config.data.datasets", "histo_patches/one is named more than once"):
        open_mixture(data_dir, (one, ("histo_patches/*", None)))
    with refused("weights", "only some sets have a weight"):
        open_mixture(data_dir, (one, ("histo_wsi/lab", 1.0)))
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with refused("weights", "not a positive number"):
            open_mixture(data_dir, (("histo_wsi/lab", weight),))
    with refused("no-set", "nothing/\\* matches no set", "prepared here: histo_labelled/lab, "):
        open_mixture(data_dir, (("nothing/*", None),))
    with refused("no-set", "no prepared set histo_wsi/\\* or histo_patches/\\*", "tfds build"):
        open_mixture(tmp_path, "auto")
    with refused("no-set", "no such prepared set", "did you mean histo_wsi/lab"):
        open_mixture(data_dir, (("histo_wsi/lap", None),))
    with refused("no-split", "no image in split test", "it has: train"):
        open_mixture(data_dir, (("histo_wsi/lab", None),), "test")


@pytest.mark.parametrize(
    ("percent", "capped"), [(0.01, 587), (0.1, 2722), (1.0, 25_461), (10.0, 70_472)]
)
def test_shares_of_the_papers_sets(percent, capped):
    """Appendix F.1 by the rule of section 5.4: all patches, 100 of a slide."""
    entries = [e for e in catalogue.load().values() if e.kind in ("patch", "slides")]
    sizes = [100 * e.paper if e.kind == "slides" else e.paper
             for e in entries if e.id != "post_nat_brca"]  # fmt: skip
    assert (len(sizes), sum(sizes)) == (56, 2_531_335)
    assert sum(pool_size(n, percent) for n in sizes) == capped
    assert [pool_size(n, None) for n in (3, 5000)] == [3, 5000]


def test_smaller_shares_lie_inside_larger_ones():
    keys = np.array([f"k{i}" for i in range(5000)])
    rows = np.arange(100, 5000)
    shares = [draw(keys, rows, percent, 7) for percent in (0.01, 1, 10, 40, 100)]
    assert [len(share) for share in shares] == [10, 49, 490, 1960, 2000]
    for small, large in itertools.pairwise(shares):
        assert set(small.tolist()) < set(large.tolist())
    assert all((np.diff(share) > 0).all() and share[0] >= 100 for share in shares)
    assert set(draw(keys, rows, 1, 8).tolist()) != set(shares[1].tolist())
    assert abs(shares[3].mean() - rows.mean()) < 100  # from everywhere
    np.testing.assert_array_equal(draw(keys, rows, None, 7), rows)
    shuffled = np.random.default_rng(0).permutation(keys)  # the keys decide, not their places
    assert set(shuffled[draw(shuffled, np.arange(5000), 1, 7)]) == set(
        keys[draw(keys, np.arange(5000), 1, 7)]
    )


def test_a_mixture_of_shares(data_dir):
    mixture = open_mixture(data_dir, "auto", "train", 1.0, 3)
    assert mixture.sizes == (7, 10, 10)  # the floor, and all of a smaller set
    assert mixture.digest != open_mixture(data_dir, "auto").digest
    assert mixture.digest != open_mixture(data_dir, "auto", "train", 1.0, 4).digest
    which, rows = mixture.locate(np.arange(mixture.n))
    keys = {(w, mixture.sets[w].table["key"][r]) for w, r in zip(which, rows, strict=True)}
    assert len(keys) == 27
    weighted = open_mixture(
        data_dir, (("histo_patches/*", 2.0), ("histo_wsi/lab", 1)), "train", 1.0
    )
    np.testing.assert_allclose(
        weighted.weights, (1, 1, 1)
    )  # by what is drawn, not by what is there


def test_sets_by_what_the_catalogue_says(tmp_path):
    for name, options in {
        "histo_wsi/tcga_brca": {"catalogue": "tcga_brca"},
        "histo_wsi/tcga_prad": {"catalogue": "tcga_prad"},
        "histo_wsi/mylab": {},
        "histo_patches/lyon19": {"catalogue": "lyon19"},  # breast, colon and prostate, IHC
        "histo_patches/idc": {"catalogue": "idcgrade_databiox"},
        "histo_patches/idc_10x": {"catalogue": "idcgrade_databiox", "variant": "10x"},
    }.items():
        write_set(tmp_path, name, {"train": [{"image": b"?", "key": name.encode()}]}, options)

    def names(*where):
        return [n.split("/")[1] for n in open_mixture(tmp_path, "auto", where=where).names]

    assert len(names()) == 6
    breast = [("organ", "breast")]
    assert names(*breast) == ["tcga_brca", "idc", "idc_10x", "lyon19"]
    assert names(*breast, ("organ", "prostate")) == [
        "tcga_brca", "tcga_prad", "idc", "idc_10x", "lyon19"
    ]  # fmt: skip
    assert names(*breast, ("stain", "H&E")) == ["tcga_brca", "idc", "idc_10x"]
    assert names(*breast, ("magnification", "20x")) == ["tcga_brca", "idc"]
    assert names(("magnification", "10x"), ("id", "idc*")) == ["idc", "idc_10x"]
    with refused("no-set", "nothing is left: no set is .*'organ', 'skin'"):
        names(("organ", "skin"))
