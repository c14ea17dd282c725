"""Reading qcow2 images: from table entries to bytes. Nothing is written here.

QEMU docs/interop/qcow2.txt, "Cluster mapping".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from popek.storage.block import Store
from popek.storage.errors import BadDisk
from popek.storage.file import File, cut
from popek.storage.qcow2_compressed import Decompressor
from popek.storage.qcow2_layout import COMPRESSED, OFFSET, ZERO, Header
from popek.storage.qcow2_map import Map

NOWHERE, ZEROES, DATA, PACKED = range(4)
REPAIR = "repair it: qemu-img check -r all"


class Run(NamedTuple):
    """A part of the disk: what it is, where in the file, how long."""

    kind: int
    host: int
    length: int


class Reader:
    """What the disk holds, by the tables in memory."""

    def __init__(self, file: File, header: Header, tables: Map, backing: Store | None) -> None:
        self.file = file
        self.cluster, self.bits = header.cluster, header.cluster_bits
        self.l2_bits = self.bits - 3
        self.map = tables
        self.decompressor = Decompressor(file, header)
        self.backing = backing

    def read(self, offset: int, views: Sequence[memoryview], length: int) -> None:
        """Fill all of `views`, which have `length` bytes."""
        runs = list(self._runs(offset, length))
        pieces = cut(views, [run.length for run in runs]) if len(runs) > 1 else [views]
        for run, piece in zip(runs, pieces, strict=False):
            if run.kind == DATA:
                self.file.read_into(run.host, piece)
            elif run.kind == PACKED:
                data = self.decompressor.cluster(run.host)
                start = offset & self.cluster - 1
                _copy(piece, data[start : start + run.length])
            elif run.kind == NOWHERE and self.backing is not None:
                self._read_backing(offset, piece, run.length)
            else:
                _copy(piece, bytes(run.length))
            offset += run.length

    def _read_backing(self, offset: int, views: Sequence[memoryview], length: int) -> None:
        assert self.backing is not None
        there = max(0, min(length, self.backing.size - offset))
        inside, beyond = cut(views, [there, length - there])
        if there:
            self.backing.read_into(offset, inside)
        _copy(beyond, bytes(length - there))

    def _runs(self, offset: int, length: int) -> Iterator[Run]:
        """Where the successive parts of a range are."""
        end = offset + length
        found: Run | None = None
        while offset < end:
            n = min(end - offset, self.cluster - (offset & self.cluster - 1))
            kind, host = self.locate(offset)
            if found and found.kind == kind and (kind < DATA or (kind == DATA and found.host + found.length == host)):
                found = Run(kind, found.host, found.length + n)
            else:
                if found:
                    yield found
                found = Run(kind, host, n)
            offset += n
        if found:
            yield found

    def locate(self, offset: int) -> tuple[int, int]:
        """What is at `offset`: kind, and place in the file (of compressed clusters: their entry)."""
        table = self.map.find(offset >> self.bits + self.l2_bits)
        if table is None:
            return NOWHERE, 0
        entry = table.entries[offset >> self.bits & (1 << self.l2_bits) - 1]
        if entry & COMPRESSED:
            return PACKED, entry
        if entry & ZERO:
            return ZEROES, 0
        host = entry & OFFSET
        if not host:
            return NOWHERE, 0
        return DATA, self.checked(host) + (offset & self.cluster - 1)

    def checked(self, host: int) -> int:
        """A place that an entry names, if a cluster can be there."""
        if host & self.cluster - 1:
            raise damaged(self.file, f"a cluster at {host:#x}")
        return host


def damaged(file: File, what: str) -> BadDisk:
    """The error for an image that is not as it should be."""
    return BadDisk(f"disk {file.path}: damaged: {what}", REPAIR)


def _copy(views: Sequence[memoryview], data: bytes | memoryview) -> None:
    at = 0
    for view in views:
        view[:] = data[at : at + len(view)]
        at += len(view)
