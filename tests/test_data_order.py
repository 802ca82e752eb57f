import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_jax.data.order import BLOCK, WINDOW, epoch_order, shares

SIZES = st.lists(st.integers(1, 300), min_size=1, max_size=4).map(tuple)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**63), epoch=st.integers(0, 10**6), sizes=SIZES)
def test_every_image_comes_once_an_epoch(seed, epoch, sizes):
    order = epoch_order(seed, epoch, sizes)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(sum(sizes)))
    np.testing.assert_array_equal(order, epoch_order(seed, epoch, sizes))


def test_seed_and_epoch_change_the_order_of_a_long_set():
    orders = [epoch_order(s, e, (50_000,)) for s, e in ((0, 0), (0, 1), (1, 0), (2**40, 0))]
    for i, a in enumerate(orders):
        for b in orders[:i]:
            assert (a == b).mean() < 0.01


def test_order_never_changes_between_releases():
    # A change here breaks every resumed run: the order is part of the format.
    assert epoch_order(7, 3, (20, 6))[:10].tolist() == [8, 10, 13, 6, 11, 12, 7, 3, 18, 19]
    assert epoch_order(7, 3, (20, 6), (1.0, 3.0))[:10].tolist() == [
        9,
        21,
        25,
        22,
        4,
        23,
        20,
        24,
        21,
        22,
    ]


def test_a_window_reads_whole_blocks_and_mixes_them():
    n = 3 * BLOCK * WINDOW
    order = epoch_order(0, 0, (n,))
    for window in order.reshape(3, BLOCK * WINDOW):
        blocks, counts = np.unique(window // BLOCK, return_counts=True)
        assert len(blocks) == WINDOW and (counts == BLOCK).all()
    neighbours = np.diff(order) == 1
    assert neighbours.mean() < 0.01  # blocks are not played in a row


def test_batches_hold_all_sets_in_proportion():
    order = epoch_order(0, 0, (40_000, 10_000))
    small = [(batch >= 40_000).sum() for batch in order.reshape(-1, 1000)]
    assert 100 < np.mean(small) < 300 and min(small) > 0


def test_weights_give_shares_and_equal_use_over_epochs():
    sizes, weights = (100, 30, 7), (1.0, 2.0, 1.0)
    counts = shares(137, weights)
    assert counts == [34, 69, 34]
    seen = np.zeros(137, int)
    for epoch in range(50):
        order = epoch_order(3, epoch, sizes, weights)
        assert len(order) == 137
        assert [((order >= a) & (order < b)).sum() for a, b in ((0, 100), (100, 130), (130, 137))] \
            == counts  # fmt: skip
        seen += np.bincount(order, minlength=137)
    for part in (seen[:100], seen[100:130], seen[130:]):
        assert part.max() - part.min() <= 1


def test_weighted_sets_are_spread_evenly_through_the_epoch():
    order = epoch_order(0, 5, (3000, 3000), (3.0, 1.0))
    second = (order >= 3000).reshape(60, 100).sum(axis=1)
    assert second.min() >= 22 and second.max() <= 28


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(1, 10**6),
    weights=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6).map(tuple),
)
def test_shares_add_up_and_are_off_by_less_than_one(total, weights):
    counts = shares(total, weights)
    assert sum(counts) == total
    exact = total * np.array(weights) / np.sum(weights)
    assert np.abs(np.array(counts) - exact).max() < 1 + 1e-6


@pytest.mark.parametrize("sizes", [(1,), (16,), (17,), (5, 1), (16 * 256 + 1,)])
def test_small_and_uneven_sizes(sizes):
    assert sorted(epoch_order(0, 0, sizes)) == list(range(sum(sizes)))
    assert len(epoch_order(0, 9, sizes, (1.0,) * len(sizes))) == sum(sizes)
