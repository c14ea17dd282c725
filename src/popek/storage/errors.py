"""What can go wrong with a disk image, as errors that people understand. No other exceptions in this room."""

from __future__ import annotations

import errno

from popek.base.errors import BadImage, BadInput, HostProblem


class BadDisk(BadImage):
    """A disk image that is damaged, or of a kind that is not known."""


class DiskInUse(HostProblem):
    """Somebody else has the image open for writing."""


class DiskFull(HostProblem):
    """The host has no room for what the guest writes."""


def from_os(error: OSError, path: str) -> BadInput | HostProblem:
    """The error for a failed system call on `path`."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return BadInput(f"disk {path}: there is no such file", "check the name")
        case errno.EISDIR:
            return BadInput(f"disk {path}: this is a folder, not a file")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return BadInput(f"disk {path}: you may not open it this way", "check its permissions, or use it read-only")
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return DiskFull(f"disk {path}: no space left on the host", "free some and restart the guest's write")
        case _:
            return HostProblem(f"disk {path}: {error.strerror or error}")
