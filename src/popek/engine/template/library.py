"""The template library: compiled once per installation, packed into bytes that the translator reads.

Lives here: what is compiled, cutting the objects into templates, and the packed form. Not here: what the templates are
(templates, rules), how LLVM is driven (compiler), where the bytes are kept between runs (lang.objects.cached).

Packed form, little endian: header (magic, counts, family bases, operation numbers), pin table, then, each aligned to 8
bytes, Template records, Relocation records, shape table (u16), Rule records, code. `start.open_library` reads it.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left
from dataclasses import dataclass

from popek.engine.template import cells, rules, templates
from popek.engine.template.compiler import compile_both
from popek.engine.template.layout import (
    ABS8,
    ABS32,
    ABS64,
    FIXED,
    HOLES,
    MAX_RUN,
    PC32,
    PENDING,
    PINS,
    RUN_BYTES,
    Hole,
)
from popek.isa.table import GATES, IDS, OPS
from popek.lang.elf import read_object
from popek.lang.llvm import Program

FAMILIES = ("li", "li64", "mv", "spill", "reload", "jump_register", "call_register")
NAMED_OPS = ("lui", "auipc", "addi", "add")
_HEADER = struct.Struct("<8s6I7I4H")
_MAGIC = b"popektl1"
_TEMPLATE, _RELOCATION, _RULE = struct.Struct("<IHHI"), struct.Struct("<HBBi"), struct.Struct("<BBHII")
_KINDS = {1: ABS64, 2: PC32, 4: PC32, 10: ABS32, 11: ABS32, 14: ABS8}  # R_X86_64_64, PC32, PLT32, 32, 32S, 8
_CLOSING_JUMP = 5  # bytes of `jmp rel32`
_AROUND = 40  # bytes of two spills, a reload and a stub


@dataclass(frozen=True)
class Code:
    """One template's machine code and its holes: (offset, kind, hole, addend)."""

    text: bytes
    relocations: list[tuple[int, int, int, int]]


class TemplateError(Exception):
    """The compiler made something that cannot be a template."""


def cut(elf: bytes) -> dict[str, Code]:
    """The functions of an x86-64 relocatable object, by name. Raises TemplateError for a relocation that is no hole."""
    unit = read_object(elf)
    holes = {f"hole_{h}": i for i, h in enumerate(HOLES)}
    relocations: dict[int, list[tuple[int, int, int, int]]] = {}
    for number, section in unit.sections.items():
        entries = []
        for offset, kind, symbol, addend in section.relocations:
            name = unit.symbols[symbol].name
            if name not in holes or kind not in _KINDS:
                raise TemplateError(f"relocation {kind} against {name or 'a section'}: not a hole")
            if name == "hole_value" and kind != 1:
                raise TemplateError(f"{name} would be cut to 32 bits")
            entries.append((offset, _KINDS[kind], holes[name], addend))
        relocations[number] = sorted(entries)
    made = {}
    for one in unit.symbols:
        if one.function and one.section is not None and one.size:
            start, end = one.value, one.value + one.size
            inside = [(o - start, k, h, a) for o, k, h, a in _within(relocations[one.section], start, end)]
            made[one.name] = _elide(Code(unit.sections[one.section].data[start:end], inside))
    return made


def _within(entries: list[tuple[int, int, int, int]], low: int, high: int) -> list[tuple[int, int, int, int]]:
    return entries[bisect_left(entries, (low,)) : bisect_left(entries, (high,))]


def _elide(code: Code) -> Code:
    """Drop the closing jump to the next template: it stands right behind."""
    end = len(code.text)
    if code.relocations and code.text[-_CLOSING_JUMP] == 0xE9:
        offset, _, hole, _ = code.relocations[-1]
        if offset == end - 4 and hole == Hole.NEXT:
            return Code(code.text[:-_CLOSING_JUMP], code.relocations[:-1])
    return code


def support_text() -> tuple[str, set[str]]:
    """LLVM text of the meanings, and which operations can raise.

    Accesses go through cells, and once more, under TABLE_PREFIX, through the TLB.
    """
    wanted = [op for op in OPS if rules.has_template(op)]
    by_cell = Program([op.fn for op in wanted], substitute=cells.substitutes(False), bare_traps=True)
    by_table = Program(
        [op.fn for op in wanted if rules.accesses_memory(op)], substitute=cells.substitutes(True), bare_traps=True
    )
    body, tail = _split(by_cell.text())
    other, _ = _split(by_table.text())
    other = re.sub(r'@"(?=popek)', f'@"{rules.TABLE_PREFIX}', other)
    known = set(body.splitlines())
    other = "\n".join(line for line in other.splitlines() if not (line.startswith("declare") and line in known))
    return body + other + tail, {op.name for op in wanted if by_cell.raising(rules.meaning(op))}


def _split(text: str) -> tuple[str, str]:
    """Functions (all to be inlined), and the attributes and metadata behind them."""
    at = text.index("attributes #0")
    return text[:at].replace(" #0 {", " #1 {"), text[at:]


def build() -> bytes:
    """Compile and pack the library."""
    support, raising = support_text()
    plan = rules.plan([*OPS, *GATES], raising)
    texts = list(plan.texts.values())
    half = len(texts) // 2
    first, second = (
        support + templates.declarations() + "".join(part) + templates.METADATA for part in (texts[:half], texts[half:])
    )
    one, other = compile_both(first, second)
    return pack(plan, cut(one) | cut(other))


def check(code: Code, name: str) -> None:
    """Would a run of nothing but this template (with spills, reload and stub around it) stay within its limits?"""
    holes = [hole for _, _, hole, _ in code.relocations]
    jumps = holes.count(Hole.SLOW) + holes.count(Hole.TAKEN)
    if jumps * MAX_RUN > PENDING:
        raise TemplateError(f"{name}: {jumps} jumps out of line")
    if (len(code.text) + _AROUND) * MAX_RUN > RUN_BYTES:
        raise TemplateError(f"{name}: {len(code.text)} bytes")
    if holes.count(Hole.TAKEN) > 1 or (Hole.TAKEN in holes and holes.count(Hole.COUNT) > 1):
        raise TemplateError(f"{name}: one jump was made several, and only one of them would be linked")


def pack(plan: rules.Plan, codes: dict[str, Code]) -> bytes:
    """The packed form of compiled templates."""
    names = [*FIXED, *(n for n in plan.texts if n not in FIXED)]
    number = {name: i for i, name in enumerate(names)}
    text, template_records, relocation_records = bytearray(), bytearray(), bytearray()
    count = 0
    for name in names:
        code = codes[name]
        check(code, name)
        template_records += _TEMPLATE.pack(len(text), len(code.text), len(code.relocations), count)
        for entry in code.relocations:
            relocation_records += _RELOCATION.pack(*entry)
        count += len(code.relocations)
        text += code.text + bytes(-len(code.text) % 8)
    shapes: list[int] = []
    bases = {}
    for family, members in rules.families().items():
        bases[family] = len(shapes)
        shapes += [number.get(n, 0) for n in members]
    rule_records = bytearray()
    for kind, pins, flags, members, table in plan.rules:
        rule_records += _RULE.pack(kind, pins, flags, len(shapes), len(shapes) + len(members))
        shapes += [number.get(n, 0) for n in (*members, *table)]
    pin_of = bytes(PINS.index(r) + 1 if r in PINS else 0 for r in range(32))
    header = _HEADER.pack(
        _MAGIC,
        len(names),
        count,
        len(shapes),
        len(plan.rules),
        len(text),
        0,
        *(bases[f] for f in FAMILIES),
        *(IDS[n] for n in NAMED_OPS),
    )
    shape_table = struct.pack(f"<{len(shapes)}H", *shapes)
    parts = (header + pin_of, template_records, relocation_records, shape_table, rule_records, text)
    return b"".join(part + bytes(-len(part) % 8) for part in parts) + bytes(64)  # emit copies whole words
