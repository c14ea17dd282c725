"""A disk that leaves its base unchanged: what is written goes to a nameless temporary file, and is gone at the end.

The disk is cut into granules. A map says of each where it is: one byte a granule, in memory that the system hands out
page by page, so an untouched disk costs nothing and runs of granules are found at the speed of bytes.find.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from threading import Lock

from popek.storage.block import Store
from popek.storage.file import File, cut

GRANULE = 4096  # a file system's block
MAX_GRANULES = 1 << 24  # the map stays below 16 MiB: larger disks have larger granules
BASE, OURS, ZERO = b"\0", b"\1", b"\2"


def scratch_folder() -> str:
    """Where temporary files go that may become large. /tmp is often memory."""
    folders = (os.environ.get("TMPDIR", ""), "/var/tmp", "/tmp", ".")
    return next(folder for folder in folders if folder and os.path.isdir(folder))


class Overlay:
    """The disk. It owns its base."""

    read_only = False

    def __init__(self, base: Store, folder: str = "") -> None:
        self.base = base
        self.size = base.size
        self.granule = GRANULE
        while -(-self.size // self.granule) > MAX_GRANULES:
            self.granule *= 2
        self.count = -(-self.size // self.granule)
        self.file = File.temporary(folder or scratch_folder())
        self._map = mmap.mmap(-1, self.count)
        self._lock = Lock()

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        with self._lock:
            self._read(offset, views, sum(map(len, views)))

    def write_from(self, offset: int, views: Sequence[memoryview]) -> None:
        length = sum(map(len, views))
        with self._lock:
            end = offset + length
            head, tail = offset % self.granule, end % self.granule
            if head:
                self._own(offset // self.granule)
            if tail and end < self.size:
                self._own(end // self.granule)
            self.file.write_from(offset, views)
            self._mark(offset // self.granule, -(-end // self.granule), OURS)

    def flush(self) -> None:
        """Nothing here is to survive anything."""

    def discard(self, offset: int, length: int) -> None:
        self.write_zeroes(offset, length, True)

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        end = offset + length
        first = -(-offset // self.granule)
        last = self.count if end == self.size else end // self.granule
        if first >= last:
            self.write_from(offset, [memoryview(bytes(length))])
            return
        if offset < first * self.granule:
            self.write_from(offset, [memoryview(bytes(first * self.granule - offset))])
        if end > last * self.granule:
            self.write_from(last * self.granule, [memoryview(bytes(end - last * self.granule))])
        with self._lock:
            self._mark(first, last, ZERO)
            self.file.punch(first * self.granule, (last - first) * self.granule)

    def close(self) -> None:
        self.file.close()
        self._map.close()
        self.base.close()

    def _read(self, offset: int, views: Sequence[memoryview], length: int) -> None:
        runs = list(self._runs(offset, length))
        if len(runs) == 1:
            self._read_run(runs[0][0], offset, views)
            return
        for (where, n), piece in zip(runs, cut(views, [n for _, n in runs]), strict=True):
            self._read_run(where, offset, piece)
            offset += n

    def _read_run(self, where: bytes, offset: int, views: Sequence[memoryview]) -> None:
        if where == BASE:
            self.base.read_into(offset, views)
        elif where == OURS:
            self.file.read_into(offset, views)
        else:
            for view in views:
                view[:] = bytes(len(view))

    def _runs(self, offset: int, length: int) -> Iterator[tuple[bytes, int]]:
        """Where successive parts of a range are: what, and how many bytes."""
        if not length:
            return
        end = offset + length
        states = self._map[offset // self.granule : (end - 1) // self.granule + 1]
        at = offset // self.granule
        while states:
            where = states[:1]
            rest = states.lstrip(where)
            at += len(states) - len(rest)
            stop = min(at * self.granule, end)
            yield where, stop - offset
            offset, states = stop, rest

    def _own(self, granule: int) -> None:
        """Copy a granule that is about to be written in part."""
        if self._map[granule : granule + 1] == OURS:
            return
        start = granule * self.granule
        data = memoryview(bytearray(min(self.granule, self.size - start)))
        self._read(start, [data], len(data))
        self.file.write_from(start, [data])
        self._mark(granule, granule + 1, OURS)

    def _mark(self, first: int, last: int, where: bytes) -> None:
        self._map[first:last] = where * (last - first)
