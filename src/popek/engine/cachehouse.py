"""Keeping the code cache within its bounds on the disk, for all engines that left something there.

Lives here: which segments go, and what processes that were killed left behind. Not here: what is in a segment.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from popek.base import private
from popek.engine.segment import PLACE, is_segment

STALE = 3600.0  # seconds until a temporary file is nobody's
EMPTY = 24 * 3600.0  # seconds until an empty folder is


class _File(NamedTuple):
    """A segment: when it was of use, the folder's name and its own, bytes."""

    used: float
    folder: str
    name: str
    size: int


def keep(limit: int, merge: Callable[[], None]) -> None:
    """Call `merge`, then forget what is beyond `limit` bytes, unless another process is at it. Raises OSError."""
    above = private.folder(*PLACE)
    try:
        lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=above)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            merge()
            _evict(above, limit)
        finally:
            os.close(lock)
    finally:
        os.close(above)


def _evict(above: int, limit: int) -> None:
    """Forget the segments that were of use longest ago, until the rest is within the limit."""
    files = sorted(_files(above))
    total = sum(file.size for file in files)
    for file in files:
        if total <= limit:
            break
        folder = private.open_folder(above, file.folder)
        private.remove(folder, file.name)
        os.close(folder)
        total -= file.size


def _files(above: int) -> list[_File]:
    """The segments of all engines; tidies their folders up on the way."""
    found = []
    now = time.time()
    for name in os.listdir(above):
        try:
            folder = private.open_folder(above, name)
        except (OSError, private.NotOurs):
            continue
        try:
            private.sweep(folder, STALE, now)
            names = [n for n in os.listdir(folder) if is_segment(n)]
            for one in names:
                status = os.stat(one, dir_fd=folder, follow_symlinks=False)
                found.append(_File(status.st_mtime, name, one, status.st_size))
            if not names and os.fstat(folder).st_mtime < now - EMPTY:
                os.rmdir(name, dir_fd=above)
        except OSError:  # another process removed it
            continue
        finally:
            os.close(folder)
    return found
