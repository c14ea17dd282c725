"""Functions of an ELF file and where its code lies: from symbol tables, and from the information for unwinding
(.eh_frame; LSB Core, "DWARF Extensions"), which stripped files have, too: their functions have no names.

Not here: checking files that are to be loaded (elf).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from popek.abi import elf

PT_LOAD = 1
PF_X, SHF_CODE, SHT_PROGBITS, SHT_NOTE = 1, 4, 1, 7
BUILD_ID, NT_GNU_BUILD_ID = b".note.gnu.build-id", 3
PC_RELATIVE = 0x1B  # DW_EH_PE_pcrel | DW_EH_PE_sdata4
MOST = 16 << 20  # bytes of a function
NESTED = 16  # symbols that may begin inside of one function

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SIZES = {2: 2, 3: 4, 10: 2, 11: 4}  # of encoded pointers, others have 8 bytes


class Load(NamedTuple):
    """A part of the file and where it goes."""

    offset: int
    vaddr: int
    size: int
    code: bool


class Section(NamedTuple):
    """One section header, by its first fields."""

    name: bytes
    kind: int
    flags: int
    vaddr: int
    offset: int
    size: int
    link: int
    info: int


class Function(NamedTuple):
    """Code from `start` to `end`. `name`: empty if there is none."""

    start: int
    end: int
    name: str


class Functions:
    """Functions by address."""

    def __init__(self, found: Iterable[Function]) -> None:
        self._all = sorted(found)
        self._starts = [one.start for one in self._all]

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Function]:
        return iter(self._all)

    def at(self, address: int) -> Function | None:
        """The innermost function around an address."""
        after = bisect_right(self._starts, address)
        return next((one for one in self._all[max(after - NESTED, 0) : after][::-1] if address < one.end), None)


def best(names: Iterable[str]) -> str:
    """The name to show of several for one address: `memcpy` rather than `__memcpy`, in any order."""
    return min(names, key=lambda name: (len(name) - len(name.lstrip("_")), len(name), name))


def between(named: dict[int, list[str]], end: int) -> list[Function]:
    """Functions of which only the starts are known: each reaches to the next, the last to `end`."""
    edges = [*sorted(named), end]
    return [Function(start, behind, best(named[start])) for start, behind in pairwise(edges)]


def loads(data: memoryview) -> list[Load]:
    """What of an ELF file goes into memory, of a file for RISC-V with headers that can be read; else nothing."""
    return [
        Load(offset, vaddr, min(size, len(data) - offset), bool(flags & PF_X))
        for kind, flags, offset, vaddr, _, size, _, _ in _headers(data)
        if kind == PT_LOAD and offset < len(data)
    ]


def functions(data: memoryview) -> Functions:
    """The functions of an ELF file, addresses as linked."""
    sections = _sections(data)
    ends = _unwound(data, sections)
    named: dict[int, list[str]] = {}
    for one in elf.functions(data):
        named.setdefault(one.value, []).append(one.name.decode("utf-8", "replace"))
        if one.size:
            ends[one.value] = max(ends.get(one.value, 0), one.value + one.size)
    found = [
        Function(s.vaddr, s.vaddr + s.size, s.name.decode("utf-8", "replace"))
        for s in sections
        if s.flags & SHF_CODE and s.name != b".text"
    ]
    limits = sorted(s.vaddr + s.size for s in sections if s.flags & SHF_CODE)
    covered = 0
    for start, after in pairwise([*sorted(set(named) | set(ends)), 1 << 64]):
        end = ends.get(start, 0) or min(after, *(limit for limit in limits if limit > start), start + MOST)
        if start in named or start >= covered:
            found.append(Function(start, end, best(named[start]) if start in named else ""))
            covered = max(covered, end)
    return Functions(found)


def build_id(data: memoryview) -> bytes:
    """What the linker calls the file, which its separate file with debugging information has, too; empty without."""
    for section in _sections(data):
        note = bytes(data[section.offset : section.offset + section.size])
        if section.name == BUILD_ID and note[4:5] and note[8:16] == struct.pack("<I4s", NT_GNU_BUILD_ID, b"GNU"):
            return note[16 : 16 + int.from_bytes(note[4:8], "little")]
    return b""


def _headers(data: memoryview) -> list[tuple[int, ...]]:
    if len(data) < _EHDR.size or not elf.is_elf(data) or data[4] != 2 or data[5] != 1:
        return []
    fields = _EHDR.unpack_from(data)
    machine, offset, size, number = fields[2], fields[5], fields[9], fields[10]
    if machine != elf.EM_RISCV or size != _PHDR.size or offset + size * number > len(data):
        return []
    return [_PHDR.unpack_from(data, offset + i * size) for i in range(number)]


def section_headers(data: memoryview) -> list[Section]:
    """The sections of any ELF file, by number; of a damaged table none."""
    offset, each, number = elf.section_table(data)
    if not elf.is_elf(data) or each != _SHDR.size or offset + each * number > len(data):
        return []
    (names,) = struct.unpack_from("<H", data, _EHDR.size - 2)
    if names >= number:
        return []
    headers = [_SHDR.unpack_from(data, offset + i * each) for i in range(number)]
    texts = bytes(data[headers[names][4] : headers[names][4] + headers[names][5]])
    return [Section(texts[header[0] :].partition(b"\0")[0], *header[1:8]) for header in headers]


def _sections(data: memoryview) -> list[Section]:
    return [section for section in section_headers(data) if section.kind in (SHT_PROGBITS, SHT_NOTE)]


def _unwound(data: memoryview, sections: list[Section]) -> dict[int, int]:
    """Start -> end of what can be unwound."""
    found: dict[int, int] = {}
    section = next((s for s in sections if s.name == b".eh_frame"), None)
    if section is None:
        return found
    begin, end = section.offset, min(section.offset + section.size, len(data))
    at, plain = begin, {}
    while at + 16 <= end:
        length, back = struct.unpack_from("<II", data, at)
        if not 4 <= length < 0xFFFF_FFF0:
            break
        if back == 0:  # what the entries that point here have in common
            plain[at] = _is_plain(bytes(data[at + 8 : at + 4 + length]))
        elif plain.get(at + 4 - back):
            distance, size = struct.unpack_from("<iI", data, at + 8)
            start = section.vaddr + at + 8 - begin + distance
            if 0 < size < MOST:
                found[start] = start + size
        at += 4 + length
    return found


def _is_plain(common: bytes) -> bool:
    """Are places given in 32 bits, relative to where they stand?"""
    letters, _, rest = common[1:].partition(b"\0")
    if letters[:1] != b"z" or not set(letters) <= set(b"zRLPSB"):
        return False
    at = 0
    for _ in range(4):  # LEB128: code and data alignment, return address, length of what follows
        while at < len(rest) and rest[at] & 0x80:
            at += 1
        at += 1
    for letter in letters[1:].decode():
        if letter == "R":
            return rest[at : at + 1] == bytes([PC_RELATIVE])
        at += {"L": 1, "P": 1 + _SIZES.get(rest[at] & 15, 8) if at < len(rest) else 0}.get(letter, 0)
    return False
