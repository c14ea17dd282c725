"""What goes where in guest memory before the first instruction: kernel, firmware, initrd, device tree.

Kernels as QEMU's `-M virt` takes them: Linux's raw `Image` (wrapped or not), ELF kernels, bare-metal ELF programs for
machine mode, flat code after a firmware. Not here: copying into memory (api/machine), making the device tree (abi/fdt).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from popek.abi import elf, flat, wrapping
from popek.base.errors import BadImage, BadInput, HostProblem

RAM_BASE = 0x8000_0000
KERNEL_OFFSET = 0x20_0000  # where S-mode kernels go; the first 2 MiB belong to machine mode
SLOT = 0x20_0000  # the device tree has the topmost 2 MiB to itself
LOW_TOP = 0xC000_0000  # as QEMU: boot data stay below 3 GiB, for 32-bit pointers in firmware
PAGE = 0x1000
NO_FIRMWARE = "none"

_BOOT_HEADER = struct.Struct("<4s4xQQQI12x8s4s")  # Linux Documentation/arch/riscv/boot-image-header.rst
_DYNAMIC_MAGIC, _DYNAMIC_VERSION = 0x4942534F, 2  # OpenSBI include/sbi/fw_dynamic.h
_SUPERVISOR = 1


class Piece(NamedTuple):
    """Bytes at a guest-physical address; memory after `data` up to `size` must be zero, as new memory is."""

    address: int
    data: memoryview
    size: int
    name: str


class Boot(NamedTuple):
    """How a machine starts."""

    pieces: tuple[Piece, ...]
    entry: int
    machine_mode: bool  # all harts start at `entry` in M-mode; else hart 0 in S-mode, the monitor provides SBI
    initrd: tuple[int, int]  # first byte and end, (0, 0) without
    device_tree: int  # where it goes; at most `DEVICE_TREE_ROOM` bytes
    dynamic_info: int  # a2 of a firmware


DEVICE_TREE_ROOM = SLOT - PAGE


def arrange(kernel: str, initrd: str, bios: str, memory: int) -> Boot:
    """Read the files and find a place for everything in `memory` bytes of RAM. Raises PopekError."""
    top = min(RAM_BASE + memory, LOW_TOP) // SLOT * SLOT
    device_tree = top - SLOT
    pieces: list[Piece] = []
    machine_mode = False
    entry = info = 0
    if kernel:
        found, entry, machine_mode = _kernel(kernel, memory, bios)
        pieces += found
    if bios and bios != NO_FIRMWARE:
        found, start = _firmware(bios, memory)
        pieces += found
        info = device_tree + DEVICE_TREE_ROOM
        record = struct.pack("<6Q", _DYNAMIC_MAGIC, _DYNAMIC_VERSION, entry, _SUPERVISOR, 0, 0)
        pieces.append(Piece(info, memoryview(record), PAGE, "the firmware's information"))
        entry, machine_mode = start, True
    place = (0, 0)
    if initrd:
        data = read(initrd, "initrd", memory)
        start = (device_tree - len(data)) // PAGE * PAGE
        place = (start, start + len(data))
        pieces.append(Piece(start, data, len(data), f"initrd {initrd}"))
    _check(pieces, device_tree, memory)
    return Boot(tuple(pieces), entry, machine_mode, place, device_tree, info)


def read(path: str, what: str, limit: int) -> memoryview:
    """A whole file, mapped if it can be, else at most `limit` bytes. `what` names its part in the machine."""
    import mmap
    import os
    import stat

    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size:
                return memoryview(mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ))
            data = file.read(limit + 1)
            if not data:
                raise BadImage(f"{what} {path}: the file is empty")
            if len(data) > limit:
                raise BadImage(f"{what} {path}: larger than the machine's memory")
            return memoryview(data)
    except (FileNotFoundError, NotADirectoryError) as e:
        raise BadInput(f"{what} {path}: there is no such file") from e
    except IsADirectoryError as e:
        raise BadInput(f"{what} {path}: this is a folder, not a file") from e
    except PermissionError as e:
        raise BadInput(f"{what} {path}: you may not read it", "check its permissions") from e
    except (OSError, ValueError) as e:
        raise HostProblem(f"{what} {path}: cannot be read: {e}") from e


def _kernel(path: str, memory: int, bios: str) -> tuple[list[Piece], int, bool]:
    """Pieces, entry, and whether it starts in M-mode."""
    name = f"kernel {path}"
    data = wrapping.unwrap(read(path, "kernel", memory), memory, name)
    if elf.is_elf(data):
        program = elf.parse(data, name)
        if program.interpreter:
            raise BadImage(f"{name}: a program for an operating system, not a kernel")
        pieces, entry = _elf_pieces(program, memory, RAM_BASE + KERNEL_OFFSET)
        bare = min(p.address for p in pieces) == RAM_BASE or bios == NO_FIRMWARE
        return pieces, entry, bare
    size = _size_in_memory(data)
    if size is None and not flat.looks_like_code(data):
        raise BadImage(f"{name}: {_what_it_is(data)}", "give a riscv64 Linux Image or an ELF file")
    address = RAM_BASE + KERNEL_OFFSET
    return [Piece(address, data, max(size or 0, len(data)), name)], address, bios == NO_FIRMWARE


def _firmware(path: str, memory: int) -> tuple[list[Piece], int]:
    name = f"bios {path}"
    data = wrapping.unwrap(read(path, "bios", memory), memory, name)
    if elf.is_elf(data):
        return _elf_pieces(elf.parse(data, name), memory, RAM_BASE)
    if _size_in_memory(data) is not None:
        raise BadImage(f"{name}: a Linux kernel, not a firmware", "give it as the kernel, without --bios")
    if not flat.looks_like_code(data):
        raise BadImage(f"{name}: {_what_it_is(data)}", "give OpenSBI's or U-Boot's .bin or .elf file")
    return [Piece(RAM_BASE, data, len(data), name)], RAM_BASE


def _size_in_memory(data: memoryview) -> int | None:
    """What the header of a RISC-V Linux Image says (it includes the kernel's bss), None if there is no such header."""
    if len(data) < _BOOT_HEADER.size:
        return None
    _, _, size, _, _, magic, magic2 = _BOOT_HEADER.unpack_from(data)
    return size if magic2 == b"RSC\x05" or magic == b"RISCV\0\0\0" else None


def _elf_pieces(program: elf.Elf, memory: int, base: int) -> tuple[list[Piece], int]:
    """Segments at their physical addresses when those are RAM; else moved as a whole to `base` if that can work."""
    end = RAM_BASE + memory
    entry = program.entry
    for segment in program.segments:  # a virtual entry point, as Linux's vmlinux has
        if segment.vaddr <= entry < segment.vaddr + segment.size:
            entry += segment.paddr - segment.vaddr
            break
    else:
        raise BadImage(f"{program.name}: the entry point 0x{entry:x} lies outside of what is loaded")
    low = min(s.paddr for s in program.segments)
    delta = 0
    if not RAM_BASE <= entry < 1 << 56:
        if program.kind != elf.ET_DYN and not any(s.vaddr >> 63 for s in program.segments):
            raise BadImage(
                f"{program.name}: starts at 0x{entry:x}, where this machine has no memory",
                f"link it for 0x{RAM_BASE:x} (machine mode) or 0x{RAM_BASE + KERNEL_OFFSET:x} (a kernel)",
            )
        delta = base - low // PAGE * PAGE
    pieces = []
    for segment in program.segments:
        address = segment.paddr + delta
        below = max(RAM_BASE - address, 0)  # linkers put the ELF header there; QEMU drops it too
        if below >= segment.size:
            continue
        if address + segment.size > end:
            raise BadImage(
                f"{program.name}: needs memory up to 0x{address + segment.size:x}, the machine's ends at 0x{end:x}",
                "give the machine more --memory",
            )
        pieces.append(Piece(address + below, segment.data[below:], segment.size - below, program.name))
    return pieces, entry + delta


def _check(pieces: list[Piece], device_tree: int, memory: int) -> None:
    """Everything inside RAM and nothing over anything else. Segments of one file may touch."""
    places = sorted(pieces, key=lambda p: p.address)
    for piece in places:
        limit = RAM_BASE + memory
        if piece.address < RAM_BASE or piece.address + piece.size > limit:
            raise BadImage(
                f"{piece.name}: {piece.size >> 20} MiB do not fit in {memory >> 20} MiB of memory",
                "give the machine more --memory",
            )
    for lower, upper in zip(places, places[1:], strict=False):
        if lower.address + lower.size > upper.address and lower.name != upper.name:
            raise BadImage(
                f"{lower.name} and {upper.name} do not fit in {memory >> 20} MiB of memory together",
                "give the machine more --memory",
            )
    slot = device_tree, device_tree + DEVICE_TREE_ROOM
    for piece in places:
        if piece.address < slot[1] and piece.address + piece.size > slot[0]:
            raise BadImage(
                f"{piece.name}: leaves no room for the device tree in {memory >> 20} MiB of memory",
                "give the machine more --memory",
            )


_SIGNATURES = (
    (0x38, b"ARMd", "an arm64 kernel, not a RISC-V one"),
    (0x202, b"HdrS", "an x86 kernel, not a RISC-V one"),
    (0, b"070701", "a cpio archive (an initrd?), not a kernel"),
    (0, b"QFI\xfb", "a qcow2 disk image, not a kernel"),
    (0, b"!<arch>", "an archive or a Debian package, not a kernel"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree, not a kernel"),
    (0, b"MZ", "an EFI program, not a kernel"),
    (0, b"#!", "a script, not a kernel"),
    (0x8001, b"CD001", "an ISO image, not a kernel"),
    (510, b"\x55\xaa", "a disk image, not a kernel"),
)


def _what_it_is(data: memoryview) -> str:
    for offset, magic, text in _SIGNATURES:
        if bytes(data[offset : offset + len(magic)]) == magic:
            return text
    head = bytes(data[:256])
    if all(32 <= b < 127 or b in b"\t\n\r\f" for b in head):
        return "a text file, not a kernel"
    return "not a kernel this machine knows"
