"""Locks on image files, so that two machines never write to one image. No reading or writing of images here.

On Linux the bytes that QEMU locks are locked the same way, so `qemu-img` and QEMU keep off our images and we off
theirs: a shared lock on byte 100+p for every permission p held, on byte 200+p for every one refused to others.
"""

from __future__ import annotations

import errno
import fcntl
import os
from struct import Struct

from popek.storage.errors import DiskInUse

READ, WRITE, RESIZE = 0, 1, 3  # permissions p
_HELD, _REFUSED = 100, 200
_FLOCK = Struct("hhqqi4x")  # struct flock of 64-bit Linux
_HINT = "stop the other machine, or open it with an overlay when nobody writes to it"


def lock(fd: int, path: str, writing: bool) -> None:
    """Hold the image as a reader or as the only writer until `fd` is closed. Raises DiskInUse."""
    if not hasattr(fcntl, "F_OFD_SETLK"):
        _lock_whole(fd, path, writing)
        return
    held = (READ, WRITE, RESIZE) if writing else (READ,)
    refused = (WRITE, RESIZE)
    try:
        for byte in [_HELD + p for p in held] + [_REFUSED + p for p in refused]:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
        others = [_REFUSED + p for p in held] + [_HELD + p for p in refused]
        taken = any(_is_locked(fd, byte) for byte in others)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            return  # a file system without locks
        taken = True
    if taken:
        raise DiskInUse(f"disk {path}: somebody else {'uses' if writing else 'writes to'} it", _HINT)


def _is_locked(fd: int, byte: int) -> bool:
    """Does another open file hold a lock on this byte?"""
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _lock_whole(fd: int, path: str, writing: bool) -> None:
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if writing else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DiskInUse(f"disk {path}: somebody else uses it", _HINT) from None
    except OSError:
        pass  # a file system without locks
