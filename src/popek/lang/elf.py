"""Reading relocatable ELF objects as LLVM writes them (System V ABI, chapter 4). Placing them is linker.py's."""

from __future__ import annotations

import struct
from typing import NamedTuple

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHT_SYMTAB, SHT_RELA, SHT_NOBITS = 2, 4, 8
STT_SECTION, STT_FUNC = 3, 2


class ObjectError(Exception):
    """An object file that the linker does not understand."""


class Relocation(NamedTuple):
    """A place in a section to fill with something about a symbol."""

    offset: int
    kind: int
    symbol: int
    addend: int


class Section(NamedTuple):
    """A section that takes memory."""

    name: str
    flags: int
    align: int
    size: int
    data: bytes
    relocations: list[Relocation]


class Symbol(NamedTuple):
    """A symbol; `section` is an index into Object.sections, None if the symbol is defined elsewhere."""

    name: str
    local: bool
    function: bool
    section: int | None
    value: int
    size: int


class Object(NamedTuple):
    """One relocatable object."""

    machine: int
    sections: dict[int, Section]
    symbols: list[Symbol]


def read_object(data: bytes) -> Object:
    """Parse an object file."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ObjectError("not a 64-bit little-endian ELF object")
    kind, machine = struct.unpack_from("<HH", data, 16)
    if kind != 1:
        raise ObjectError("not a relocatable object")
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)]
    name_base = headers[names][4]
    sections: dict[int, Section] = {}
    symbols: list[Symbol] = []
    for i, (name, kind, flags, _, offset, length, *_rest, align, _entry) in enumerate(headers):
        if flags & SHF_ALLOC:
            text = _string(data, name_base + name)
            if text.startswith(".eh_frame"):
                continue
            body = b"" if kind == SHT_NOBITS else data[offset : offset + length]
            sections[i] = Section(text, flags, max(align, 1), length, body, [])
    for _name, kind, _flags, _, offset, length, link, _info, _align, _entry in headers:
        if kind == SHT_SYMTAB:
            strings = headers[link][4]
            for at in range(offset, offset + length, 24):
                symbols.append(_symbol(data, at, strings))
    for _name, kind, _flags, _, offset, length, _link, info, _align, _entry in headers:
        if kind == SHT_RELA and info in sections:
            target = sections[info].relocations
            for at in range(offset, offset + length, 24):
                where, what, addend = struct.unpack_from("<QQq", data, at)
                target.append(Relocation(where, what & 0xFFFFFFFF, what >> 32, addend))
    return Object(machine, sections, symbols)


def _symbol(data: bytes, at: int, strings: int) -> Symbol:
    name, info, _other, section, value, size = struct.unpack_from("<IBBHQQ", data, at)
    if section in (0xFFF1, 0xFFF2):  # absolute, common
        section = 0
    return Symbol(_string(data, strings + name), info >> 4 == 0, info & 15 == STT_FUNC, section or None, value, size)


def _string(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
