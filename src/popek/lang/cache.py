"""The on-disk cache of compiled code: private to its user, verified, built once even by concurrent first starts."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from popek.lang.objects import Image

Progress = Callable[[str], None]
FORMAT = b"1"  # part of every key
KEPT = 24  # files


class CacheError(Exception):
    """The cache directory cannot be used."""


def directory() -> Path:
    """The cache directory, made if needed. CacheError if it is not ours alone."""
    path = Path(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"))
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("popek", "code"):
            path /= name
            path.mkdir(mode=0o700, exist_ok=True)
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise CacheError(f"{path} is not a directory that only you can write")
    except OSError as error:
        raise CacheError(str(error)) from None
    return path


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file in one step."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="." + path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _host() -> bytes:
    """What tells this CPU from others, without asking LLVM."""
    lines: dict[bytes, None] = {}
    try:
        with open("/proc/cpuinfo", "rb") as file:
            for line in file.read(16384).splitlines():
                if line.startswith((b"model name", b"flags", b"Features", b"CPU part", b"CPU implementer")):
                    lines[line] = None
                if not line:
                    break
    except OSError:
        pass
    return os.uname().machine.encode() + b"\n".join(lines)


def _llvmlite() -> bytes:
    """The version of llvmlite, without importing it."""
    from importlib.util import find_spec

    spec = find_spec("llvmlite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        version = Path(place) / "_version.py"
        if version.exists():
            return version.read_bytes()
    return b""


def fingerprint(*parts: str | bytes | Path) -> str:
    """A key for `cached`: hash of texts, files, folders (their Python files), lang itself, LLVM's version, the CPU."""
    total = sha256(FORMAT)
    files: list[str | bytes | Path] = []
    for part in (_host(), _llvmlite(), Path(__file__).parent, *parts):
        files.extend(sorted(part.rglob("*.py")) if isinstance(part, Path) and part.is_dir() else [part])
    for part in files:
        data = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()[:40]


def _load(path: Path) -> bytes | None:
    """What is kept in a file; None if there is no such file, or it is damaged, or it is not ours alone."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return None
        data = file.read()
    return data[32:] if sha256(memoryview(data)[32:]).digest() == data[:32] else None


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _prune(place: Path) -> None:
    """Forget what was made longest ago, beyond a generous number."""
    files = sorted(place.glob("*.code"), key=lambda f: f.stat().st_mtime, reverse=True)
    for file in files[KEPT:]:
        file.unlink(missing_ok=True)
        file.with_suffix(".lock").unlink(missing_ok=True)


def kept(key: str, make: Callable[[], bytes], progress: Progress | None = None) -> bytes:
    """The bytes kept under `key`, or what `make()` returns (which then is kept). Works without a usable cache, too."""
    with ExitStack() as stack:
        try:
            path = directory() / f"{key}.code"
            found = _load(path)
            if found is None:
                stack.enter_context(_lock(path.with_suffix(".lock")))
                found = _load(path)  # another process may have made it while we waited
        except (CacheError, OSError) as error:
            if progress:
                progress(f"machine code is not kept: {error}")
            return _make(make, progress)
        if found is None:
            found = _make(make, progress)
            try:
                write_atomically(path, sha256(found).digest() + found)
                _prune(path.parent)
            except OSError as error:
                if progress:
                    progress(f"machine code is not kept: {error}")
        return found


def _make(make: Callable[[], bytes], progress: Progress | None) -> bytes:
    if progress:
        progress("compiling machine code (once; kept for the next starts)")
    return make()


def cached(key: str, make: Callable[[], Image], progress: Progress | None = None) -> Image:
    """As `kept`, for images."""
    from popek.lang.objects import Image

    return Image.from_bytes(kept(key, lambda: make().to_bytes(), progress))
