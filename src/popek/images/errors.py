"""What can go wrong while an image is found, fetched or built: one typed error with a hint.

Errors and the translation of the host's own file errors live here; no logic.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from popek.base.errors import PopekError


class ImageError(PopekError):
    """An image cannot be found, fetched, built or kept."""


class NoMirror(ImageError):
    """No Debian mirror is configured on this host."""


class NetworkError(ImageError):
    """The mirror cannot be reached, or broke off."""


class NotOnMirror(ImageError):
    """The mirror answers that it has no such file."""


class HashMismatch(ImageError):
    """What came is not what the signed archive promises."""


class BadSignature(ImageError):
    """A release file that Debian's archive keys did not sign."""


class BadPackage(ImageError):
    """A file that is not a Debian package, or one with a hostile content."""


class DiskFull(ImageError):
    """No room left for the cache."""


class BuildFailed(ImageError):
    """The guest that builds an image did not finish."""


@contextmanager
def host_file(path: Path) -> Iterator[None]:
    """Turn the host's file errors about `path` into one clear line."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                raise DiskFull(f"no space left for {path}", "free some space or set XDG_CACHE_HOME") from error
            case errno.EROFS | errno.EACCES | errno.EPERM:
                raise ImageError(
                    f"cannot write {path}: {error.strerror}", "set XDG_CACHE_HOME to a folder of yours"
                ) from error
        raise


def room_for(path: Path, size: int, why: str = "{} MiB are needed, {} MiB are free") -> None:
    """DiskFull if `path` has clearly less than `size` bytes to spare: better before an hour of work than after it."""
    state = os.statvfs(path)
    free = state.f_bavail * state.f_frsize
    if free < size:
        told = ": " + why.format(size >> 20, free >> 20) if why else ""
        raise DiskFull(f"no space left for {path}{told}", "free some space or set XDG_CACHE_HOME")
