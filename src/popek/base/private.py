"""Files that nobody else can write: folders of the user's cache and files in them, opened by descriptor and checked.

What is kept there is executed, so a link, another owner or a permission for others to write means: not ours. Checks are
made on descriptors, and everything below goes through them, so names that change meanwhile do not matter.
What is in the files is not known here.
"""

from __future__ import annotations

import os
import stat

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not hold us


class NotOurs(Exception):
    """A folder or file that must not be trusted, or cannot be had."""


def cache_home() -> str:
    """$XDG_CACHE_HOME, else ~/.cache (XDG Base Directory Specification). Raises NotOurs if there is neither."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):
        home = os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(home):
        raise NotOurs("there is no home directory (set XDG_CACHE_HOME)")
    return home


def path(*names: str) -> str:
    """For people: where something is below the cache home."""
    return os.path.join(cache_home(), *names)


def folder(*names: str) -> int:
    """Descriptor of a folder below the cache home, made if needed: each level ours alone. Raises NotOurs."""
    place = cache_home()
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        here = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in names:
            place = os.path.join(place, name)
            try:
                below = _enter(here, name, place)
            finally:
                os.close(here)
            here = below
    except OSError as error:
        raise NotOurs(f"{place}: {error.strerror}") from None
    return here


def _enter(above: int, name: str, place: str) -> int:
    try:
        here = os.open(name, _FOLDER, dir_fd=above)
    except FileNotFoundError:
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:  # another process was faster
            pass
        here = os.open(name, _FOLDER, dir_fd=above)
    return _checked(here, place)


def _checked(here: int, place: str = "") -> int:
    """The descriptor, or NotOurs."""
    status = os.fstat(here)
    wrong = ""
    if status.st_uid != os.geteuid():
        wrong = "belongs to another user"
    elif status.st_mode & WRITABLE_BY_OTHERS:
        wrong = "can be written by others"
    if wrong:
        os.close(here)
        raise NotOurs(f"{place} {wrong}".lstrip())
    return here


def open_folder(above: int, name: str) -> int:
    """Descriptor of an existing folder in a folder. Raises OSError or NotOurs."""
    return _checked(os.open(name, _FOLDER, dir_fd=above))


def open_file(above: int, name: str) -> int:
    """Descriptor of a regular file in a folder, for reading. Raises OSError or NotOurs."""
    file = _checked(os.open(name, _FILE, dir_fd=above))
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotOurs("not a regular file")
    return file


def read(above: int, name: str) -> bytes:
    """All of a file. Raises OSError or NotOurs."""
    file = open_file(above, name)
    try:
        parts = []
        while part := os.read(file, max(os.fstat(file).st_size, 1 << 16)):
            parts.append(part)
    finally:
        os.close(file)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write(above: int, name: str, data: bytes) -> None:
    """Make or replace a file in one step: it is there as a whole or not at all. Raises OSError."""
    temporary = f".{name}-{os.getpid()}-{os.urandom(4).hex()}"
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=above)
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)
        os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)
    except BaseException:
        remove(above, temporary)
        raise


def remove(above: int, name: str) -> None:
    """Remove a file; it is no error if that cannot be."""
    try:
        os.unlink(name, dir_fd=above)
    except OSError:
        pass


def sweep(above: int, age: float, now: float) -> None:
    """Remove what `write` left behind in processes that were killed: temporary files older than `age` seconds."""
    for name in os.listdir(above):
        try:
            if name.startswith(".") and os.stat(name, dir_fd=above, follow_symlinks=False).st_mtime < now - age:
                os.unlink(name, dir_fd=above)
        except OSError:
            continue
