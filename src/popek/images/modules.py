"""Kernel modules made cheap to load: without their signature and the symbols nobody refers to.

A guest of ours pays for every byte it loads. Checking ext4's signature costs it 1.3 G instructions, twice as much as
the whole rest of a boot, and vouches for nothing: the package the module is from has been verified by its hash. RISC-V
modules also carry a label for every branch target, four fifths of their size. Code and data stay as they are.

Formats: gABI chapter 4 (sections, symbols), chapter "Relocation"; Linux, include/linux/module_signature.h.
"""

from __future__ import annotations

import struct
from itertools import chain
from typing import NamedTuple

MARK = b"~Module signature appended~\n"  # after: signature, 12-byte struct module_signature whose last 4 are its length
SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_GROUP = 2, 4, 8, 17
STB_LOCAL = 0
STT_NOTYPE = 0

_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")


class Section(NamedTuple):
    """A section header (Elf64_Shdr)."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


def unsigned(module: bytes) -> bytes:
    """Without the signature appended to it."""
    if not module.endswith(MARK):
        return module
    end = len(module) - len(MARK)
    length = int.from_bytes(module[end - 4 : end], "big")
    start = end - 12 - length
    return module[:start] if start >= 64 else module


def slim(module: bytes) -> bytes:
    """Without signature and without labels; a module that is not understood stays as it is."""
    module = unsigned(module)
    try:
        return _slim(module)
    except (struct.error, IndexError, ValueError):
        return module


def _slim(module: bytes) -> bytes:
    if module[:6] != b"\x7fELF\2\1":
        raise ValueError("no 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", module, 40)
    size, count, _ = struct.unpack_from("<HHH", module, 58)
    if size != _SECTION.size or table + size * count > len(module):
        raise ValueError("unusual section headers")
    sections = [Section(*_SECTION.unpack_from(module, table + i * size)) for i in range(count)]
    symtabs = [i for i, section in enumerate(sections) if section.kind == SHT_SYMTAB]
    if len(symtabs) != 1 or any(section.kind == SHT_GROUP for section in sections):
        raise ValueError("unusual sections")
    symtab = sections[symtabs[0]]
    content = [b"" if s.kind == SHT_NOBITS else module[s.offset : s.offset + s.size] for s in sections]
    relocations = [i for i, s in enumerate(sections) if s.kind == SHT_RELA and s.link == symtabs[0]]
    referred = {info >> 32 for i in relocations for _, info, _ in _RELA.iter_unpack(content[i])}
    symbols = list(_SYMBOL.iter_unpack(content[symtabs[0]]))
    kept = [
        number
        for number, (_, info, _, _, _, _) in enumerate(symbols)
        if number == 0 or number in referred or info >> 4 != STB_LOCAL or info & 15 != STT_NOTYPE
    ]
    renumbered = {old: new for new, old in enumerate(kept)}
    old_names = content[symtab.link]
    names = bytearray(b"\0")
    seen: dict[bytes, int] = {b"": 0}
    new_symbols = []
    for number in kept:
        at, *rest = symbols[number]
        name = old_names[at : old_names.index(b"\0", at)]
        if name.startswith((b".L", b"$")):  # referred to, but by number only
            name = b""
        if name not in seen:
            seen[name] = len(names)
            names += name + b"\0"
        new_symbols.append(_SYMBOL.pack(seen[name], *rest))
    locals_ = sum(1 for number in kept if symbols[number][1] >> 4 == STB_LOCAL)
    content[symtabs[0]] = b"".join(new_symbols)
    content[symtab.link] = bytes(names)
    for i in relocations:
        entries = (
            (offset, renumbered[info >> 32] << 32 | info & 0xFFFFFFFF, addend)
            for offset, info, addend in _RELA.iter_unpack(content[i])
        )
        flat = list(chain.from_iterable(entries))
        content[i] = struct.pack("<" + "QQq" * (len(flat) // 3), *flat)
    return _written(module[:64], sections, content, symtabs[0], locals_)


def _written(header: bytes, sections: list[Section], content: list[bytes], symtab: int, locals_: int) -> bytes:
    """The file again: sections in their old order, each at its alignment, the headers last."""
    out = bytearray(header)
    placed = list(sections)
    for i in sorted(range(len(sections)), key=lambda i: sections[i].offset):
        section = sections[i]
        if i == 0:
            continue
        out += bytes(-len(out) % max(section.align, 1))
        placed[i] = section._replace(
            offset=len(out),
            size=section.size if section.kind == SHT_NOBITS else len(content[i]),
            info=locals_ if i == symtab else section.info,
        )
        out += content[i]
    out += bytes(-len(out) % 8)
    struct.pack_into("<Q", out, 40, len(out))
    for section in placed:
        out += _SECTION.pack(*section)
    return bytes(out)
