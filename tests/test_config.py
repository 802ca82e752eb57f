"""Options: names, types and nearest names."""

import dataclasses

import pytest

from histo_jax import config as options
from histo_jax.errors import HistoError


@pytest.fixture
def recipe(tmp_path):
    def write(body: str) -> str:
        path = tmp_path / "recipe.py"
        path.write_text(f"from ml_collections import ConfigDict\n{body}\n")
        return str(path)

    return write


EMPTY = "def get_config():\n    return ConfigDict()"


def test_a_recipe_sets_only_what_differs(recipe):
    config = options.load(options.Config, recipe(EMPTY))
    assert config == options.Config()


def test_flags_reach_fields_the_recipe_does_not_mention(recipe):
    flags = ["--config.data.batch_size=64", "--config.augment.jitter", "light",
             "--config.data.datasets=(('histo_wsi/a', 2.0),)", "--config.optimizer.base_lr=1"]  # fmt: skip
    config = options.load(options.Config, recipe(EMPTY), flags)
    assert config.data.batch_size == 64
    assert config.augment.jitter == "light"
    assert config.data.datasets == (("histo_wsi/a", 2.0),)
    assert config.optimizer.base_lr == 1.0 and isinstance(config.optimizer.base_lr, float)


def test_a_recipe_may_take_an_argument(recipe):
    body = "def get_config(size='s'):\n    return ConfigDict({'seed': len(size)})"
    assert options.load(options.Config, recipe(body)).seed == 1
    assert options.load(options.Config, recipe(body) + ":long").seed == 4


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.data.batchsize=4", "config.data.batchsize: no such field .*config.data.batch_size"),
        ("--config.batch_size=4", "did you mean config.data.batch_size"),
        ("--config.training.batch_size=4", "did you mean config.data.batch_size"),
        ("--config.optimizer.momentum=4", "known: name, base_lr"),
        ("--config.data.batch_size=many", "wants int, got 'many'"),
        ("--config.data.batch_size=4.5", "wants int, got 4.5"),
        ("--config.seed=true", "wants int, got True"),
        ("--config.objective.temperature=1e999", "is inf .give a finite number"),
        ("--config.data=3", "config.data: wants fields"),
        ("--config.seed.x=3", "no fields|wants"),
        ("--config.seed", "has no value"),
        ("--batch=4", "unknown argument"),
    ],
)  # fmt: skip
def test_wrong_flags_are_refused_in_one_line(recipe, flag, message):
    body = "def get_config():\n    return ConfigDict({'seed': 1})"
    with pytest.raises(HistoError, match=message) as caught:
        options.load(options.Config, recipe(body), [flag])
    assert "\n" not in str(caught.value)


def test_none_is_a_jitter_and_elsewhere_nothing(recipe):
    body = "def get_config():\n    return ConfigDict({'training': {'total_steps': 9}})"
    flags = ["--config.augment.jitter=none", "--config.training.total_steps=none"]
    loaded = options.load(options.Config, recipe(body), flags)
    assert loaded.augment.jitter == "none" and loaded.training.total_steps is None
    loaded = options.load(options.Config, recipe(body), ["--config.augment.jitter=None"])
    assert loaded.augment.jitter is None


def test_a_missing_or_broken_recipe_names_the_file(recipe, tmp_path):
    with pytest.raises(HistoError, match="nothing.py: no such recipe"):
        options.load(options.Config, str(tmp_path / "nothing.py"))
    with pytest.raises(HistoError, match="the recipe failed: ZeroDivisionError"):
        options.load(options.Config, recipe("def get_config():\n    return 1 / 0"))
    with pytest.raises(HistoError, match="get_config gave a dict .return an ml_coll"):
        options.load(options.Config, recipe("def get_config():\n    return {}"))
    with pytest.raises(HistoError, match="the recipe failed: AttributeError"):
        options.load(options.Config, recipe(""))
    (tmp_path / "README.md").write_text("# no recipe")
    with pytest.raises(HistoError, match="README.md: is no Python file"):
        options.load(options.Config, str(tmp_path / "README.md"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": {"cache": "fast"}}, "config.data.cache: is 'fast' .known: none, raw, device"),
        ({"objective": {"temperature": 0.0}}, "temperature: is 0.0 .must be above 0"),
        ({"training": {"total_steps": 0}}, "total_steps: is 0 .must be 1 or more"),
        ({"optimizer": {"warmup_epochs": -1.0}}, "warmup_epochs: is -1.0 .must be 0 or more"),
        ({"seed": -1}, "config.seed: is -1 .must be 0 or more and at most 4294967295"),
        ({"probe": {"every": 0}}, "config.probe.every: is 0 .must be 1 or more"),
        (
            {"augment": {"recipe": "byol"}},
            "config.augment.recipe: is 'byol' .known: ciga2021, simclr",
        ),
        (
            {"augment": {"crop_min": 1.5}},
            "config.augment.crop_min: is 1.5 .must be above 0 and at most 1",
        ),
        ({"augment": {"jitter": "wild"}}, "config.augment.jitter: is 'wild' .known: none, light"),
        (
            {"data": {"datasets": ("histo_wsi/a", None)}},
            "datasets: holds 'histo_wsi/a', wants pairs",
        ),
        (
            {"data": {"datasets": ("histo_wsi/a", "histo_wsi/b")}},
            r"wants pairs .*e.g. \(\('histo_wsi/a', None\)",
        ),
        ({"data": {"datasets": (("histo_wsi/a", "2"),)}}, "wants pairs"),
        ({"data": {"datasets": (("histo_wsi/a", True),)}}, "wants pairs"),
        ({"data": {"datasets": ((3, None),)}}, "wants pairs"),
        ({"data": {"datasets": ()}}, "datasets: is .. .name at least one"),
        ({"data": {"datasets": ""}}, "wants pairs"),
        ({"data": {"datasets": "a" * 300 + "/b"}}, "wants pairs"),
        ({"data": {"datasets": "a\0/b"}}, "wants pairs"),
        ({"training": {"mapper": "vmap"}}, "known: pmap, shard_map"),
    ],
)
def test_values_no_run_can_use(values, message):
    with pytest.raises(HistoError, match=message):
        options.check(options.from_values(options.Config, values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": -3}, "config.image_size: is -3 .must be 1 or more"),
        ({"batch_size": 0}, "config.batch_size: is 0"),
        ({"repeats": 0}, "config.repeats: is 0"),
        ({"seed": -1}, "config.seed: is -1"),
        ({"split_by": ()}, "config.split_by: is .. .name at least one"),
        ({"init": ()}, "config.init: is .. .name at least one"),
        ({"fractions": ()}, "config.fractions: is .. .name at least one"),
        ({"shift": {"a": 1}}, "config.shift: wants tuple"),
        ({"labels": 0.1}, "config.labels: no such field .known: seed, data, protocol"),
        ({"supervised": {"freeze_to": "layer5"}}, "known: stem, layer1"),
    ],
)
def test_values_no_evaluation_can_use(recipe, values, message):
    body = f"def get_config():\n    return ConfigDict({values})"
    with pytest.raises(HistoError, match=message):
        options.load(options.EvalConfig, recipe(body))


def test_names_known_here_are_those_of_the_rooms():
    from histo_jax.augment import recipes

    known = {f.name: f.metadata["known"] for f in dataclasses.fields(options.Augment) if f.metadata}
    assert known["recipe"] == tuple(recipes.RECIPES)
    assert known["jitter"] == tuple(recipes.JITTERS)


@pytest.mark.parametrize("schema", [options.Config, options.EvalConfig])
def test_help_names_every_option_with_its_default(schema):
    lines = options.describe(schema).splitlines()
    assert max(map(len, lines)) <= 110

    def walk(group, prefix=""):
        for item in dataclasses.fields(group):
            if dataclasses.is_dataclass(item.default):
                yield from walk(type(item.default), f"{prefix}{item.name}.")
            else:
                yield f"{prefix}{item.name}", item.default

    for name, default in walk(schema):
        (line,) = [x for x in lines if x.startswith(f"  {name} ")]
        assert str(default or "") in line
    options.check(schema())  # the defaults pass their own limits


def test_differences_are_dotted_names():
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4, "d": 3}, "e": 0}
    assert options.differences(new, old) == ["b.c", "e"]
