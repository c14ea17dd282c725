"""Relocation kinds of the host architectures: how to fill the places an object file marks. One class an architecture.

x86-64: System V ABI, AMD64 supplement, section 4.4. AArch64: "ELF for the Arm 64-bit Architecture", section 5.7.
"""

from __future__ import annotations

import struct
from typing import Protocol

from popek.lang.elf import ObjectError


class Architecture(Protocol):
    """What the linker must know of an architecture."""

    page: int
    stub_size: int
    absolute: int  # kind: 64-bit address
    got: frozenset[int]  # kinds that refer to the symbol's slot in the table of addresses
    calls: frozenset[int]  # kinds that may go to a stub

    def stub(self, at: int, slot: int) -> bytes: ...
    def apply(self, image: bytearray, kind: int, place: int, target: int) -> None: ...


class X86:
    """x86-64, ELF machine 62."""

    page = 4096
    stub_size = 8
    absolute = 1
    got = frozenset({9, 41, 42})  # GOTPCREL, GOTPCRELX, REX_GOTPCRELX
    calls = frozenset({2, 4})  # PC32, PLT32

    def stub(self, at: int, slot: int) -> bytes:
        """jmp *slot(%rip)"""
        return b"\xff\x25" + struct.pack("<i", slot - (at + 6)) + b"\x66\x90"

    def apply(self, image: bytearray, kind: int, place: int, target: int) -> None:
        """Fill a PC-relative place."""
        if kind == 24:  # PC64
            struct.pack_into("<q", image, place, target - place)
        elif kind in (2, 4, 9, 41, 42):
            struct.pack_into("<i", image, place, target - place)
        else:
            raise ObjectError(f"x86-64 relocation {kind} is not position independent")


class Arm:
    """AArch64, ELF machine 183."""

    page = 65536
    stub_size = 16
    absolute = 257
    got = frozenset({311, 312})  # ADR_GOT_PAGE, LD64_GOT_LO12_NC
    calls = frozenset({282, 283})  # JUMP26, CALL26
    _scale = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4, 312: 3}

    def stub(self, at: int, slot: int) -> bytes:
        """adrp x16, slot; ldr x16, [x16, slot]; br x16; nop"""
        image = bytearray(struct.pack("<IIII", 0x90000010, 0xF9400210, 0xD61F0200, 0xD503201F))
        page = ((slot & ~0xFFF) - (at & ~0xFFF)) >> 12
        self._adr(image, 0, page)
        self._low(image, 4, slot, 3)
        return bytes(image)

    def _adr(self, image: bytearray, at: int, page: int) -> None:
        (word,) = struct.unpack_from("<I", image, at)
        word = (word & 0x9F00001F) | ((page & 3) << 29) | (((page >> 2) & 0x7FFFF) << 5)
        struct.pack_into("<I", image, at, word)

    def _low(self, image: bytearray, at: int, target: int, scale: int) -> None:
        (word,) = struct.unpack_from("<I", image, at)
        struct.pack_into("<I", image, at, (word & ~(0xFFF << 10)) | (((target & 0xFFF) >> scale) << 10))

    def apply(self, image: bytearray, kind: int, place: int, target: int) -> None:
        """Fill a PC-relative place."""
        if kind in (275, 276, 311):  # ADR_PREL_PG_HI21(_NC), ADR_GOT_PAGE
            self._adr(image, place, ((target & ~0xFFF) - (place & ~0xFFF)) >> 12)
        elif kind in self._scale:
            self._low(image, place, target, self._scale[kind])
        elif kind in self.calls:
            (word,) = struct.unpack_from("<I", image, place)
            struct.pack_into("<I", image, place, (word & 0xFC000000) | (((target - place) >> 2) & 0x3FFFFFF))
        elif kind == 261:  # PREL32
            struct.pack_into("<i", image, place, target - place)
        elif kind == 260:  # PREL64
            struct.pack_into("<q", image, place, target - place)
        else:
            raise ObjectError(f"AArch64 relocation {kind} is not position independent")


ARCHITECTURES: dict[int, Architecture] = {62: X86(), 183: Arm()}
