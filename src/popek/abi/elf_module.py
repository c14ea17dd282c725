"""Code of files that are linked when they are loaded (ET_REL: kernel modules): sections, what linking leaves as it is,
functions. Not here: files that are linked already (elf_functions).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from popek.abi import elf
from popek.abi.elf_functions import Function, Functions, best

ET_REL = 1
SHT_RELA = 4
SECTIONS = (b".text", b".init.text")
WIDEST = 8  # bytes that a relocation changes: auipc and jalr

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_RELA = struct.Struct("<QQq")


class Code(NamedTuple):
    """A section. `fixed`: 255 for each byte that is the same wherever the module is, else 0."""

    content: bytes
    fixed: bytes
    functions: Functions


def codes(data: memoryview) -> list[Code]:
    """The code of a module for RISC-V; of anything else, and of what is damaged, nothing."""
    if len(data) < _EHDR.size or not elf.is_elf(data):
        return []
    fields = _EHDR.unpack_from(data)
    kind, machine, offset = fields[1], fields[2], fields[6]
    size, number, names = fields[11:14]
    if kind != ET_REL or machine != elf.EM_RISCV or size != _SHDR.size or offset + size * number > len(data):
        return []
    headers = [_SHDR.unpack_from(data, offset + i * size) for i in range(number)]
    if names >= number:
        return []
    texts = bytes(data[headers[names][4] : headers[names][4] + headers[names][5]])
    named: dict[int, dict[int, list[elf.Symbol]]] = {}
    for one in elf.symbols(data, (offset, size, number)):
        if one.kind == elf.STT_FUNC:
            named.setdefault(one.section, {}).setdefault(one.value, []).append(one)
    found = []
    for i, header in enumerate(headers):
        if texts[header[0] :].partition(b"\0")[0] in SECTIONS and header[4] + header[5] <= len(data):
            content = bytes(data[header[4] : header[4] + header[5]])
            fixed = _fixed(data, headers, i, len(content))
            functions = Functions(
                Function(
                    start, start + max(s.size for s in there), best(s.name.decode("utf-8", "replace") for s in there)
                )
                for start, there in named.get(i, {}).items()
            )
            found.append(Code(content, fixed, functions))
    return found


def _fixed(data: memoryview, headers: list[tuple[int, ...]], section: int, size: int) -> bytes:
    fixed = bytearray(b"\xff" * size)
    for header in headers:
        if header[1] == SHT_RELA and header[7] == section:
            table = data[header[4] : header[4] + header[5]]
            for at, _, _ in _RELA.iter_unpack(table[: len(table) // _RELA.size * _RELA.size]):
                if at < size:
                    fixed[at : at + WIDEST] = bytes(min(WIDEST, size - at))
    return bytes(fixed)
