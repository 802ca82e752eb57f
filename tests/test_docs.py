"""What the pages say: commands, options, defaults, reason codes, links, rooms, a measured table."""

import argparse
import ast
import dataclasses
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from histo_jax import config
from histo_jax.data.record import REASONS as IMAGE_REASONS
from histo_jax.errors import HistoError
from histo_jax.slides.reasons import REASONS as SLIDE_REASONS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PLACEHOLDER = re.compile(r"[…|<]")


def text(page: str) -> str:
    return (ROOT / page).read_text()


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next."""
    return re.split(r"^## ", text(page).partition(f"\n## {heading}")[2], flags=re.MULTILINE)[0]


def rows(part: str) -> list[list[str]]:
    """The cells of all table lines of a text, without headings and rules."""
    lines = re.findall(r"^\|(.+)\|$(?!\n\|--)", part, re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [row for row in cells if row[0].strip("-")]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# Reason codes.


# Codes with a part that is only known at run time.
COMPOSED = {"f'files-{verb}'": ("files-changed", "files-vanished")}


def raised() -> tuple[set[str], set[str]]:
    """Codes given to HistoError itself, and those given to the functions that look up a remedy."""
    direct, looked_up = set(), set()
    sources = [*(ROOT / "histo_jax").rglob("*.py"), *(ROOT / "tfds_builders").rglob("*.py")]
    for path in [*sources, ROOT / "train.py", ROOT / "eval.py"]:
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or len(call.args) < 2:
                continue
            name, reason = ast.unparse(call.func).split(".")[-1], call.args[1]
            if name not in ("HistoError", "refusal", "_refusal", "_refused"):
                continue
            found = direct if name == "HistoError" else looked_up
            if isinstance(reason, ast.Constant):
                found.add(reason.value)
            elif isinstance(reason, ast.JoinedStr):
                found.update(COMPOSED[ast.unparse(reason)])
            else:  # handed on by one of those functions, or one of the table MODES
                assert ast.unparse(reason) in ("reason", "verdict"), ast.unparse(call)
    return direct, looked_up


def test_every_reason_code_is_explained_and_no_other():
    direct, looked_up = raised()
    assert len(direct) > 40 and len(looked_up) > 40
    assert looked_up <= {*SLIDE_REASONS, *IMAGE_REASONS}
    told = {code for row in rows(text("docs/errors.md")) for code in codes(row[0])}
    assert told == {*direct, *SLIDE_REASONS, *IMAGE_REASONS}
    ending = rows(section("docs/errors.md", "A command ends"))
    assert direct <= {code for row in ending for code in codes(row[0])}


def test_what_a_user_reads_in_the_line_is_what_the_page_says_to_do():
    ending = rows(section("docs/errors.md", "A command ends"))
    for heading, table in (
        ("A slide is refused", SLIDE_REASONS),
        ("An image is refused", IMAGE_REASONS),
    ):
        told = {c: row for row in rows(section("docs/errors.md", heading)) for c in codes(row[0])}
        assert set(told) <= set(table), heading
        for code, remedy in table.items():
            where = [told[code]] if code in told else [r for r in ending if code in codes(r[0])]
            assert any(remedy in row[2] for row in where), (code, remedy)


# Commands.


def fenced_commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text()):
            if not language:
                for line in block.replace("\\\n", " ").splitlines():
                    yield page.name, line.strip()


def inline_code() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for span in re.findall(r"`([^`]+)`", FENCE.sub("", page.read_text())):
            if not PLACEHOLDER.search(span):
                yield page.name, " ".join(span.split())


PROGRAMS = ("python ", "tfds build tfds_builders/", "make ")
COMMANDS = sorted(
    {
        (page, command)
        for page, command in [*fenced_commands(), *inline_code()]
        if command.startswith(PROGRAMS)
    }
)


def parsed(monkeypatch, function, *arguments):
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    return function()


def check_train(monkeypatch, arguments):
    flags, overrides = parsed(monkeypatch, importlib.import_module("train").arguments, *arguments)
    config.check(config.load(config.Config, flags.config, overrides))


def check_eval(monkeypatch, arguments):
    flags, overrides = parsed(monkeypatch, importlib.import_module("eval").arguments, *arguments)
    assert config.load(config.EvalConfig, flags.config, overrides).dataset


def check_data(monkeypatch, arguments):
    function = importlib.import_module("histo_jax.data.__main__").arguments
    if len(arguments) > 1:
        parsed(monkeypatch, function, *arguments)
    else:  # named in passing
        with pytest.raises(SystemExit, match="^0$"):
            parsed(monkeypatch, function, *arguments, "--help")


def check_training(monkeypatch, arguments):
    with pytest.raises(
        HistoError, match="no such folder .give a work directory"
    ):  # all else was fine
        parsed(monkeypatch, importlib.import_module("histo_jax.training.__main__").main, *arguments)


def check_weights(monkeypatch, arguments):
    parsed(monkeypatch, importlib.import_module("histo_jax.weights.__main__").arguments, *arguments)


def check_catalogue(monkeypatch, arguments):
    module = importlib.import_module("histo_jax.catalogue.__main__")
    flags = parsed(monkeypatch, module.arguments, *arguments)
    if flags.id:
        importlib.import_module("histo_jax.catalogue").find(flags.id)


def check_sweeps(monkeypatch, arguments):
    module = importlib.import_module("histo_jax.sweeps.__main__")
    flags, overrides = parsed(monkeypatch, module.arguments, *arguments)
    path, _, argument = flags.sweep.partition(":")
    sweep = module.grid.load(Path(path), argument)
    assert module.grid.cells(sweep) and not overrides


def check_features(monkeypatch, arguments):
    function = importlib.import_module("histo_jax.features.__main__").arguments
    if len(arguments) > 1:
        parsed(monkeypatch, function, *arguments)
    else:  # named in passing
        with pytest.raises(SystemExit, match="^0$"):
            parsed(monkeypatch, function, *arguments, "--help")


def check_paper(monkeypatch, arguments):
    module = importlib.import_module("histo_jax.paper.__main__")
    flags, overrides = parsed(monkeypatch, module.arguments, *arguments)
    setup = module.setup_of(
        argparse.Namespace(**vars(flags) | {"imagenet": None, "slides": None}),
        module.given(overrides),
    )
    items = [name for text in flags.items for name in module.find(text)]
    assert flags.list or flags.miniature or module.asked(items, setup) or items


def check_doctor(monkeypatch, arguments):
    with pytest.raises(SystemExit, match="^0$"):
        importlib.import_module("histo_jax.doctor").main([*arguments, "--help"])


def check_benchmark(monkeypatch, arguments):
    program, *rest = arguments
    done = subprocess.run(
        [sys.executable, program, "--help"], capture_output=True, text=True, check=True
    )
    for flag in rest:
        assert not flag.startswith("-") or flag.split("=")[0] in done.stdout


def check_tfds(monkeypatch, arguments):
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from tensorflow_datasets.scripts.cli import build, cli_utils

    from histo_jax.data.slide_set import tile_rule
    from tests import folder_builders

    folder, *flags = arguments
    name = Path(folder).name
    assert (ROOT / folder / f"{name}_dataset_builder.py").is_file()
    generation = cli_utils.make_flags_parser(build.Args, "")(["tfds", *flags]).generation
    chosen, beam = generation.config, generation.beam_pipeline_options
    if beam:
        options = PipelineOptions([f"--{option}" for option in beam.split(",")])
        known = options.get_all_options(drop_default=True)
        assert set(known) == {option.split("=")[0] for option in beam.split(",")}
        assert known["runner"] in StandardOptions.KNOWN_RUNNER_NAMES
    monkeypatch.syspath_prepend(folder_builders.BUILDERS)
    builder = importlib.import_module(f"{name}.{name}_dataset_builder").Builder
    if chosen and chosen.startswith("{"):
        options = builder.builder_config_cls(**json.loads(chosen))
        if hasattr(options, "tissue"):
            tile_rule(options)
    else:
        assert chosen in (None, *(known.name for known in builder.BUILDER_CONFIGS))


def check_make(monkeypatch, arguments):
    targets = re.findall(r"^([\w-]+):", text("Makefile"), re.MULTILINE)
    assert arguments and set(arguments) <= set(targets)


CHECKS = {
    ("python", "train.py"): check_train,
    ("python", "eval.py"): check_eval,
    ("python", "-m", "histo_jax.data"): check_data,
    ("python", "-m", "histo_jax.training"): check_training,
    ("python", "-m", "histo_jax.weights"): check_weights,
    ("python", "-m", "histo_jax.catalogue"): check_catalogue,
    ("python", "-m", "histo_jax.doctor"): check_doctor,
    ("python", "-m", "histo_jax.sweeps"): check_sweeps,
    ("python", "-m", "histo_jax.features"): check_features,
    ("python", "-m", "histo_jax.paper"): check_paper,
    ("python",): check_benchmark,
    ("tfds", "build"): check_tfds,
    ("make",): check_make,
}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_command(page, command, monkeypatch, tmp_path):
    words = shlex.split(command, comments=True)
    start = max((s for s in CHECKS if words[: len(s)] == list(s)), key=len)
    monkeypatch.chdir(tmp_path if "histo_jax.training" in words else ROOT)
    CHECKS[start](monkeypatch, words[len(start) :])


def test_commands_are_found():
    kinds = {" ".join(shlex.split(command)[:2]) for _, command in COMMANDS}
    assert kinds >= {"python train.py", "python eval.py", "python -m", "tfds build", "make demo"}
    assert len(COMMANDS) >= 20


FLAGS = sorted({(p, s) for p, s in inline_code() if s.startswith("--config.")})


@pytest.mark.parametrize(("page", "flag"), FLAGS)
def test_flag_in_passing(page, flag, monkeypatch):
    name, equals, _ = flag.removeprefix("--config.").partition("=")
    evaluation = page == "evaluation.md"
    schema, recipe = (config.EvalConfig, "probe") if evaluation else (config.Config, "demo")
    if not equals:
        config.field(schema(), name)
        return
    monkeypatch.chdir(ROOT)
    (flag,) = shlex.split(flag)
    config.check(config.load(schema, f"configs/{recipe}.py", [flag]))


# Options of the builders.


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("Slides", "config.SlideConfig"),
        ("Images", "config.LabelledConfig"),
        ("Drawn tissue", "demo_set.DemoConfig"),
        ("Drawn patches", "demo_set.DemoPatchesConfig"),
    ],
)
def test_options_and_their_defaults(heading, name):
    module, _, name = name.partition(".")
    options = importlib.import_module("histo_jax.data.config")
    schema = getattr(importlib.import_module(f"histo_jax.data.{module}"), name)
    common = rows(text("docs/data.md").partition("\n## ")[0])
    told = {
        codes(row[0])[0]: json.loads(codes(row[1])[0])
        for row in [*common, *rows(section("docs/data.md", heading))]
        if len(row) == 3 and codes(row[0]) and codes(row[1])
    }
    fields = {
        f.name: f.default for f in dataclasses.fields(schema) if f.name not in options._THEIRS
    }
    if module == "demo_set":  # only what differs from slides or images
        base = {f.name: f.default for f in dataclasses.fields(schema.__mro__[1])}
        common_names = {codes(row[0])[0] for row in common}
        fields = {k: v for k, v in fields.items() if k in common_names or base.get(k, ...) != v}
    assert told == fields


# Layout.


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if not target.startswith("http"):
            file = target.partition("#")[0]
            assert (page.parent / file).exists(), f"{page.name}: {target}"


def test_files_in_passing_exist():
    """Paths of the checkout named in code, `tests/test_imports.py`."""
    folders = "histo_jax|tfds_builders|configs|tests|benchmarks|docs"
    paths = {s for _, s in inline_code() if re.fullmatch(rf"({folders})/[\w./-]*", s)}
    assert len(paths) > 5
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_rooms_of_the_design_page_are_those_of_the_package():
    told = {code for row in rows(text("docs/design.md")) for code in codes(row[0])} - {"room"}
    package = ROOT / "histo_jax"
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    files = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert told == folders | files


def test_python_blocks_parse():
    blocks = [
        b for p in PAGES for language, b in FENCE.findall(p.read_text()) if language == "python"
    ]
    assert blocks
    for block in blocks:
        ast.parse(block)


def test_tissue_table_is_what_the_program_measures(real_data):
    done = subprocess.run(
        [sys.executable, "benchmarks/tissue_rules.py", real_data],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() in text("docs/data.md")
