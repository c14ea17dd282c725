"""The programs that a machine can run, as far as they can be found from outside: in its initrd, on its disks (ext4,
with partitions or without), in its kernel, which carries the vdso. Not here: comparing them with what ran.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from functools import partial

from popek.abi import elf, image, newc, wrapping
from popek.abi.ext4 import Ext4
from popek.api.profile_pages import PAGE
from popek.api.spec import Disk, Spec
from popek.base.errors import PopekError

SECTOR = 512
LIMIT = 4 << 30  # bytes that an initrd may unpack to
LARGEST = 1 << 30  # bytes of a program
PARTITIONS = 128
HEAD = 64
VDSO = "vdso"
_MBR = struct.Struct("<4xB3xII")
_Files = Iterator[tuple[str, memoryview]]
_DAMAGED = (ValueError, IndexError, struct.error, PopekError, OSError)


def programs(spec: Spec, tell: Callable[[str], None]) -> _Files:
    """(name, ELF file); pipes are empty by now. `tell` hears of what could not be read."""
    for path, what in ((spec.kernel, "kernel"), (spec.bios if spec.bios != image.NO_FIRMWARE else "", "bios")):
        if os.path.isfile(path):
            yield from _guarded(_of_kernel(path, what, spec.memory), path, tell)
    if os.path.isfile(spec.initrd):
        yield from _guarded(_of_initrd(spec.initrd), spec.initrd, tell)
    for disk in spec.disks:
        yield from _guarded(_of_disk(disk), disk.path, tell)


def _guarded(files: _Files, path: str, tell: Callable[[str], None]) -> _Files:
    """As many of the files as can be had."""
    try:
        yield from files
    except PopekError as error:
        tell(f"no more names from there: {error}")
    except _DAMAGED as error:
        tell(f"{path}: no more names from there: {error}")


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _of_kernel(path: str, what: str, memory: int) -> _Files:
    data = wrapping.unwrap(image.read(path, what, memory), memory, f"{what} {path}")
    if elf.is_elf(data):
        yield _base(path), data
        return
    whole = bytes(data)
    at = 0
    while (at := whole.find(elf.MAGIC, at)) >= 0:
        if at % PAGE == 0:
            yield VDSO, data[at:]
        at += 1


def _of_initrd(path: str) -> _Files:
    for name, data in newc.files(image.read(path, "initrd", LIMIT), LIMIT, f"initrd {path}"):
        if elf.is_elf(data):
            yield _base(name), data


def _of_disk(disk: Disk) -> _Files:
    from popek.storage.block import open_disk

    store = open_disk(disk.path, disk.format, True, False, disk.backing_anywhere)
    try:

        def read(start: int, offset: int, size: int) -> bytes:
            offset += start
            if offset < 0 or offset + size > store.size:
                raise ValueError("beyond the end of the disk")
            found = bytearray(size)
            store.read_into(offset, [memoryview(found)])
            return bytes(found)

        for start in _starts(partial(read, 0)):
            try:
                system = Ext4(partial(read, start))
            except _DAMAGED:
                continue
            for name, inode in system.files():
                if HEAD <= inode.size <= LARGEST and elf.is_elf(memoryview(system.content(inode, 0, HEAD))):
                    yield _base(name), memoryview(system.content(inode, 0, inode.size))
    finally:
        store.close()


def _starts(read: Callable[[int, int], bytes]) -> list[int]:
    """Where file systems may begin: the disk, its partitions (MBR; UEFI Specification, "GUID Partition Table")."""
    found = [0]
    first = read(0, SECTOR)
    if first[510:] != b"\x55\xaa":
        return found
    for kind, start, size in (_MBR.unpack_from(first, 446 + 16 * i) for i in range(4)):
        if kind == 0xEE:
            head = read(SECTOR, SECTOR)
            table, count, each = struct.unpack_from("<QII", head, 72)
            if head[:8] == b"EFI PART" and 128 <= each <= PAGE:
                for i in range(min(count, PARTITIONS)):
                    entry = read(table * SECTOR + i * each, 48)
                    if any(entry[:16]):
                        found.append(struct.unpack_from("<Q", entry, 32)[0] * SECTOR)
        elif kind and size:
            found.append(start * SECTOR)
    return found
