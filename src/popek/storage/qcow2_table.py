"""One table of a qcow2 image in memory: its entries, and which of them have changed. Not what they mean."""

from __future__ import annotations

import sys
from array import array

from popek.storage.file import File

_CODES = {3: "B", 4: "H", 5: "I", 6: "Q"}


class Table:
    """`entries` of 2^order bits at `offset` in the file. Change them with `set` only."""

    __slots__ = ("entries", "high", "low", "offset", "order")

    def __init__(self, offset: int, order: int, data: bytes | bytearray) -> None:
        self.offset = offset
        self.order = order
        self.entries = _unpack(data, order)
        self.low, self.high = len(self.entries), -1  # of the changed entries

    def set(self, index: int, value: int) -> None:
        self.entries[index] = value
        if index < self.low:
            self.low = index
        if index > self.high:
            self.high = index

    @property
    def dirty(self) -> bool:
        return self.high >= 0

    def write(self, file: File) -> None:
        """Write what has changed."""
        if self.high < 0:
            return
        if self.order < 3:  # several entries a byte
            self.low, self.high = 0, len(self.entries) - 1
        data = _pack(self.entries[self.low : self.high + 1], self.order)
        file.write(self.offset + (self.low << self.order >> 3), data)
        self.low, self.high = len(self.entries), -1

    def write_all(self, file: File) -> None:
        """Write everything, where nothing was before."""
        self.low, self.high = 0, len(self.entries) - 1
        self.write(file)


def _unpack(data: bytes | bytearray, order: int) -> array[int]:
    if order < 3:
        bits = 1 << order
        mask = (1 << bits) - 1
        return array("B", [byte >> shift & mask for byte in data for shift in range(0, 8, bits)])
    entries = array(_CODES[order])
    entries.frombytes(data)
    if sys.byteorder == "little":
        entries.byteswap()
    return entries


def _pack(entries: array[int], order: int) -> bytes:
    if order < 3:
        bits = 1 << order
        step = 8 >> order
        groups = (entries[at : at + step] for at in range(0, len(entries), step))
        return bytes(sum(value << n * bits for n, value in enumerate(group)) for group in groups)
    entries = entries[:]
    if sys.byteorder == "little":
        entries.byteswap()
    return entries.tobytes()
