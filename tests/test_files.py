"""Files are whole or absent; errors are one line."""

import pickle
import subprocess
import sys

import pytest

from histo_jax import errors, files
from histo_jax.errors import HistoError


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.atomic(tmp_path / "a") as file:
        file.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path):
    files.write_json(tmp_path / "a", 1)
    with pytest.raises(RuntimeError), files.atomic(tmp_path / "a"):
        raise RuntimeError
    assert files.read_json(tmp_path / "a") == 1


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "lines"
    files.append_line(path, {"step": 1})
    with open(path, "ab") as file:
        file.write(b'{"step": 2')
    assert files.read_lines(path) == [{"step": 1}]
    assert files.read_lines(tmp_path / "none") == []


def test_a_table_comes_back_as_it_was(tmp_path):
    rows = [["a, b", 1, 'he said "no"'], ["Gewebe µm\n2", 2.5, ""]]
    files.write_csv(tmp_path / "new" / "a.csv", ("key", "n", "word"), iter(rows))
    with files.open_csv(tmp_path / "new" / "a.csv") as read:
        assert [list(row.values()) for row in read] == [list(map(str, row)) for row in rows]

    def failing():
        yield ["a", 1, ""]
        raise KeyError("half way")

    with pytest.raises(KeyError):
        files.write_csv(tmp_path / "b.csv", ("key", "n", "word"), failing())
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_damaged_json_names_the_file(tmp_path):
    (tmp_path / "a").write_text("{")
    with pytest.raises(HistoError, match="a: not readable as JSON"):
        files.read_json(tmp_path / "a")


def test_a_lock_is_let_go_when_its_holder_is_killed(tmp_path):
    path = tmp_path / "lock"
    hold = (
        "import sys, time; from histo_jax import files\n"
        "with files.lock(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, path], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(HistoError, match=f"in use by pid {holder.pid} on"), files.lock(path):
        pass
    holder.kill()
    holder.wait()
    with files.lock(path):
        pass


def test_what_a_killed_writer_left_is_swept(tmp_path):
    write = (
        "import sys, time; from histo_jax import files\n"
        "with files.hold(sys.argv[1]), files.atomic(sys.argv[1] + '/big') as file:\n"
        "    print('half', flush=True); time.sleep(60)"
    )
    writer = subprocess.Popen([sys.executable, "-c", write, tmp_path], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"half\n"
    (tmp_path / ".hidden").write_text("someone's own")
    with pytest.raises(HistoError, match="in use by"), files.hold(tmp_path):
        pass
    assert len(list(tmp_path.glob(".big.tmp.*"))) == 1
    writer.kill()
    writer.wait()
    with files.hold(tmp_path, "*.h5"):  # another command may be writing what isn't ours
        assert len(list(tmp_path.glob(".big.tmp.*"))) == 1
    with files.hold(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", ".lock"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(HistoError, match="cannot write: Not a directory"),
        files.lock(tmp_path / "file" / "run" / "lock"),
    ):
        pass


def test_an_error_is_one_line_and_pickles(capsys):
    error = HistoError("a\nb.svs", "empty", "is empty", "download it again")
    assert str(pickle.loads(pickle.dumps(error))) == "a\\nb.svs: is empty (download it again)"

    def fail():
        raise error

    assert errors.run(fail) == 1
    assert capsys.readouterr().err == "error: a\\nb.svs: is empty (download it again)\n"
    with pytest.raises(HistoError):
        errors.run(fail, debug=True)


def test_exit_statuses():
    def resume():
        raise errors.Resume("saved")

    def interrupt():
        raise KeyboardInterrupt

    assert errors.run(resume) == 75
    assert errors.run(interrupt) == 130
    assert errors.run(lambda: None) == 0


def test_the_commit_is_that_of_the_checkout_and_of_no_folder_around_it(tmp_path, monkeypatch):
    git = ("git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "x")):
        subprocess.run([*git, *command], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "histo_jax" / "files.py"))
    assert files.git_commit() == done.stdout.strip()
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages/histo_jax/files.py"))
    assert files.git_commit() is None
