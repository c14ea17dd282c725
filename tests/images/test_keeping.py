"""images/keeping: what the cache holds, and forgetting it."""

import fcntl
from pathlib import Path

import pytest

from popek.images import catalog, keeping
from popek.images.errors import ImageError
from popek.images.names import RECIPES


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(catalog, "_initrd", lambda folder, on_disk: f"{folder}/initrd")
    version = RECIPES["busybox"].version
    folder = tmp_path / "images" / "busybox" / f"{version}-abc"
    folder.mkdir(parents=True)
    (folder / "vmlinux").write_bytes(bytes(8192))
    with open(folder / "sparse", "wb") as file:
        file.truncate(1 << 30)
    (folder.parent / "current").write_text(f"{version}-abc\n")
    (tmp_path / "images" / "busybox.lock").touch()
    (folder.parent / ".build-dead").mkdir()
    (folder.parent / ".build-dead" / "x").write_bytes(bytes(100000))
    (folder.parent / "trixie-0-old").mkdir()
    for name in ("debian/pool", "debian/lists", "code", "regions/of-an-engine"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(bytes(50000))
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_states(cache):
    by_name = {state.name: state for state in keeping.states(str(cache))}
    assert by_name.keys() == RECIPES.keys()
    assert by_name["busybox"].built and 8192 <= by_name["busybox"].size < 1 << 20
    assert by_name["busybox"].version.endswith("-abc")
    assert not by_name["debian"].built


def test_remove(cache):
    assert keeping.remove("busybox", str(cache)) is True
    assert not (cache / "images" / "busybox").exists()
    assert keeping.remove("busybox", str(cache)) is False
    with pytest.raises(KeyError):
        keeping.remove("../../etc", str(cache))


def test_prune(cache):
    assert keeping.prune(where=str(cache)) >= 200000
    assert names(cache / "images" / "busybox") == {"current", f"{RECIPES['busybox'].version}-abc"}
    assert not (cache / "debian" / "pool").exists() and (cache / "code" / "file").exists()
    assert (cache / "regions" / "of-an-engine" / "file").exists()
    assert keeping.prune(where=str(cache)) == 0


def test_prune_everything(cache):
    assert keeping.prune(True, str(cache)) >= 250000
    assert not any((cache / name).exists() for name in ("code", "regions", "images/busybox"))


def test_nothing_is_taken_from_a_running_build(cache):
    with open(cache / "images" / "busybox.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ImageError, match="being built"):
            keeping.remove("busybox", str(cache))
        keeping.prune(where=str(cache))
    assert (cache / "images" / "busybox" / ".build-dead").exists() and (cache / "debian" / "pool" / "file").exists()


def test_an_empty_cache(tmp_path):
    assert keeping.prune(True, str(tmp_path / "none")) == 0
    assert not any(state.built for state in keeping.states(str(tmp_path / "none")))


def test_use(cache, tmp_path):
    used = keeping.use(str(cache))
    assert 50000 <= used.code < 80000 and 50000 <= used.regions < 80000 and 200000 <= used.images < 400000
    assert keeping.use(str(tmp_path / "none")) == (0, 0, 0)
