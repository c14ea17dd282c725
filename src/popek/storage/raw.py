"""A raw disk image: byte n of the disk is byte n of the file. Holes stay holes."""

from __future__ import annotations

from collections.abc import Sequence

from popek.storage.block import HEAD, SECTOR, recognise
from popek.storage.errors import BadDisk, HostProblem
from popek.storage.file import File, cut


class Raw:
    """The disk. A last sector that the file has only a part of is filled with zeroes."""

    def __init__(self, file: File, guessed: bool) -> None:
        self.file = file
        self.read_only = not file.writing
        self.size = -(-file.size // SECTOR) * SECTOR
        if not self.size:
            raise BadDisk(f"disk {file.path}: the file is empty", "make it as large as the disk: truncate -s 4G")
        # The guest must not turn an image whose format we guess into one of another format with a backing file
        self._guard = guessed and not self.read_only

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        self.file.read_into(offset, views)

    def write_from(self, offset: int, views: Sequence[memoryview]) -> None:
        if self._guard and offset < HEAD:
            self._check_head(offset, views)
        self.file.write_from(offset, views)

    def flush(self) -> None:
        self.file.sync()

    def discard(self, offset: int, length: int) -> None:
        self.file.punch(offset, length)

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        self.file.zero(offset, length, unmap)

    def close(self) -> None:
        self.file.close()

    def _check_head(self, offset: int, views: Sequence[memoryview]) -> None:
        head = bytearray(self.file.read(0, HEAD))
        n = min(sum(map(len, views)), HEAD - offset)
        head[offset : offset + n] = b"".join(cut(views, [n])[0])
        if recognise(bytes(head)) != "raw":
            raise HostProblem(
                f"disk {self.file.path}: the guest makes it look like another format; that write was refused",
                "name the format: --disk FILE,format=raw",
            )
