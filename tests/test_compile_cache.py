"""Where compiled programs are kept."""

import jax
import pytest

from histo_jax.training import compile_cache


@pytest.fixture
def unset(monkeypatch):
    """No cache is asked for; what JAX had is put back."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_compiled_programs_are_kept_in_the_users_cache(unset, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compile_cache.keep()
    (folder,) = (tmp_path / "histo_jax/jax").iterdir()
    assert jax.config.jax_compilation_cache_dir == str(folder)


def test_a_folder_that_is_asked_for_stays(tmp_path, monkeypatch, unset):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))  # as the variable does
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compile_cache.keep()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    assert not (tmp_path / "histo_jax").exists()


def test_a_home_that_can_not_be_written_is_no_error(unset, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compile_cache.keep()
    assert jax.config.jax_compilation_cache_dir is None
