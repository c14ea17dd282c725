"""Compiling a region: from a request to its packed image. Runs in the worker process; needs llvmlite.

Lives here: driving LLVM, and taking its object apart. Not here: what the text says (form, lower, frame).
"""

from __future__ import annotations

import re
import struct
from functools import cache
from typing import Any

from popek.engine.optimizing import tables
from popek.engine.optimizing.form import Block, form
from popek.engine.optimizing.frame import function
from popek.engine.optimizing.image import PAGE, Region, RegionFlag, Reloc, Relocation, Request, Span, Symbol, pack
from popek.engine.optimizing.lower import Lowering
from popek.engine.template.compiler import host_machine
from popek.lang.elf import read_object

_SYMBOLS = {s.name.lower(): s for s in Symbol}
_PC32, _PLT32 = 2, 4  # R_X86_64_*: System V ABI, AMD64 supplement, "Relocation Types"
_STRICT = re.compile(r" strictfp$", re.M)


class RegionError(Exception):
    """LLVM made something that cannot be a region."""


@cache
def _tables() -> tables.Tables:
    return tables.load()


@cache
def _machine() -> Any:
    import llvmlite.binding as llvm

    llvm.set_option("", "-disable-lsr")  # rewrites what checks have in common into one induction variable each
    return host_machine(opt=1, reloc="pic")


def region_text(request: Request) -> tuple[str, Lowering, list[Block]] | None:
    """LLVM text of the region around the request's entry; None if there is nothing worth compiling."""
    known = _tables()
    blocks = form(request, known)
    if not blocks:
        return None
    lowering = Lowering(blocks, known.layout, request.entry, request.bare)
    body = lowering.lower()
    entry = request.entry & (PAGE - 1)
    spans = sorted(lowering.checks.spans)
    text = function(known.layout, body, lowering.writer.floats, request.bare, spans, entry, known.declarations)
    return _STRICT.sub(" #1", text), lowering, blocks


def emit_object(text: str) -> bytes:
    """Machine code for this host."""
    import llvmlite.binding as llvm

    machine = _machine()
    module = llvm.parse_assembly(text)
    return bytes(machine.emit_object(module))


def compile_region(request: Request) -> bytes | None:
    """The packed image of the region around the request's entry; None if it is not worth it.

    Raises RegionError if the compiler made something unusable.
    """
    made = region_text(request)
    if made is None:
        return None
    text, lowering, blocks = made
    code, relocations = take_apart(emit_object(text))
    steps = [step for block in blocks for step in block.steps]
    return pack(
        Region(
            code,
            relocations,
            spans(request, [(s.pc, s.instruction.length) for s in steps]),
            request.entry & (PAGE - 1),
            len(lowering.checks.views),
            len(steps),
            RegionFlag.BARE if request.bare else RegionFlag(0),
        )
    )


def spans(request: Request, instructions: list[tuple[int, int]]) -> list[Span]:
    """The guest bytes that instructions (address, length) are made of."""
    made: list[list[int]] = []
    for pc, length in sorted(set(instructions)):
        if made and made[-1][1] == pc and pc & (PAGE - 1):
            made[-1][1] = pc + length
        else:
            made.append([pc, pc + length])
    home = request.entry // PAGE
    found = []
    for start, end in made:
        first = start & (PAGE - 1)
        found.append(Span(start // PAGE - home, first, request.pages[start & -PAGE].data[first : first + end - start]))
    return found


def take_apart(data: bytes) -> tuple[bytes, list[Relocation]]:
    """Code, with constants behind it, and relocations of an x86-64 relocatable object. Raises RegionError."""
    unit = read_object(data)
    loaded = [i for i, section in unit.sections.items() if section.name == ".text"]
    loaded += [i for i, section in unit.sections.items() if section.name.startswith(".rodata")]
    code, places = bytearray(), {}
    for i in loaded:
        code += bytes(-len(code) % unit.sections[i].align)
        places[i] = len(code)
        code += unit.sections[i].data
    code += bytes(-len(code) % 8 + 8)  # the last word is BASE
    relocations = [Relocation(len(code) - 8, Reloc.ABS64, Symbol.BASE, 0)]
    for i in loaded:
        for offset, kind, number, addend in unit.sections[i].relocations:
            target, at = unit.symbols[number], places[i] + offset
            symbol = _SYMBOLS.get(target.name)
            if kind not in (_PC32, _PLT32):
                raise RegionError(f"relocation {kind} against {target.name or 'a section'}")
            if target.section in places:
                struct.pack_into("<i", code, at, places[target.section] + target.value + addend - at)
            elif symbol is Symbol.BASE:
                struct.pack_into("<i", code, at, len(code) - 8 + addend - at)
            elif symbol is not None:
                relocations.append(Relocation(at, Reloc.PC32, symbol, addend))
            else:
                raise RegionError(f"{target.name or 'a section'} is no symbol of a region")
    return bytes(code), relocations
