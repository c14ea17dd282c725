"""The on-disk cache of compiled code: private to its user, verified, built once even by concurrent first starts."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from popek.lang.objects import Image

Progress = Callable[[str], None]
FORMAT = b"1"


class CacheError(Exception):
    """The cache directory cannot be used."""


def directory() -> Path:
    """The cache directory, made if needed. CacheError if it is not ours alone."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = Path(base) / "popek" / "code"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise CacheError(str(error)) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise CacheError(f"{path} is not a directory that only you can write")
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
    """A key for `cached`: hash of texts and files, the version of LLVM, and the host's CPU."""
    total = sha256(FORMAT)
    for part in (_host(), _llvmlite(), *parts):
        data = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()[:40]


def _load(path: Path) -> Image | None:
    """A cached image; None if there is none, or if it is damaged or not ours."""
    from popek.lang.objects import Image

    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return None
        try:
            return Image.from_bytes(file.read())
        except (ValueError, TypeError, KeyError):
            return None


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def cached(key: str, make: Callable[[], Image], progress: Progress | None = None) -> Image:
    """The image kept under `key`, or what `make()` returns (which then is kept). Works without a usable cache, too."""
    try:
        place = directory()
    except CacheError as error:
        if progress:
            progress(f"no code cache: {error}")
        return make()
    path = place / f"{key}.image"
    found = _load(path)
    if found is not None:
        return found
    with _lock(place / f"{key}.lock"):
        found = _load(path)  # another process may have made it while we waited
        if found is None:
            if progress:
                progress("compiling machine code (once; kept for the next starts)")
            found = make()
            try:
                found.save(path)
            except OSError as error:
                if progress:
                    progress(f"not kept: {error}")
    return found
