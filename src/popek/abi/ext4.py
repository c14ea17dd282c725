"""Reading the files of an ext4 file system (Linux, Documentation/filesystems/ext4): extents only, nothing encrypted;
no journal is replayed: what the disk holds is what is read.

Not here: where on a disk the file system is (api/profile_files). Whatever is damaged ends in ValueError.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAGIC_AT, MAGIC = 1024 + 56, b"\x53\xef"
ROOT = 2
EXTENTS, ENCRYPTED = 0x8_0000, 0x800
EXTENT_MAGIC = 0xF30A
UNWRITTEN = 32768  # a longer extent reads as zeros
WIDE = 0x80  # INCOMPAT_64BIT
DEEPEST = 5
LARGEST_FOLDER = 64 << 20

_EXTENT = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIH2x")


class Inode(NamedTuple):
    """A file, folder or something else."""

    mode: int
    size: int
    flags: int
    block: bytes


class Ext4:
    """A file system; `read(offset, size)` gives bytes of it."""

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self._read = read
        s = read(1024, 1024)
        (log_size,) = struct.unpack_from("<I", s, 24)
        if s[56:58] != MAGIC or log_size > 6:
            raise ValueError("no ext4")
        self.block = 1024 << log_size
        self._inodes, self._per_group = struct.unpack_from("<I", s, 0)[0], struct.unpack_from("<I", s, 40)[0]
        self._inode_size = struct.unpack_from("<H", s, 88)[0] or 128
        wide = struct.unpack_from("<I", s, 96)[0] & WIDE
        self._descriptor = struct.unpack_from("<H", s, 254)[0] if wide else 32
        self._groups = (struct.unpack_from("<I", s, 20)[0] + 1) * self.block
        if not self._per_group or self._descriptor < 32 or self._inode_size < 128:
            raise ValueError("damaged ext4")

    def files(self) -> Iterator[tuple[str, Inode]]:
        """All regular files, each once, by one of its names."""
        seen, folders = {ROOT}, [("", ROOT)]
        while folders:
            path, number = folders.pop()
            for name, below in self._entries(self.inode(number)):
                if below in seen:
                    continue
                seen.add(below)
                inode = self.inode(below)
                if stat.S_ISDIR(inode.mode):
                    folders.append((f"{path}/{name}", below))
                elif stat.S_ISREG(inode.mode):
                    yield f"{path}/{name}", inode

    def inode(self, number: int) -> Inode:
        """The inode of that number."""
        if not 0 < number <= self._inodes:
            raise ValueError("no such inode")
        group, index = divmod(number - 1, self._per_group)
        d = self._read(self._groups + group * self._descriptor, self._descriptor)
        table = struct.unpack_from("<I", d, 8)[0]
        if self._descriptor >= 64:
            table |= struct.unpack_from("<I", d, 40)[0] << 32
        i = self._read(table * self.block + index * self._inode_size, 128)
        mode, low = struct.unpack_from("<H2xI", i)
        return Inode(mode, low | struct.unpack_from("<I", i, 108)[0] << 32, *struct.unpack_from("<I4x60s", i, 32))

    def content(self, inode: Inode, start: int, size: int) -> bytes:
        """Bytes of a file; fewer at its end."""
        if not inode.flags & EXTENTS or inode.flags & ENCRYPTED:
            return b""
        end = min(start + size, inode.size)
        if end <= start:
            return b""
        found = bytearray(end - start)
        for logical, physical, count in self._extents(inode.block, DEEPEST):
            first, last = max(start, logical * self.block), min(end, (logical + count) * self.block)
            if first < last:
                data = self._read(physical * self.block + first - logical * self.block, last - first)
                found[first - start : last - start] = data
        return bytes(found)

    def _extents(self, node: bytes, deepest: int) -> Iterator[tuple[int, int, int]]:
        """(block of the file, block of the file system, how many)."""
        magic, count, _, depth = struct.unpack_from("<4H", node)
        if magic != EXTENT_MAGIC or not 0 <= depth <= deepest or 12 + 12 * count > len(node):
            raise ValueError("damaged extents")
        for at in range(12, 12 + 12 * count, 12):
            if depth:
                _, low, high = _INDEX.unpack_from(node, at)
                yield from self._extents(self._read((high << 32 | low) * self.block, self.block), depth - 1)
            else:
                logical, length, high, low = _EXTENT.unpack_from(node, at)
                if length <= UNWRITTEN:
                    yield logical, high << 32 | low, length

    def _entries(self, folder: Inode) -> Iterator[tuple[str, int]]:
        data = self.content(folder, 0, min(folder.size, LARGEST_FOLDER))
        at = 0
        while at + 8 <= len(data):
            number, length, size = struct.unpack_from("<IHB", data, at)
            name = data[at + 8 : at + 8 + size]
            if number and name not in (b".", b".."):
                yield name.decode("utf-8", "replace"), number
            if length < 8:
                raise ValueError("damaged folder")
            at += length
