"""qcow2 images, versions 2 and 3, read and written (QEMU docs/interop/qcow2.txt). The layout on disk is qcow2_layout's.

Order of writes: data and reference counts, a barrier, tables, a barrier, freed clusters. Tables are only written by
`flush` or when memory is full, so a write between flushes costs what it does in a raw image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from popek.storage.block import SECTOR, Place, open_in_place
from popek.storage.errors import BadDisk, BadInput
from popek.storage.file import File, cut
from popek.storage.qcow2_layout import AUTOCLEAR_AT, COMPRESSED, COPIED, CORRUPT, DIRTY, OFFSET, ZERO, read_header
from popek.storage.qcow2_map import Map
from popek.storage.qcow2_read import NOWHERE, REPAIR, ZEROES, Reader, damaged
from popek.storage.qcow2_refs import Refcounts

PORTION = 1 << 20  # of zeroes at once


class Qcow2:
    """The disk. It owns its file and its backing store."""

    def __init__(self, file: File, place: Place) -> None:
        self.file = file
        self.read_only = not file.writing
        self.header = header = read_header(file)
        if header.incompatible & (DIRTY | CORRUPT) and not self.read_only:
            raise BadDisk(f"disk {file.path}: it was not closed properly or is damaged", REPAIR)
        self.cluster, self.bits = header.cluster, header.cluster_bits
        self.l2_bits = self.bits - 3
        self.size = -(-header.size // SECTOR) * SECTOR
        self.map = Map(file, header)
        self.reader = Reader(file, header, self.map, None)
        self._lock = Lock()
        self._damage: BadDisk | None = None  # found while writing: nothing more is written
        if not self.read_only:
            self.refcounts = Refcounts(file, header, self.map.metadata())
            if header.autoclear:  # "Autoclear features": bitmaps and the like are not kept up to date
                file.write(AUTOCLEAR_AT, bytes(8))
                file.sync()
        if header.backing:
            self.reader.backing = open_in_place(self._backing_path(header.backing), header.backing_format, False, place)

    def _backing_path(self, name: str) -> str:
        name = name.removeprefix("file:")
        if ":" in name.partition("/")[0] or "\0" in name:
            raise BadDisk(f"disk {self.file.path}: it builds on {name!r}", "only files of this host can be read")
        return os.path.join(os.path.dirname(os.path.realpath(self.file.path)), name)

    # the interface

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        with self._lock:
            self.reader.read(offset, views, sum(map(len, views)))

    def write_from(self, offset: int, views: Sequence[memoryview]) -> None:
        with self._lock:
            with self._writing():
                for at, piece in self._by_table(offset, views):
                    self._write(at, piece)
                self._relieve()

    def flush(self) -> None:
        with self._lock:
            if not self.read_only and not self._damage:
                with self._writing():
                    self._write_tables()

    def discard(self, offset: int, length: int) -> None:
        self._empty(offset, length, to_zero=False, unmap=True)

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        end = offset + length
        first = -(-offset // self.cluster) * self.cluster
        last = end if end == self.size else end // self.cluster * self.cluster
        if first >= last or self.header.version < 3:  # no whole cluster, or no such thing as a zero cluster
            for at in range(offset, end, PORTION):
                self._write_zero_bytes(at, min(PORTION, end - at))
            return
        self._write_zero_bytes(offset, first - offset)
        self._empty(first, last - first, to_zero=True, unmap=unmap)
        self._write_zero_bytes(last, end - last)

    def close(self) -> None:
        try:
            if not self.read_only and not self._damage:
                self.refcounts.write()  # what was freed by the last flush
        finally:
            self.file.close()
            if self.reader.backing is not None:
                self.reader.backing.close()

    # writing

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Once damage was found, nothing more is written."""
        if self.read_only:
            raise BadInput(f"disk {self.file.path}: it is open for reading only")
        if self._damage:
            raise self._damage
        try:
            yield
        except BadDisk as error:
            self._damage = error
            raise

    def _by_table(self, offset: int, views: Sequence[memoryview]) -> Iterator[tuple[int, Sequence[memoryview]]]:
        """A request cut where one L2 table ends and the next begins."""
        span = self.cluster << self.l2_bits
        length = sum(map(len, views))
        first = span - offset % span
        if length <= first:
            if length:
                yield offset, views
            return
        sizes = [first] + [min(span, length - at) for at in range(first, length, span)]
        for size, piece in zip(sizes, cut(views, sizes), strict=True):
            yield offset, piece
            offset += size

    def _write(self, offset: int, views: Sequence[memoryview]) -> None:
        """Within one L2 table."""
        mask = self.cluster - 1
        end = offset + sum(map(len, views))
        table = self.map.own(offset >> self.bits + self.l2_bits, self.refcounts)
        base = offset >> self.bits + self.l2_bits << self.l2_bits  # number of the table's first cluster
        while offset < end:
            first, last = (offset >> self.bits) - base, (end - 1 >> self.bits) - base
            entry = table.entries[first]
            if entry & COPIED and not entry & (COMPRESSED | ZERO):
                host, n = self._own_run(table.entries, first, last)
                stop = min(end, base + first + n << self.bits)
                here, views = cut(views, [stop - offset, end - stop])
                self.file.write_from(host + (offset & mask), here)
            else:
                n = 1
                while first + n <= last and not self._is_own(table.entries[first + n]):
                    n += 1
                host, n = self.refcounts.allocate(n)
                stop = min(end, base + first + n << self.bits)
                here, views = cut(views, [stop - offset, end - stop])
                try:
                    self._write_fresh(host, n, offset, here, stop)
                except BaseException:
                    self.refcounts.cancel(host, n)
                    raise
                for at in range(n):
                    old = table.entries[first + at]
                    table.set(first + at, host + (at << self.bits) | COPIED)
                    self._release(old)
            offset = stop

    def _is_own(self, entry: int) -> bool:
        return bool(entry & COPIED) and not entry & (COMPRESSED | ZERO)

    def _own_run(self, entries: Sequence[int], first: int, last: int) -> tuple[int, int]:
        """Clusters in a row that may be written where they are: place in the file, how many."""
        host = entries[first] & OFFSET
        n = 1
        while first + n <= last and entries[first + n] == entries[first] + (n << self.bits):
            n += 1
        if host & self.cluster - 1 or host >= self.file.size:
            raise damaged(self.file, f"a cluster at {host:#x}")
        if not self.refcounts.metadata.isdisjoint(range(host, host + (n << self.bits), self.cluster)):
            raise damaged(self.file, f"the cluster at {host:#x} is also a table")
        return host, n

    def _write_fresh(self, host: int, n: int, offset: int, views: list[memoryview], stop: int) -> None:
        """Fill `n` new clusters: with what is written, and around it with what is there now."""
        mask = self.cluster - 1
        head, tail = offset & mask, -stop & mask
        fresh = host >= self.file.size  # beyond the end of the file: zero by itself
        before, after = self._around(offset - head, head, fresh), self._around(stop, tail, fresh)
        start = host + (0 if before else head)
        self.file.write_from(start, [*before, *views, *after])
        self.file.grow(host + (n << self.bits))

    def _around(self, offset: int, n: int, fresh: bool) -> list[memoryview]:
        """What the disk has there; nothing if that is zero and the place is, too."""
        if not n:
            return []
        kind, _ = self.reader.locate(offset)
        if fresh and (kind == ZEROES or (kind == NOWHERE and self.reader.backing is None)):
            return []
        data = memoryview(bytearray(n))
        there = max(0, min(n, self.size - offset))
        self.reader.read(offset, [data[:there]], there)
        return [data]

    def _release(self, entry: int) -> None:
        """What an entry referred to loses that reference."""
        if entry & COMPRESSED:
            host, size = self.reader.decompressor.place(entry)
            self.refcounts.free_later(host, size)
        elif entry & OFFSET:
            self.refcounts.free_later(self.reader.checked(entry & OFFSET), self.cluster)

    def _write_zero_bytes(self, offset: int, length: int) -> None:
        if length > 0:
            kind, _ = self.reader.locate(offset)
            whole = (offset + length - 1) >> self.bits == offset >> self.bits
            if not whole or not (kind == ZEROES or (kind == NOWHERE and self.reader.backing is None)):
                self.write_from(offset, [memoryview(bytes(length))])

    def _empty(self, offset: int, length: int, to_zero: bool, unmap: bool) -> None:
        """Whole clusters of a range become zero, or nothing in particular."""
        first = -(-offset // self.cluster)
        last = -(-(offset + length) // self.cluster) if offset + length == self.size else offset + length >> self.bits
        can_zero = self.header.version >= 3
        if not to_zero and not can_zero and self.reader.backing is not None:
            return  # the backing file would show through
        with self._lock:
            with self._writing():
                while first < last:
                    number = first >> self.l2_bits
                    stop = min(last, number + 1 << self.l2_bits)
                    self._empty_in_table(number, first, stop, to_zero, unmap)
                    first = stop
                self._relieve()

    def _empty_in_table(self, number: int, first: int, stop: int, to_zero: bool, unmap: bool) -> None:
        bare = self.reader.backing is None
        if self.map.find(number) is None and (bare or not to_zero):
            return
        empty = 0 if bare else ZERO
        table = self.map.own(number, self.refcounts)
        for index in range(first & (1 << self.l2_bits) - 1, (stop - 1 & (1 << self.l2_bits) - 1) + 1):
            old = table.entries[index]
            if not old and (bare or not to_zero):
                continue
            new = old | ZERO if self._is_own(old) and to_zero and not unmap else empty
            if new != old and not (old & ZERO and not unmap):
                table.set(index, new)
                if not new & OFFSET:
                    self._release(old)

    # order

    def _write_tables(self) -> None:
        """In the order that a crash at any moment leaves an image that is right (see above)."""
        self.refcounts.write()
        self.file.sync()
        if self.map.dirty:
            self.map.write()
            self.file.sync()
        self.refcounts.free()

    def _relieve(self) -> None:
        if self.map.crowded or self.refcounts.crowded:
            self._write_tables()
