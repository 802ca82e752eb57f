"""Options: names, types and nearest names."""

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
        ("--config.data.batch_size=many", "wants int, got 'many'"),
        ("--config.data.batch_size=4.5", "wants int, got 4.5"),
        ("--config.seed=true", "wants int, got True"),
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


def test_a_missing_or_broken_recipe_names_the_file(recipe, tmp_path):
    with pytest.raises(HistoError, match="nothing.py: no such recipe"):
        options.load(options.Config, str(tmp_path / "nothing.py"))
    with pytest.raises(HistoError, match="the recipe failed: ZeroDivisionError"):
        options.load(options.Config, recipe("def get_config():\n    return 1 / 0"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": {"cache": "device"}}, "config.data.cache: is 'device' .known: none, raw"),
        ({"objective": {"temperature": 0.0}}, "temperature: is 0.0 .must be above 0"),
        ({"training": {"total_steps": 0}}, "total_steps: is 0 .must be 1 or more"),
        ({"optimizer": {"warmup_epochs": -1.0}}, "warmup_epochs: is -1.0 .must be 0 or more"),
        ({"seed": -1}, "config.seed: is -1 .must be from 0"),
        ({"training": {"mapper": "vmap"}}, "known: pmap, shard_map"),
    ],
)
def test_values_no_run_can_use(values, message):
    with pytest.raises(HistoError, match=message):
        options.check(options.from_values(options.Config, values))


def test_differences_are_dotted_names():
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4, "d": 3}, "e": 0}
    assert options.differences(new, old) == ["b.c", "e"]
