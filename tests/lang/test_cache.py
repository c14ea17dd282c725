"""The cache of compiled code: built once, and whatever is wrong with it, the caller gets what it asked for."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import multiprocessing
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from popek.lang import cache
from popek.lang.cache import cached, fingerprint, kept, keys, usable
from popek.lang.objects import Image, build
from tests.unprivileged import as_nobody

ROOT = os.geteuid() == 0
PREFIX = "cache of compiled code: "


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def code(home: Path) -> Path:
    return home / "popek" / "code"


class Maker:
    def __init__(self, what: bytes = b"made") -> None:
        self.what, self.times = what, 0

    def __call__(self) -> bytes:
        self.times += 1
        return self.what


def test_built_once(home: Path) -> None:
    make, said = Maker(), []
    for _ in range(3):
        assert kept("key", make, said.append, said.append) == b"made"
    assert make.times == 1 and len(said) == 1
    assert stat.S_IMODE(code(home).stat().st_mode) == 0o700
    assert stat.S_IMODE((code(home) / "key.code").stat().st_mode) & 0o077 == 0
    kept("other", make)
    assert make.times == 2


def test_images_are_kept(home: Path) -> None:
    image = build("define i64 @f(i64 %a) {\n %r = add i64 %a, 5\n ret i64 %r\n}")
    for _ in range(2):
        assert cached("key", lambda: image).link().call("f", ctypes.c_int64, ctypes.c_int64)(1) == 6
    assert cached("key", lambda: pytest.fail("made twice")).symbols == image.symbols


@given(some.data())
def test_damaged_images_are_refused(data) -> None:
    good = build("define i64 @f() {\n ret i64 5\n}").to_bytes()
    place, value = data.draw(some.integers(0, len(good) - 1)), data.draw(some.integers(1, 255))
    with pytest.raises(ValueError):
        Image.from_bytes(good[:place] + bytes([good[place] ^ value]) + good[place + 1 :])
    with pytest.raises(ValueError):
        Image.from_bytes(good[:place])


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    match how:
        case "flip":
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        case "sum":
            data[0] ^= 1
            path.write_bytes(data)
        case "cut":
            path.write_bytes(data[:-1])
        case "empty":
            path.write_bytes(b"")
        case "more":
            path.write_bytes(data + b"\0")
        case "writable":
            path.chmod(0o666)
        case "group":
            path.chmod(0o660)
        case "foreign":
            os.chown(path, 12345, -1)
        case "link":
            path.rename(path.with_suffix(".away"))
            path.symlink_to(path.with_suffix(".away"))
        case "fifo":
            path.unlink()
            os.mkfifo(path, 0o600)
        case _:
            raise AssertionError(how)


HOW = ["flip", "sum", "cut", "empty", "more", "writable", "group", "link", "fifo"]


@pytest.mark.parametrize("how", [*HOW, pytest.param("foreign", marks=pytest.mark.skipif(not ROOT, reason="chown"))])
def test_broken_files_are_made_anew(home: Path, how: str) -> None:
    make, said = Maker(), []
    kept("key", make)
    damage(code(home) / "key.code", how)
    make.what = b"another"
    for _ in range(3):
        assert kept("key", make, None, said.append) == b"another"
    assert make.times == 2
    assert len(said) == 1 and said[0].startswith(f"{PREFIX}{code(home)}/key.code: ")


def test_a_folder_in_the_place_of_a_file(home: Path) -> None:
    make, said = Maker(), []
    (code(home) / "key.code").mkdir(parents=True)
    for path in (home / "popek", code(home)):
        path.chmod(0o700)
    assert kept("key", make, None, said.append) == b"made" and said


@pytest.mark.parametrize("level", ["popek", "popek/code"])
@pytest.mark.parametrize("how", ["open", "group", "link", "file", "foreign"])
def test_a_folder_that_is_not_ours_alone_is_not_used(home: Path, level: str, how: str) -> None:
    if how == "foreign" and not ROOT:
        pytest.skip("chown")
    kept("key", Maker(b"old"))
    place = home / level
    match how:
        case "open":
            place.chmod(0o777)
        case "group":
            place.chmod(0o770)
        case "link":
            place.rename(home / "away")
            place.symlink_to(home / "away")
        case "file":
            place.rename(home / "away")
            place.write_text("")
        case "foreign":
            os.chown(place, 12345, -1)
    make, said = Maker(b"new"), []
    assert not usable()
    for n in (1, 2):
        assert kept("key", make, None, said.append) == b"new" and make.times == n
    assert len(said) == 2 and said[0].startswith(f"{PREFIX}{place}")


def test_no_usable_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    for wrong in (str(home / "file"), "/proc/nothing", "/dev/null/x"):
        monkeypatch.setenv("XDG_CACHE_HOME", wrong)
        said: list[str] = []
        assert kept("key", Maker(), None, said.append) == b"made" and len(said) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(home / "user"))
    kept("key", Maker())
    assert (home / "user" / ".cache" / "popek" / "code" / "key.code").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*ignored: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", refuse)
    make, said = Maker(), []
    assert kept("key", make, None, said.append) == b"made"
    assert said == [f"{PREFIX}{code(home)}: {os.strerror(number)}; what is compiled is not kept"]
    assert [path.name for path in code(home).iterdir()] == ["key.lock"]


def _read_only(home: str) -> tuple[list[bytes], list[str], bool]:
    os.environ["XDG_CACHE_HOME"] = home
    said: list[str] = []
    got = [kept("there", Maker(), None, said.append)]
    assert not said
    got.append(kept("not", Maker(b"new"), None, said.append))
    return got, said, usable()


def test_a_read_only_folder_is_read(home: Path) -> None:
    kept("there", Maker(b"old"))
    code(home).chmod(0o500)
    got, said, can = as_nobody(home, _read_only, str(home))
    assert got == [b"old", b"new"] and len(said) == 1 and "Permission denied" in said[0] and not can


# -- several at once --


def test_concurrent_first_starts_build_once(home: Path) -> None:
    make = Maker()
    started = threading.Barrier(4)

    def start() -> None:
        started.wait()
        assert kept("key", make) == b"made"

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert make.times == 1


def _make_slowly(home: str) -> None:
    os.environ["XDG_CACHE_HOME"] = home

    def make() -> bytes:
        Path(home, "begun").write_text("")
        time.sleep(60)
        return b"never"

    kept("key", make)


def test_a_builder_that_is_killed_holds_nobody(home: Path) -> None:
    one = multiprocessing.get_context("fork").Process(target=_make_slowly, args=(str(home),))
    one.start()
    while not (home / "begun").exists():
        time.sleep(0.01)
    threading.Timer(0.2, one.kill).start()
    make, said = Maker(), []
    began = time.monotonic()
    assert kept("key", make, None, said.append) == b"made" and not said
    assert 0.1 < time.monotonic() - began < 10
    one.join()


def test_a_builder_that_hangs_is_not_waited_for_long(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PATIENCE", 0.2)
    kept("key", Maker())
    (code(home) / "key.code").unlink()
    lock = os.open(code(home) / "key.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert kept("key", Maker()) == b"made"
    os.close(lock)


def test_only_so_many_are_kept(home: Path) -> None:
    for i in range(30):
        assert kept(f"k{i}", lambda: b"x") == b"x"
        os.utime(code(home) / f"k{i}.code", (i, i))
    left = {f.name for f in code(home).glob("*.code")}
    assert len(left) == 24 and "k29.code" in left and "k0.code" not in left
    assert len(list(code(home).glob("*.lock"))) == 24


def test_what_killed_writers_left_is_swept(home: Path) -> None:
    kept("a", Maker())
    old, new = code(home) / ".a.code-1-aa", code(home) / ".b.code-1-aa"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (1, 1))
    kept("b", Maker())
    assert new.exists() and not old.exists()


def test_errors_while_making_are_passed_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (str(home), "/proc/nothing"):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        for error in (ValueError, FileNotFoundError, BlockingIOError):
            times: list[int] = []

            def fail(error=error, times=times) -> bytes:
                times.append(1)
                raise error("no")

            with pytest.raises(error):
                kept("key", fail)
            assert len(times) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    assert kept("key", lambda: b"y") == b"y"


# -- keys --


def test_fingerprints(tmp_path: Path) -> None:
    file = tmp_path / "source.py"
    file.write_text("a")
    different = {fingerprint(), fingerprint("a"), fingerprint("a", "b"), fingerprint("ab"), fingerprint(b"x")}
    assert len(different) == 5 and fingerprint(file) == fingerprint("a") == fingerprint(tmp_path)


@pytest.fixture
def sources(home: Path) -> Path:
    root = home / "sources"
    for name in ("a/one.py", "a/two.py", "b/three.py", "b/below/four.py"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


class Keys:
    """Counts how often keys are made; the sources are old, however the clock stands."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.times = root, 0
        monkeypatch.setattr(cache, "RACY", -(10**12))

    def __call__(self) -> int:
        """How often keys were made, after one more question."""

        def make() -> dict[str, str]:
            self.times += 1
            return {"one": fingerprint(self.root / "a"), "two": "2"}

        found = keys(str(self.root), ("a", "b"), make)
        assert found == {"one": fingerprint(self.root / "a"), "two": "2"}
        return self.times


def test_keys_are_remembered_until_a_source_changes(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Keys(sources, monkeypatch)
    assert [ask(), ask(), ask()] == [1, 1, 1]
    (sources / "a/one.py").write_text("more text")
    assert [ask(), ask()] == [2, 2]
    times = (sources / "a/two.py").stat()
    (sources / "a/two.py").write_text("b/two.py")  # same size
    os.utime(sources / "a/two.py", ns=(times.st_atime_ns, times.st_mtime_ns))  # same time, as far as one can say
    assert [ask(), ask()] == [3, 3]
    (sources / "a/new.py").write_text("")
    assert [ask(), ask()] == [4, 4]
    (sources / "b/three.py").rename(sources / "b/four.py")
    assert [ask(), ask()] == [5, 5]
    (sources / "a/new.py").unlink()
    assert [ask(), ask()] == [6, 6]
    (sources / "b/below/four.py").write_text("not in these folders")
    (sources / "a/notes.txt").write_text("not a source")
    assert ask() == 6


def test_keys_of_another_compiler_or_processor(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Keys(sources, monkeypatch)
    assert [ask(), ask()] == [1, 1]
    monkeypatch.setattr(cache, "_host", lambda: b"another")
    assert [ask(), ask()] == [2, 2]
    other = sources / "elsewhere" / "llvmlite" / "_version.py"
    other.parent.mkdir(parents=True)
    other.write_text("version = 9")
    monkeypatch.syspath_prepend(str(sources / "elsewhere"))
    assert [ask(), ask()] == [3, 3]


def test_sources_that_have_just_changed_are_read_each_time(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Keys(sources, monkeypatch)
    monkeypatch.setattr(cache, "RACY", 2 * 10**9)
    assert [ask(), ask()] == [1, 2]


@pytest.mark.parametrize("how", HOW)
def test_a_broken_memory_of_keys(sources: Path, home: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    ask = Keys(sources, monkeypatch)
    ask()
    (file,) = code(home).glob("*.keys")
    damage(file, how)
    assert [ask(), ask()] == [2, 2]


def test_keys_without_a_cache(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    ask = Keys(sources, monkeypatch)
    assert [ask(), ask()] == [1, 2]


def test_what_is_wrong_is_named(home: Path) -> None:
    kept("key", Maker())
    said: list[str] = []
    (home / "popek").chmod(0o775)
    kept("key", Maker(), None, said.append)
    assert said == [f"{PREFIX}{home}/popek can be written by others; what is compiled is not kept"]


def test_a_relative_home_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As images.catalog does it, and the XDG Base Directory Specification demands."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.chdir(home)
    kept("key", Maker())
    assert (home / ".cache" / "popek" / "code" / "key.code").exists() and not (home / "relative").exists()


def test_images_made_first_leave_the_folder_private(home: Path) -> None:
    from popek.images.cache import ensure

    old = os.umask(0o002)
    try:
        images = home / "popek" / "images"
        ensure(images, "made-up", "recipe", lambda work: "key", lambda: False, lambda text: None)
    finally:
        os.umask(old)
    said: list[str] = []
    kept("key", Maker(), None, said.append)
    assert not said
