"""`popek boot` with a cache that is damaged, foreign, read-only or full: the guest runs, later, with one warning.

Most of these compile all of Popek's machine code, as a first start does.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from popek.api.checks import micro_guest
from tests import elves
from tests.faces.shell import popek, start
from tests.unprivileged import NOBODY, obey_permissions

ROOT = os.geteuid() == 0
LOOPS = 1 << 29  # some tenths of a second
WARNING = b"popek: cache of compiled code: "


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> Path:
    """A cache that a first start has filled."""
    home = tmp_path_factory.mktemp("warm")
    (home / "program.elf").write_bytes(elves.elf(elves.say(b"hello\n") + elves.finish(0x5555)))
    done = boot(home)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")
    (home / "loop.elf").write_bytes(micro_guest(LOOPS))
    fine(busy(home), 0, b"ok\n")
    assert len(segments(home)) == 1, "a hot loop becomes a region, and is kept"
    while any(p.name.startswith(".") for p in code(home).iterdir()) or len(list(code(home).glob("*.code"))) < 2:
        time.sleep(0.05)
    return home


@pytest.fixture
def home(warm: Path, tmp_path: Path) -> Path:
    shutil.copytree(warm, tmp_path, dirs_exist_ok=True)
    return tmp_path


def busy(home: Path, **more) -> subprocess.CompletedProcess:
    """A guest that is worth a region."""
    return boot(home, home / "loop.elf", engine="optimizing", **more)


def segments(home: Path) -> list[Path]:
    return list(home.glob("popek/regions/*/*.seg"))


def code(home: Path) -> Path:
    return home / "popek" / "code"


def files(home: Path) -> list[Path]:
    """All but what is remembered of the sources, which a start may add once they are some seconds old."""
    return sorted(path for path in home.rglob("*") if path.suffix != ".keys")


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(home)}


def boot(home: Path, program: Path | None = None, engine: str = "auto", **more) -> subprocess.CompletedProcess:
    line = ("boot", str(program or home / "program.elf"), "--engine", engine)
    return popek(*line, env=environment(home), timeout=200, **more)


def fine(done: subprocess.CompletedProcess, warnings: int, output: bytes = b"hello\n") -> None:
    assert (done.returncode, done.stdout) == (0, output), done.stderr
    assert done.stderr.count(b"\n") == warnings and done.stderr.startswith(WARNING * bool(warnings)), done.stderr


def test_a_warm_start_says_nothing(home: Path) -> None:
    before = files(home)
    fine(boot(home), 0)
    assert files(home) == before


def test_damaged_files(home: Path) -> None:
    for i, path in enumerate(sorted(code(home).glob("*.code"))):
        data = path.read_bytes()
        path.write_bytes(random.Random(i).randbytes(len(data)) if i % 2 else data[: len(data) // 2])
    for path in code(home).glob("*.keys"):
        path.write_bytes(b"x" * 100)
    fine(boot(home), 1)
    fine(boot(home), 0)


@pytest.mark.parametrize("how", ["open to others", "another's"])
def test_a_folder_that_is_not_ours_alone(home: Path, how: str) -> None:
    if how == "another's":
        if not ROOT:
            pytest.skip("only root gives files away")
        os.chown(code(home), NOBODY, -1)
    else:
        (home / "popek").chmod(0o777)
    before = files(home)
    fine(boot(home), 1)
    assert files(home) == before


def test_read_only_and_warm(home: Path) -> None:
    code(home).chmod(0o500)
    before = files(home)
    fine(boot(home, preexec_fn=obey_permissions), 0)
    assert files(home) == before


def test_read_only_and_empty(home: Path) -> None:
    for path in code(home).iterdir():
        path.unlink()
    code(home).chmod(0o500)
    fine(boot(home, preexec_fn=obey_permissions), 1)
    assert not list(code(home).iterdir())


@pytest.mark.skipif(not ROOT, reason="needs root to mount")
def test_a_read_only_disk(home: Path) -> None:
    with mounted(home / "popek", "--bind", str(home / "popek")):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(home / "popek")], check=True)
        fine(boot(home), 0)


@pytest.mark.skipif(not ROOT, reason="needs root to mount a small disk")
def test_a_full_disk(home: Path) -> None:
    disk = home / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=64k", "none"):
        fine(boot(disk, home / "program.elf"), 1)
        left = [path.name for path in code(disk).iterdir() if not path.name.endswith((".lock", ".keys"))]
        assert not left


@contextmanager
def mounted(place: Path, *how: str) -> Iterator[None]:
    if subprocess.run(["mount", *how, str(place)], capture_output=True).returncode:
        pytest.skip("no mounts here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_two_first_starts_one_of_them_killed(home: Path) -> None:
    shutil.rmtree(home / "popek")
    program = str(home / "program.elf")
    both = [start("boot", program, env=environment(home)) for _ in range(2)]
    time.sleep(1.5)
    both[0].send_signal(signal.SIGKILL)
    out, err = both[1].communicate(timeout=250)
    both[0].communicate()
    assert (both[1].returncode, out, err) == (0, b"hello\n", b"")
    began = time.monotonic()
    fine(boot(home), 0)
    assert time.monotonic() - began < 3


# -- regions --


def test_regions_are_found_again(home: Path) -> None:
    before = files(home)
    fine(busy(home), 0, b"ok\n")
    assert files(home) == before


@pytest.mark.parametrize("how", ["cut", "random", "flipped", "writable", "linked"])
def test_broken_segments(home: Path, how: str) -> None:
    (path,) = segments(home)
    data = path.read_bytes()
    match how:
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "random":
            path.write_bytes(random.Random(2).randbytes(len(data)))
        case "flipped":
            path.write_bytes(data[:100] + bytes([data[100] ^ 4]) + data[101:])
        case "writable":
            path.chmod(0o666)
        case "linked":
            path.rename(home / "elsewhere")
            path.symlink_to(home / "elsewhere")
    fine(busy(home), 1, b"ok\n")
    assert len([one for one in segments(home) if one != path]) == 1, "it is made anew"


@pytest.mark.parametrize("how", ["open to others", "another's", "read-only"])
def test_regions_that_cannot_be_kept(home: Path, how: str) -> None:
    (path,) = segments(home)
    path.unlink()
    match how:
        case "open to others":
            (home / "popek" / "regions").chmod(0o777)
        case "another's":
            if not ROOT:
                pytest.skip("only root gives files away")
            os.chown(path.parent, NOBODY, -1)
        case "read-only":
            path.parent.chmod(0o500)
    fine(busy(home, preexec_fn=obey_permissions), 1, b"ok\n")
    assert not segments(home)


def test_regions_are_not_kept_if_the_user_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPEK_CACHE_SIZE", "0")
    (path,) = segments(home)
    path.unlink()
    fine(busy(home), 0, b"ok\n")
    assert not segments(home)
