"""The doctor: one screen, whatever is broken, and an exit status that can be believed."""

import sys

import pytest

from histo_jax import doctor
from tests import commands
from tests.prepared_sets import make_set


@pytest.fixture
def told(capsys):
    """Runs the doctor on a data directory; (status, lines), and every line fits the screen."""

    def run(data_dir):
        status = doctor.main(["--data_dir", str(data_dir)])
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) <= 40 and max(map(len, lines)) <= 100
        for line in lines[:-1]:
            assert line.split()[0] in ("ok", "warning", "missing") and line.isprintable(), line
        return status, lines

    return run


def line_of(lines, name):
    (found,) = [line for line in lines if line[9:21].rstrip() == name]
    return found


def test_a_whole_machine_without_data(told, tmp_path):
    status, lines = told(tmp_path / "not" / "there")
    assert status == 0 and lines[-1] == "training can run here, once a set is prepared"
    for name in ("python", "jax", "orbax", "tensorflow", "openslide", "devices", "cores", "memory"):
        assert line_of(lines, name).startswith("ok"), name
    assert "library 4." in line_of(lines, "openslide") and ".svs" in line_of(lines, "formats")
    assert line_of(lines, "sets").endswith(
        "none there (tfds build tfds_builders/histo_demo --config default)"
    )


def test_tensorflow_is_not_imported_and_not_needed(tmp_path):
    looked = "import sys; from histo_jax import doctor; status = doctor.main([]); "
    looked += "sys.exit(9 if 'tensorflow' in sys.modules else status)"
    assert commands.run(sys.executable, "-c", looked).returncode == 0
    done = commands.without_tensorflow("histo_jax/doctor.py")
    assert done.returncode == 0, done.stderr
    line = line_of(done.stdout.splitlines(), "tensorflow")
    assert line.startswith("warning") and "trains from raw caches alone (pip install" in line


@pytest.mark.parametrize("broken", [None, object()])
def test_a_package_that_training_needs(told, tmp_path, monkeypatch, broken):
    if broken is None:
        monkeypatch.setitem(sys.modules, "optax", None)
    else:  # installed, but raises at import
        package = tmp_path / "path" / "optax"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise OSError('libx.so\\n\\x1b[31mis gone')")
        monkeypatch.syspath_prepend(package.parent)
        for name in [name for name in sys.modules if name.split(".")[0] == "optax"]:
            monkeypatch.delitem(sys.modules, name)
    status, lines = told(tmp_path)
    assert status == 1 and lines[-1] == "training can't run here: 1 missing"
    line = line_of(lines, "optax")
    assert line.startswith("missing") and line.endswith("(pip install -r requirements.lock)")


def test_packages_of_another_version(told, tmp_path, monkeypatch):
    wanted = ["optax>=99", "no-such-package>=1", 'jax; extra == "cuda"', "numpy>=2"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: wanted)
    _, lines = told(tmp_path)
    absent, other = (line for line in lines if line[9:].startswith("packages"))
    assert absent.startswith("warning") and "not installed: no-such-package" in absent
    assert "optax" in other and "is not >=99" in other


def test_a_driver_without_a_jax_that_sees_it(told, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "NVIDIA", tmp_path)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "driver is idle (unset JAX_PLATFORMS)" in line_of(told(tmp_path)[1], "devices")
    monkeypatch.delenv("JAX_PLATFORMS")
    line = line_of(told(tmp_path)[1], "devices")
    assert line.startswith("warning") and "JAX sees no GPU (pip install -e '.[cuda]')" in line


def test_no_device_at_all(told, tmp_path, monkeypatch):
    def devices():
        raise RuntimeError("Unable to initialize backend 'cuda':\n" + "why " * 100)

    monkeypatch.setattr("jax.devices", devices)
    status, lines = told(tmp_path)
    assert status == 1 and line_of(lines, "devices").startswith("missing")


def test_every_look_may_fail(told, tmp_path, monkeypatch):
    def fails(*_):
        raise ZeroDivisionError

    for name in ("programs", "requirements", "slides", "devices", "machine", "disks"):
        monkeypatch.setattr(doctor, name, fails)
    status, lines = told(tmp_path)
    assert status == 0 and sum("can't be looked at: ZeroDivisionError" in x for x in lines) == 6


def test_sets_whole_damaged_foreign_and_labelled(told, tmp_path):
    make_set(tmp_path, "histo_patches/plain", 6)
    make_set(tmp_path, "histo_labelled/said", 6, extra={"label": 1})
    cut = make_set(tmp_path, "histo_patches/cut", 6)
    cut.shards[0].write_bytes(b"")
    stopped = make_set(tmp_path, "histo_patches/stopped", 6)
    (stopped.path / "card.json").unlink()
    strange = make_set(tmp_path, "histo_patches/strange", 6)
    (strange.path / "card.json").write_text('{"schema": 1}')
    raw = tmp_path / ".raw"
    raw.mkdir()
    card = make_set(tmp_path, "histo_patches/cached", 7, seed=1).card
    (raw / f"{card['content_hash']}-224.json").write_text("{}")
    status, lines = told(tmp_path)
    assert status == 0 and lines[-1] == "training can run here"
    sets = {line[21:].split(":")[0]: line for line in lines if line[9:].startswith("set ")}
    assert len(sets) == 6
    assert sets["histo_labelled/said"].endswith("6 images, labels")
    assert sets["histo_patches/plain"].endswith("6 images")
    assert sets["histo_patches/cached"].endswith("7 images, raw cache of 224")
    for name, word in (("cut", "shard has 0 b"), ("stopped", "has no ca"), ("strange", "")):
        line = sets[f"histo_patches/{name}"]
        assert line.startswith("warning") and word in line and "build" in line


def test_hostile_names_and_many_sets(told, tmp_path):
    name = "\x1b[2J<script>\n" + "é" * 90
    for i in range(14):
        folder = tmp_path / "histo_wsi" / f"{i:02}{name}" / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "histo_wsi-train.tfrecord-00000-of-00001").touch()
    _, lines = told(tmp_path)
    assert sum(line[9:].startswith("set ") for line in lines) == 10
    assert "and 4 more" in line_of(lines, "sets")
