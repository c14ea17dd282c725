"""ELF files: the few header fields a loader needs (System V gABI chapters 4 and 5), checked, and nothing else.

Our own lines because every `popek boot` pays for them: pyelftools costs 50 ms of CPU to import, this 1 ms. Not here:
where a file goes in guest memory (abi/image).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from popek.base.errors import BadImage

MAGIC = b"\x7fELF"
EM_RISCV = 243
ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_INTERP = 1, 3
SHT_SYMTAB, SHT_DYNSYM = 2, 11
STT_NOTYPE, STT_FUNC = 0, 2

_MACHINES = {
    2: "SPARC", 3: "32-bit x86", 8: "MIPS", 20: "PowerPC", 21: "64-bit PowerPC", 22: "s390", 40: "32-bit Arm",
    62: "x86-64", 183: "AArch64", 247: "BPF", 258: "LoongArch",
}  # fmt: skip

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYM = struct.Struct("<IBBHQQ")


class Segment(NamedTuple):
    """One PT_LOAD program header: `data` at `paddr`, zeros up to `size`."""

    vaddr: int
    paddr: int
    size: int
    data: memoryview


class Elf(NamedTuple):
    """A 64-bit little-endian RISC-V ELF file."""

    kind: int
    entry: int
    interpreter: bool
    segments: tuple[Segment, ...]
    sections: tuple[int, int, int]  # offset, size and number of section headers
    data: memoryview
    name: str

    def symbol(self, name: str) -> int | None:
        """The value of a global symbol, or None; a damaged symbol table has no symbols."""
        wanted = name.encode()
        return next((one.value for one in symbols(self.data, self.sections) if one.name == wanted), None)


class Symbol(NamedTuple):
    """One entry of a symbol table. `section`: 0 if it is defined elsewhere; `size`: 0 if nobody knows."""

    name: bytes
    kind: int
    section: int
    value: int
    size: int


def symbols(
    data: memoryview, sections: tuple[int, int, int], tables: tuple[int, ...] = (SHT_SYMTAB,)
) -> Iterator[Symbol]:
    """The symbols of the tables of these kinds; `sections` as in Elf. Of a damaged table none."""
    offset, each, number = sections
    if each != _SHDR.size or offset + each * number > len(data):
        return
    headers = [_SHDR.unpack_from(data, offset + i * each) for i in range(number)]
    for header in headers:
        if header[1] not in tables or header[6] >= number:
            continue
        strings = headers[header[6]]
        names = bytes(data[strings[4] : strings[4] + strings[5]])
        table = data[header[4] : header[4] + header[5]]
        for at in range(0, len(table) - _SYM.size + 1, _SYM.size):
            start, info, _, section, value, size = _SYM.unpack_from(table, at)
            end = names.find(b"\0", start)
            if end >= 0:
                yield Symbol(names[start:end], info & 15, section, value, size)


def section_table(data: memoryview) -> tuple[int, int, int]:
    """Elf.sections, of any ELF file; of what is too short, no sections."""
    if len(data) < _EHDR.size:
        return 0, 0, 0
    fields = _EHDR.unpack_from(data)
    return fields[6], fields[11], fields[12]


def functions(data: memoryview) -> list[Symbol]:
    """What code may be called after: functions and untyped symbols of any ELF file, but no mapping symbols (psABI)."""
    return [
        one
        for one in symbols(data, section_table(data), (SHT_SYMTAB, SHT_DYNSYM))
        if one.kind in (STT_NOTYPE, STT_FUNC) and one.section and one.value and one.name and one.name[0] not in b"$."
    ]


def is_elf(data: memoryview) -> bool:
    """Whether this begins as an ELF file does."""
    return bytes(data[:4]) == MAGIC


def parse(data: memoryview, name: str) -> Elf:
    """The checked headers of a RISC-V ELF file; `name` is for error messages. Raises BadImage."""
    if len(data) < 20:
        raise BadImage(f"{name}: a truncated ELF file, {len(data)} bytes")
    machine = int.from_bytes(data[18:20], "big" if data[5] == 2 else "little")
    if machine != EM_RISCV:
        raise BadImage(
            f"{name}: an ELF file for {_MACHINES.get(machine, f'machine {machine}')}, not for RISC-V",
            "give a riscv64 build of it",
        )
    if data[4] != 2 or data[5] != 1:
        raise BadImage(f"{name}: not a 64-bit little-endian RISC-V ELF file", "give a riscv64 build of it")
    if len(data) < _EHDR.size:
        raise BadImage(f"{name}: a truncated ELF file, {len(data)} bytes")
    _, kind, _, _, entry, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, _ = _EHDR.unpack_from(data)
    if kind not in (ET_EXEC, ET_DYN):
        raise BadImage(f"{name}: an ELF file that is not linked (type {kind})", "give a linked program or kernel")
    if phnum and phentsize != _PHDR.size:
        raise BadImage(f"{name}: a damaged ELF file: program headers of {phentsize} bytes")
    if phoff + phnum * _PHDR.size > len(data):
        raise BadImage(f"{name}: a truncated ELF file: the program headers are missing")
    segments = []
    interpreter = False
    for i in range(phnum):
        what, _, offset, vaddr, paddr, filesz, memsz, _ = _PHDR.unpack_from(data, phoff + i * _PHDR.size)
        interpreter = interpreter or what == PT_INTERP
        if what != PT_LOAD or memsz == 0:
            continue
        if filesz > memsz:
            raise BadImage(f"{name}: a damaged ELF file: segment {i} has more bytes than room")
        if offset + filesz > len(data):
            raise BadImage(
                f"{name}: a truncated ELF file: segment {i} ends at byte {offset + filesz}, the file at {len(data)}"
            )
        segments.append(Segment(vaddr, paddr, memsz, data[offset : offset + filesz]))
    if not segments:
        raise BadImage(f"{name}: an ELF file with nothing to load")
    return Elf(kind, entry, interpreter, tuple(segments), (shoff, shentsize, shnum), data, name)
