"""`data.cache=device`: the same batches, whole or spread over devices, or a refusal with numbers."""

import jax
import numpy as np
import pytest
from prepared_sets import make_set, refused

from histo_jax import config as options
from histo_jax.augment.recipes import make_views
from histo_jax.data import pipeline, raw
from histo_jax.data.mixture import open_mixture
from histo_jax.models import build_encoder, build_projector
from histo_jax.objectives import build_objective
from histo_jax.training import loop, parallel, resident

SIZE, BATCH, STEPS = 16, 16, 6
IMAGE = SIZE * SIZE * 3


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, n, seed in (("histo_patches/one", 41, 1), ("histo_wsi/two", 18, 2)):
        raw.build_raw(make_set(folder, name, n, seed=seed, odd=True), SIZE)
    return open_mixture(folder, "auto")


def batches(mixture, cache, start=0):
    return list(
        pipeline.batches(
            mixture, split="train", seed=5, image_size=SIZE, batch_size=BATCH, cache=cache,
            start_step=start, total_steps=STEPS,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def wanted(mixture):
    """Decoded from the records; `raw` gives the same."""
    decoded, copied = batches(mixture, "none"), batches(mixture, "raw")
    for a, b in zip(decoded, copied, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
    return decoded


def spread_over(monkeypatch, count, mixture):
    """Room for a block, and not for all, on each of `count` devices."""
    block = -(-mixture.n // count) * IMAGE
    monkeypatch.setattr(resident, "free_bytes", lambda _: block / resident.SPREAD_SHARE + 1)


@pytest.mark.parametrize("spread", [False, True], ids=["whole", "spread"])
@pytest.mark.parametrize("name", ["pmap", "shard_map"])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_batches_are_those_of_the_other_caches(monkeypatch, mixture, wanted, count, name, spread):
    if spread:
        spread_over(monkeypatch, count, mixture)
    monkeypatch.setattr(resident, "PIECE", 7 * IMAGE)  # pieces that don't divide anything
    mapper = parallel.Mapper(name, tuple(jax.devices()[:count]))
    held = resident.Resident(mapper, mixture, SIZE)
    assert held.spread == (spread and count > 1)
    for start in (0, 4):  # 4: resumed, in the second epoch
        for want, rows in zip(wanted[start:], batches(mixture, "device", start), strict=True):
            want, got = mapper.place(want), held.gather(mapper.place(rows))
            assert got.keys() == want.keys()
            for part in got:
                assert got[part].dtype == want[part].dtype
                assert got[part].shape == want[part].shape
                assert got[part].sharding.is_equivalent_to(want[part].sharding, want[part].ndim)
                for a, b in zip(
                    got[part].addressable_shards, want[part].addressable_shards, strict=True
                ):
                    np.testing.assert_array_equal(a.data, b.data)


def test_a_spread_set_takes_its_block_of_memory(monkeypatch, mixture):
    spread_over(monkeypatch, 8, mixture)
    held = resident.Resident(parallel.Mapper("pmap"), mixture, SIZE)
    assert {s.data.nbytes for s in held.pixels.addressable_shards} == {8 * IMAGE}  # 59 of 64 rows
    held.size, held.image_bytes = 400_000 * 224 * 224 * 3, 224 * 224 * 3
    told = "60,211.2 MB spread over the devices, each sends up to 77.1 MB a step"
    assert held.describe(512) == told


def test_a_gathered_batch_moves_no_more_than_it_says(monkeypatch, mixture):
    """Beside the numbers of the images, one reduce-scatter of the batch; nothing where whole."""
    from tests import hlo

    mapper, moved = parallel.Mapper("pmap"), []
    rows = mapper.place(batches(mixture, "device")[0])["row"]
    for spread in (False, True):
        if spread:
            spread_over(monkeypatch, 8, mixture)
        held = resident.Resident(mapper, mixture, SIZE)
        moved.append(hlo.collectives(held._gather.lower(held.pixels, rows).compile().as_text()))
    assert moved[0] == {}
    assert moved[1] == {"all-gather": BATCH * 4, "reduce-scatter": BATCH * IMAGE}


def test_what_does_not_fit_is_refused_with_the_arithmetic(monkeypatch, mixture):
    monkeypatch.setattr(resident, "free_bytes", lambda _: 8 * IMAGE / resident.SPREAD_SHARE - 1)
    monkeypatch.setattr(type(mixture), "n", 400_000)
    told = "needs 0.3 GB, 0.0 on each; devices: 8 of 0.0 GB free, of which 75%"
    with refused("device-memory", "config.data.cache", told, "data.cache=raw"):
        resident.Resident(parallel.Mapper("pmap"), mixture, SIZE)
    with refused("device-memory", "needs 0.3 GB; devices: 1 of 0.0 GB"):
        resident.Resident(parallel.Mapper("pmap", tuple(jax.devices()[:1])), mixture, SIZE)


def test_a_missing_cache_says_how_to_make_it(mixture):
    with refused("no-cache", "-20.npy", "python -m histo_jax.data cache histo_wsi/two --size 20"):
        resident.Resident(parallel.Mapper("pmap"), mixture, 20)


def test_free_memory_of_devices_that_say_and_that_do_not():
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 100, "bytes_in_use": 30}

    assert resident.free_bytes(Device()) == 70
    assert 2**24 < resident.free_bytes(jax.devices()[0]) < 2**50


class Killed(BaseException):
    pass


@pytest.mark.slow
def test_a_run_begun_with_one_cache_goes_on_with_another(monkeypatch, mixture, tmp_path):
    encoder = build_encoder("resnet_tiny", 8, axis=parallel.AXIS)
    projector = build_projector("plain", encoder.features, 16, axis=parallel.AXIS)
    objective = build_objective("simclr", encoder=encoder, projector=projector, temperature=0.2)

    def train(directory, cache):
        values = {
            "data": {"image_size": SIZE, "batch_size": BATCH, "cache": cache},
            "augment": {"placement": "device"},
            "optimizer": {"warmup_epochs": 0.5},
            "training": {"total_steps": STEPS, "save_every": 2, "log_every": 1},
        }
        config = options.from_values(options.Config, values)
        views = make_views(seed=0, recipe="ciga2021", size=SIZE, branches=True)
        loop.train(config, directory, objective=objective, views=views, mixture=mixture)
        return (directory / "metrics.jsonl").read_bytes()

    whole = train(tmp_path / "raw", "raw")
    gather, calls = resident.Resident.gather, iter(range(5))

    def kill(held, batch):
        if next(calls) == 4:
            raise Killed
        return gather(held, batch)

    spread_over(monkeypatch, 8, mixture)
    monkeypatch.setattr(resident.Resident, "gather", kill)
    with pytest.raises(Killed):
        train(tmp_path / "device", "device")
    monkeypatch.setattr(resident.Resident, "gather", gather)
    assert train(tmp_path / "device", "device") == whole
    with pytest.raises(Killed):
        calls = iter(range(5))
        monkeypatch.setattr(resident.Resident, "gather", kill)
        train(tmp_path / "both", "device")
    assert train(tmp_path / "both", "raw") == whole


def test_views_are_made_where_the_images_are():
    values = {"data": {"cache": "device"}, "augment": {"placement": "auto"}}
    assert loop.placement(options.from_values(options.Config, values)) == "device"
    values["augment"]["placement"] = "host"
    with refused("config", "config.augment.placement", "images on the devices", "data.cache=raw"):
        loop.placement(options.from_values(options.Config, values))
