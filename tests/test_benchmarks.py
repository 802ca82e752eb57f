"""The programs of benchmarks/ run, at tiny sizes; their numbers mean nothing here."""

import importlib
import json
import sys

import pytest

from tests import commands

TINY = {
    "input_pipeline.py": "--images 32 --size 48 --batch 16 --width 4 --rounds 1 --seconds 0.05",
    "train_step.py": "--size 32 --batch 4 --width 4 --rounds 1 --seconds 0.05 --no_torch",
    "ntxent.py": "--pairs 64 --memory_only 128 --rounds 1 --seconds 0.05",
    "search.py": "--rows 500 --width 16 --top 5 --rounds 1 --queries 1 2",
    "probe.py": "--problems 2 --images 64 --features 16 --epochs 2 --rounds 1",
}


def test_a_ratio_that_doubled_is_found(monkeypatch):
    monkeypatch.syspath_prepend(commands.ROOT / "benchmarks")
    worse = importlib.import_module("regression").worse
    known = {"views / decode": 5.0, "step / decode": 200.0, "gone": 1.0}
    now = {"views / decode": 10.0, "step / decode": 399.0, "new": 9.0}
    assert worse(now, known) == ["views / decode"]
    assert worse(known, known) == []


def test_turns_alternate_and_count_what_was_done(monkeypatch):
    monkeypatch.syspath_prepend(commands.ROOT / "benchmarks")
    measure = importlib.import_module("measure")
    seen = []

    def system(name, units):
        while True:
            seen.append(name)
            yield units

    systems = {"a": system("a", 3), "b": system("b", 5)}
    samples = measure.alternate(systems, rounds=2, seconds=0, skip=1)
    assert seen == ["a", "b"] + ["a", "a", "b", "b"] * 2  # a first turn, then one skipped of two
    assert [[s.units for s in samples[name]] for name in "ab"] == [[3, 3], [5, 5]]
    one, two = measure.Sample(6, 2.0, 1.0), measure.Sample(3, 2.0, 3.0)
    assert measure.ratio([one], [two])["median"] == 2
    assert measure.ratio([one], [two], cpu=True)["median"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("program", TINY)
def test_program_runs(program, tmp_path):
    file = tmp_path / "numbers.json"
    flags = [*TINY[program].split(), "--json", file]
    done = commands.run(sys.executable, f"benchmarks/{program}", *flags)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(file.read_text())
    assert numbers["machine"]["versions"]["jax"] in done.stdout
    assert "bars" in numbers


@pytest.mark.slow
@pytest.mark.parametrize("program", ["input_pipeline.py", "train_step.py"])
def test_program_runs_without_tensorflow(program, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "benchmarks")  # as for a script that is started by its path
    done = commands.without_tensorflow(f"benchmarks/{program}", *TINY[program].split())
    assert done.returncode == 0, done.stderr
    assert "decode" not in done.stdout


@pytest.mark.slow
def test_ratios_are_compared(tmp_path):
    known = json.loads((commands.ROOT / "benchmarks/ratios.json").read_text())
    file = tmp_path / "ratios.json"
    file.write_text(json.dumps(dict.fromkeys(known, 1e-9)))
    tiny = "--images 32 --size 32 --width 4 --batch 16 --pairs 64 --rounds 1 --seconds 0.05".split()
    done = commands.run(sys.executable, "benchmarks/regression.py", *tiny, "--ratios", file)
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("SLOWER") == len(known)  # every committed ratio is measured
    assert not any(line.endswith("new") for line in done.stdout.splitlines())  # and no other
