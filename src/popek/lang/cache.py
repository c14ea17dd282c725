"""The on-disk cache of compiled code: private to its user, verified, built once even by concurrent first starts.

    popek/code/KEY.code   checksum, then what is kept
    popek/code/KEY.lock   held by who makes it
    popek/code/ROOT.keys  keys of the builds of one installation (`keys`)

Whatever is wrong with the cache, the caller gets what it asked for: at worst it is made anew, and `warn` is told why.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

try:  # what hashlib.blake2b is, without loading OpenSSL
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

from popek.base import private

if TYPE_CHECKING:
    from popek.lang.objects import Image

Progress = Callable[[str], None]
Part = str | bytes | os.PathLike[str]
PLACE = ("popek", "code")
FORMAT = b"2"  # part of every key
KEPT = 24  # files
SUM = 32  # bytes of a checksum
PATIENCE = 120.0  # seconds that we wait for another process which makes the same
STALE = 3600.0  # seconds until a temporary file is nobody's
RACY = 2 * 10**9  # nanoseconds in which a file may change twice and look the same


def digest(*parts: bytes | memoryview, size: int = SUM) -> bytes:
    """A checksum."""
    total = blake2b(digest_size=size)
    for part in parts:
        total.update(part)
    return total.digest()


# -- keys --


def _host() -> bytes:
    """What tells this CPU from others, without asking LLVM."""
    lines: dict[bytes, None] = {}
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            for line in file.read(16384).splitlines():
                if line.startswith((b"model name", b"flags", b"Features", b"CPU part", b"CPU implementer")):
                    lines[line] = None
                if not line:
                    break
    except OSError:
        pass
    return os.uname().machine.encode() + b"\n".join(lines)


def _llvmlite() -> str:
    """The file that holds llvmlite's version, found without importing it; empty if there is none."""
    import sys

    for place in sys.path:
        version = os.path.join(place, "llvmlite", "_version.py")
        if os.path.exists(version):
            return version
    from importlib.util import find_spec

    spec = find_spec("llvmlite")
    found = (os.path.join(place, "_version.py") for place in (spec and spec.submodule_search_locations) or ())
    return next(filter(os.path.exists, found), "")


def fingerprint(*parts: Part) -> str:
    """A key for `cached`: hash of texts, files, folders (their Python files), lang itself, LLVM's version, the CPU."""
    total = blake2b(FORMAT, digest_size=20)
    version = _llvmlite()
    for data in (
        _host(),
        _bytes(version) if version else b"",
        *map(_bytes, _sources(os.path.dirname(__file__))),
        *(data for part in parts for data in _contents(part)),
    ):
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _contents(part: Part) -> Iterable[bytes]:
    if isinstance(part, os.PathLike):
        path = os.fspath(part)
        return map(_bytes, _sources(path) if os.path.isdir(path) else [path])
    return [part.encode() if isinstance(part, str) else part]


def _sources(folder: str) -> list[str]:
    """All Python files in a folder."""
    return sorted(
        os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".py")
    )


def keys(root: str, folders: Sequence[str], make: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
    """What `make()` returns, remembered as long as no Python file in these folders of `root` (not below) changes.

    Hashing all sources costs more than all else before the guest starts. A file that keeps its size, times and inode is
    taken as unchanged, unless it is so new that it could change again without a trace.
    """
    try:
        state, newest = _state(root, folders)
        here = private.folder(*PLACE)
    except (OSError, private.NotOurs):
        return make()
    try:
        name = digest(root.encode(), size=20).hex() + ".keys"
        found, _ = _verified(here, name)
        if found is not None and found[:SUM] == state:
            return dict(line.split(" ", 1) for line in found[SUM:].decode().splitlines())
        made = make()
        if newest < time.time_ns() - RACY:
            _keep(here, name, state + "".join(f"{build} {key}\n" for build, key in made.items()).encode())
        return made
    finally:
        os.close(here)


def _state(root: str, folders: Sequence[str]) -> tuple[bytes, int]:
    """Checksum over the properties of all that keys depend on, and when the newest of it changed (ns)."""
    version = _llvmlite()
    looked = [(version, os.stat(version))] if version else []
    for folder in folders:
        with os.scandir(os.path.join(root, folder)) as entries:
            looked += [(f"{folder}/{e.name}", e.stat()) for e in entries if e.name.endswith(".py")]
    seen = sorted(f"{name} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}" for name, s in looked)
    newest = max(max(s.st_mtime_ns, s.st_ctime_ns) for _, s in looked)
    return digest(FORMAT, _host(), root.encode(), "\n".join(seen).encode()), newest


# -- what is kept --


def kept(
    key: str, make: Callable[[], bytes], progress: Progress | None = None, warn: Progress | None = None
) -> bytes:
    """The bytes kept under `key`, or what `make()` returns (which then is kept). Works without a usable cache, too.

    `progress` hears that something is made, which takes seconds; `warn` what is wrong with the cache.
    """
    told = warn or _ignore
    try:
        here = private.folder(*PLACE)
    except private.NotOurs as error:
        told(f"cache of compiled code: {error}; what is compiled is not kept")
        return _make(make, progress)
    try:
        name = f"{key}.code"
        found, wrong = _verified(here, name)
        if found is not None:
            return found
        if wrong:
            told(f"cache of compiled code: {private.path(*PLACE, name)}: {wrong}; made anew")
        with _alone(here, f"{key}.lock"):
            found, _ = _verified(here, name)  # another process may have made it while we waited
            if found is None:
                found = _make(make, progress)
                wrong = _keep(here, name, found)
                if wrong:
                    told(f"cache of compiled code: {private.path(*PLACE)}: {wrong}; what is compiled is not kept")
                else:
                    _tidy(here)
        return found
    finally:
        os.close(here)


def usable() -> bool:
    """Can what is made be kept at all, as far as one can know without trying?"""
    try:
        here = private.folder(*PLACE)
    except private.NotOurs:
        return False
    try:
        return os.access(".", os.W_OK | os.X_OK, dir_fd=here, effective_ids=True)
    finally:
        os.close(here)


def has(key: str) -> bool:
    """Is something kept under `key`, as far as one can see from outside? It may still be damaged."""
    try:
        return os.path.exists(private.path(*PLACE, f"{key}.code"))
    except private.NotOurs:
        return False


def cached(
    key: str, make: Callable[[], Image], progress: Progress | None = None, warn: Progress | None = None
) -> Image:
    """As `kept`, for images."""
    from popek.lang.objects import Image

    return Image.from_bytes(kept(key, lambda: make().to_bytes(), progress, warn))


def _ignore(text: str) -> None:
    pass


def _make(make: Callable[[], bytes], progress: Progress | None) -> bytes:
    if progress:
        progress("compiling machine code (once; kept for the next starts)")
    return make()


def _verified(here: int, name: str) -> tuple[bytes | None, str]:
    """What is kept in a file. If it is None, what is wrong with the file; nothing, if there is none."""
    try:
        data = private.read(here, name)
    except FileNotFoundError:
        return None, ""
    except private.NotOurs as error:
        return None, str(error)
    except OSError as error:
        return None, error.strerror or str(error)
    if len(data) < SUM or digest(memoryview(data)[SUM:]) != data[:SUM]:
        return None, "damaged"
    return data[SUM:], ""


def _keep(here: int, name: str, data: bytes) -> str:
    """Write a file; what is wrong if that is not possible."""
    try:
        private.write(here, name, digest(data) + data)
    except OSError as error:
        return error.strerror or str(error)
    return ""


@contextmanager
def _alone(here: int, name: str) -> Iterator[None]:
    """One process at a time, as far as that can be had; nobody waits for ever."""
    try:
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=here)
    except OSError:
        yield
        return
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(handle)


def _tidy(here: int) -> None:
    """Forget what was made longest ago, beyond a generous number, and what killed processes left."""
    try:
        names = [name for name in os.listdir(here) if name.endswith((".code", ".keys"))]
        times = {name: os.stat(name, dir_fd=here, follow_symlinks=False).st_mtime for name in names}
        for name in sorted(names, key=times.__getitem__, reverse=True)[KEPT:]:
            private.remove(here, name)
            private.remove(here, name.removesuffix(".code") + ".lock")
        private.sweep(here, STALE, time.time())
    except OSError:  # another process removed it
        pass
