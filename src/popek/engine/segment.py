"""One file of the code cache: compiled regions with a sorted index, mapped and never changed after it got its name.

Form, little endian: header (``_HEADER``), records (``_RECORD``, then the image, both aligned to 8), then the index: for
each record key << 32 | place // 8 (u64), in ascending order. Header and index carry a checksum that
is verified when the file is opened; each record carries one that is verified whenever it is used. The checksums include
the fingerprint of the engine that made the file. Who makes, finds and forgets files is codecache's concern.
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

try:  # what hashlib.blake2b is, without loading OpenSSL
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

from popek.base import private

PLACE = ("popek", "regions")  # below the user's cache folder
HEAD = 8  # bytes of guest code that a region is found by
LARGEST = 1 << 20  # bytes of an image
_MAGIC = b"popekrs1"
_HEADER = struct.Struct("<8sIIQ16s")  # magic, number of records, nothing, place of the index, checksum
_RECORD = struct.Struct("<16sIHBx8s")  # checksum, size of the image, entry's offset in its page, length of head, head
_SUMMED = 16  # a record is summed from here


def is_segment(name: str) -> bool:
    """By its name; a file that is being written has another one."""
    return name.endswith(".seg") and not name.startswith(".")


class Damaged(Exception):
    """Not a segment, or no longer."""


class Record(NamedTuple):
    """One region: where its entry lies in a page, the guest bytes there, and the image."""

    offset: int
    head: bytes
    image: bytes

    def fits(self, head: bytes) -> bool:
        return head.startswith(self.head)


def key(offset: int, head: bytes) -> int:
    """What the index is sorted by, 28 bits: place and first bytes of the first instruction."""
    return offset << 16 | head[0] | head[1] << 8


def _sum(fingerprint: bytes, *parts: bytes | memoryview) -> bytes:
    total = blake2b(digest_size=16, key=fingerprint[:64])
    for part in parts:
        total.update(part)
    return total.digest()


def pack(fingerprint: bytes, records: list[Record]) -> bytes:
    """A segment's bytes."""
    parts, index, at = [b""], [], _HEADER.size
    for record in records:
        rest = _RECORD.pack(b"", len(record.image), record.offset, len(record.head), record.head)[_SUMMED:]
        index.append(key(record.offset, record.head) << 32 | at >> 3)
        padding = bytes(-len(record.image) % 8)
        parts += [_sum(fingerprint, rest, record.image), rest, record.image, padding]
        at += _RECORD.size + len(record.image) + len(padding)
    table = struct.pack(f"<{len(index)}Q", *sorted(index))
    fields = (_MAGIC, len(records), 0, at)
    parts[0] = _HEADER.pack(*fields, _sum(fingerprint, _HEADER.pack(*fields, b""), table))
    return b"".join([*parts, table])


class Segment:
    """An open file. Reading it raises Damaged if it is not what was written."""

    def __init__(self, folder: int, name: str, fingerprint: bytes) -> None:
        """Raises Damaged; OSError or NotOurs if the file cannot be had."""
        self.name = name
        self.touched = 0.0  # when it was last said to be of use
        self._fingerprint = fingerprint
        file = private.open_file(folder, name)
        try:
            self.size = os.fstat(file).st_size
            if self.size < _HEADER.size:
                raise Damaged("cut short")
            self._map = mmap.mmap(file, self.size, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(file)
        try:
            self._view = memoryview(self._map)
            self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        magic, self.count, zero, index, total = _HEADER.unpack_from(self._view)
        if magic != _MAGIC or zero or index + 8 * self.count != self.size or index < _HEADER.size:
            raise Damaged("not a segment of this version, or cut short")
        self._index = self._view[index:].cast("Q")
        if _sum(self._fingerprint, _HEADER.pack(magic, self.count, 0, index, b""), self._view[index:]) != total:
            raise Damaged("wrong checksum")

    def close(self) -> None:
        """Unmap it."""
        for view in ("_index", "_view"):
            if hasattr(self, view):
                getattr(self, view).release()
        try:
            self._map.close()
        except BufferError:  # somebody still looks: it goes with the last view
            pass

    def _intact(self) -> None:
        """A file cut short by somebody would end the process (SIGBUS) at the next look."""
        if self._map.size() < self.size:
            raise Damaged("cut short while in use")

    def find(self, offset: int, head: bytes) -> list[Record]:
        """The regions whose own beginning is at `offset`, with bytes that begin `head`."""
        self._intact()
        wanted = key(offset, head)
        at = bisect_left(self._index, wanted << 32)
        found = []
        while at < self.count and (entry := self._index[at]) >> 32 == wanted:
            record = self._read((entry & 0xFFFF_FFFF) << 3, offset, head)
            if record is not None:
                found.append(record)
            at += 1
        return found

    def records(self) -> Iterator[Record]:
        """All regions, in the order they were written."""
        self._intact()
        for place in sorted(entry & 0xFFFF_FFFF for entry in self._index):
            record = self._read(place << 3)
            if record is not None:
                yield record

    def _read(self, place: int, at: int = -1, guest: bytes = b"") -> Record | None:
        """A copy, verified: what happens to the file later does not change it. None if it is not wanted."""
        start = place + _RECORD.size
        if start > self.size:
            raise Damaged("a record lies outside")
        total, size, offset, length, head = _RECORD.unpack_from(self._view, place)
        if at >= 0 and (offset != at or not guest.startswith(head[:length])):
            return None  # or damaged, and then not wanted either
        if start + size > self.size:
            raise Damaged("a record lies outside")
        image = bytes(self._view[start : start + size])
        if _sum(self._fingerprint, self._view[place + _SUMMED : start], image) != total:
            raise Damaged("a record has a wrong checksum")
        return Record(offset, head[:length], image)
