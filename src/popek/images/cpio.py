"""Writing initramfs archives: cpio "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

Owners, modes and device nodes are only numbers in the archive: no root is needed. Uncompressed, because the guest
pays for unpacking.
"""

from __future__ import annotations

import stat
from typing import BinaryIO


class Cpio:
    """An archive being written to `out`; every folder on the way to a name is made by itself, once."""

    def __init__(self, out: BinaryIO) -> None:
        self.out = out
        self.size = 0
        self.inode = 0
        self.made: set[str] = set()

    def folder(self, name: str, mode: int = 0o755) -> None:
        """A directory."""
        name = name.strip("/")
        if name and name not in self.made:
            self._parents(name)
            self.made.add(name)
            self._entry(name, stat.S_IFDIR | mode, b"", links=2)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A regular file."""
        self._new(name)
        self._entry(name.strip("/"), stat.S_IFREG | mode, data)

    def hard_links(self, names: list[str], data: bytes, mode: int = 0o644) -> None:
        """One file with several names: the content comes with the last."""
        self.inode += 1
        inode = self.inode
        for name in names:
            self._new(name)
            self._entry(name.strip("/"), stat.S_IFREG | mode, data if name is names[-1] else b"", len(names), inode)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._new(name)
        self._entry(name.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, kind: str, major: int, minor: int, mode: int = 0o600) -> None:
        """A character (`c`) or block (`b`) device."""
        self._new(name)
        self._entry(name.strip("/"), (stat.S_IFCHR if kind == "c" else stat.S_IFBLK) | mode, b"", device=(major, minor))

    def close(self) -> None:
        """The trailer; archives may follow one another, each padded to 512 bytes."""
        self._entry("TRAILER!!!", 0, b"", inode=0)
        self._write(b"\0" * (-self.size % 512))

    def _new(self, name: str) -> None:
        name = name.strip("/")
        if name in self.made:
            raise ValueError(f"{name} is in the archive already")
        self._parents(name)
        self.made.add(name)

    def _parents(self, name: str) -> None:
        parent = name.rpartition("/")[0]
        if parent:
            self.folder(parent)

    def _entry(
        self,
        name: str,
        mode: int,
        data: bytes,
        links: int = 1,
        inode: int | None = None,
        device: tuple[int, int] = (0, 0),
    ) -> None:
        if inode is None:
            self.inode += 1
            inode = self.inode
        raw = name.encode() + b"\0"
        numbers = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(raw), 0)
        self._write(b"070701" + b"".join(b"%08X" % number for number in numbers) + raw)
        self._write(b"\0" * (-self.size % 4))
        self._write(data)
        self._write(b"\0" * (-self.size % 4))

    def _write(self, data: bytes) -> None:
        self.out.write(data)
        self.size += len(data)
