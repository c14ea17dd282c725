"""A file of the host, read and written in whole at offsets: short transfers, holes and errors are dealt with here.

No formats. Everything that touches an image file goes through a File.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence

from popek.storage import errors
from popek.storage.lock import lock

MAX_VIEWS = 1024  # IOV_MAX
_ZEROES = memoryview(bytes(1 << 20))
_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 1, 2, 16  # linux/falloc.h


class File:
    """An open image file, locked. `size` is what the file has, not what a guest sees."""

    def __init__(self, path: str, writing: bool, locked: bool = True) -> None:
        self.path = path
        self.writing = writing
        try:
            # O_NONBLOCK: a pipe in place of an image must not hang us
            flags = (os.O_RDWR if writing else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK
            self.fd = os.open(path, flags)
        except OSError as error:
            raise errors.from_os(error, path) from error
        try:
            self._check()
            if locked:
                lock(self.fd, path, writing)
        except BaseException:
            os.close(self.fd)
            raise
        self._impossible: set[int] = set()  # modes of fallocate that the file system does not know

    @classmethod
    def temporary(cls, folder: str) -> File:
        """A new file without a name; it is gone when it is closed."""
        self = cls.__new__(cls)
        self.path, self.writing, self.size, self._impossible = folder, True, 0, set()
        try:
            try:
                self.fd = os.open(folder, os.O_RDWR | os.O_CLOEXEC | os.O_TMPFILE, 0o600)
            except (AttributeError, OSError):
                import tempfile

                self.fd, name = tempfile.mkstemp(prefix="popek-", dir=folder)
                os.unlink(name)
        except OSError as error:
            raise errors.from_os(error, folder) from error
        return self

    def _check(self) -> None:
        mode = os.fstat(self.fd).st_mode
        if stat.S_ISDIR(mode):
            raise errors.from_os(IsADirectoryError(errno.EISDIR, ""), self.path)
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise errors.BadInput(f"disk {self.path}: neither a file nor a block device")
        self.size = os.lseek(self.fd, 0, os.SEEK_END)

    def read(self, offset: int, n: int) -> bytes:
        """Exactly `n` bytes; zeroes where the file has ended."""
        data = bytearray(n)
        self.read_into(offset, [memoryview(data)])
        return bytes(data)

    def write(self, offset: int, data: bytes | bytearray) -> None:
        self.write_from(offset, [memoryview(data)])

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all of `views`; with zeroes where the file has ended."""
        rest = self._transfer(os.preadv, offset, views)
        for view in rest:
            view[:] = bytes(len(view))

    def write_from(self, offset: int, views: Sequence[memoryview]) -> None:
        """Write all of `views`."""
        if self._transfer(os.pwritev, offset, views):
            raise errors.DiskFull(f"disk {self.path}: no space left on the host")
        self.size = max(self.size, offset + sum(map(len, views)))

    def _transfer(
        self, call: Callable[[int, Sequence[memoryview], int], int], offset: int, views: Sequence[memoryview]
    ) -> Sequence[memoryview]:
        """What is left of `views` when the kernel does not take any more."""
        while views:
            try:
                done = call(self.fd, views if len(views) <= MAX_VIEWS else views[:MAX_VIEWS], offset)
            except OSError as error:
                raise errors.from_os(error, self.path) from error
            except OverflowError:
                raise errors.BadDisk(f"disk {self.path}: an offset of {offset}") from None
            offset += done
            views = _after(views, done)
            if not done and views:
                return views
        return views

    def grow(self, size: int) -> None:
        """Make the file at least `size` bytes long; the new ones are zeroes."""
        if size > self.size:
            self._do(lambda: os.ftruncate(self.fd, size))
            self.size = size

    def sync(self) -> None:
        """What was written survives a power cut."""
        self._do(lambda: os.fdatasync(self.fd))

    def punch(self, offset: int, n: int) -> bool:
        """Make a hole, which reads as zeroes. False if the file system cannot."""
        return self._allocate(_PUNCH_HOLE | _KEEP_SIZE, offset, n)

    def zero(self, offset: int, n: int, unmap: bool = True) -> None:
        """Make bytes of the file zero; `unmap`: a hole will do."""
        if n and not self._allocate((_PUNCH_HOLE if unmap else _ZERO_RANGE) | _KEEP_SIZE, offset, n):
            for at in range(offset, offset + n, len(_ZEROES)):
                self.write_from(at, [_ZEROES[: min(len(_ZEROES), offset + n - at)]])

    def _allocate(self, mode: int, offset: int, n: int) -> bool:
        """fallocate(2), which Python has only one mode of."""
        if mode in self._impossible or not n:
            return not n
        import ctypes

        function = getattr(ctypes.CDLL(None), "fallocate", None)
        if function is not None:
            function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
            if function(self.fd, mode, offset, n) == 0:
                return True
        self._impossible.add(mode)
        return False

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, call: Callable[[], object]) -> None:
        try:
            call()
        except OSError as error:
            raise errors.from_os(error, self.path) from error


def _after(views: Sequence[memoryview], n: int) -> Sequence[memoryview]:
    """`views` without their first `n` bytes."""
    if n == sum(map(len, views)):
        return ()
    for at, view in enumerate(views):
        if n < len(view):
            return [view[n:], *views[at + 1 :]]
        n -= len(view)
    return ()


def cut(views: Sequence[memoryview], sizes: Sequence[int]) -> list[list[memoryview]]:
    """`views` cut into pieces of these sizes, each a list of views."""
    pieces: list[list[memoryview]] = []
    at, used = 0, 0
    for size in sizes:
        piece: list[memoryview] = []
        while size:
            view = views[at]
            n = min(size, len(view) - used)
            piece.append(view[used : used + n] if n < len(view) else view)
            used += n
            size -= n
            if used == len(view):
                at, used = at + 1, 0
        pieces.append(piece)
    return pieces
