"""Code of files that are linked when they are loaded (ET_REL: kernel modules): sections, what linking leaves as it is,
functions. Not here: files that are linked already (elf_functions).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from popek.abi import elf
from popek.abi.elf_functions import Function, Functions, Section, best, section_headers

ET_REL = 1
SHT_RELA = 4
SECTIONS = (b".text", b".init.text")
WIDEST = 8  # bytes that a relocation changes: auipc and jalr

_RELA = struct.Struct("<QQq")


class Code(NamedTuple):
    """A section. `fixed`: 255 for each byte that is the same wherever the module is, else 0."""

    content: bytes
    fixed: bytes
    functions: Functions


def codes(data: memoryview) -> list[Code]:
    """The code of a module for RISC-V; of anything else, and of what is damaged, nothing."""
    sections = section_headers(data)
    if not sections or struct.unpack_from("<HH", data, 16) != (ET_REL, elf.EM_RISCV):
        return []
    named: dict[int, dict[int, list[elf.Symbol]]] = {}
    for one in elf.symbols(data, elf.section_table(data)):
        if one.kind == elf.STT_FUNC:
            named.setdefault(one.section, {}).setdefault(one.value, []).append(one)
    found = []
    for i, section in enumerate(sections):
        if section.name in SECTIONS and section.offset + section.size <= len(data):
            content = bytes(data[section.offset : section.offset + section.size])
            fixed = _fixed(data, sections, i, len(content))
            functions = Functions(
                Function(
                    start, start + max(s.size for s in there), best(s.name.decode("utf-8", "replace") for s in there)
                )
                for start, there in named.get(i, {}).items()
            )
            found.append(Code(content, fixed, functions))
    return found


def _fixed(data: memoryview, sections: list[Section], number: int, size: int) -> bytes:
    fixed = bytearray(b"\xff" * size)
    for section in sections:
        if section.kind == SHT_RELA and section.info == number:
            table = data[section.offset : section.offset + section.size]
            for at, _, _ in _RELA.iter_unpack(table[: len(table) // _RELA.size * _RELA.size]):
                if at < size:
                    fixed[at : at + WIDEST] = bytes(min(WIDEST, size - at))
    return bytes(fixed)
