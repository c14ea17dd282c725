"""From encodings to a decoder: a tree of nested ifs on the fields all candidates fix.

Makes source text; decodes nothing itself.
"""
from __future__ import annotations

from collections.abc import Sequence

from popek.isa.encoding import Encoding, Field
from popek.isa.generate import Case, bisect
from popek.isa.op import KINDS, Expansion, Op

#: Fields (high, low) worth switching on, best first.
_WIDE = ((6, 0), (14, 12), (31, 25), (31, 26), (31, 27), (26, 25), (24, 20), (25, 20), (19, 15))
_NARROW = ((1, 0), (15, 13), (12, 10), (11, 10), (12, 12), (6, 5))


_Row = tuple[Encoding, Sequence[str]]      # an encoding, and the lines of what to do with it


def decoder_source(ops: Sequence[Op], forms: Sequence[Expansion]) -> str:
    """Source of `decode(word, d)`; the id of an operation is its position in `ops` plus one, 0 is "illegal"."""
    ids = {op.name: number for number, op in enumerate(ops, 1)}
    wide = [(op.encoding, _operation(op, ids[op.name])) for op in ops]
    narrow = [(form.encoding, _form(form, ids[form.of.name])) for form in forms]
    clear = [f"    d.{name} = 0" for name in ("op", "rd", "rs1", "rs2", "rs3", "rm", "flags", "imm")]
    return "\n".join([
        "def decode(word: u32, d: Decoded) -> None:", *clear,
        "    if word & 3 == 3:", "        d.length = 4", *tree(wide, _WIDE, 0, 2),
        "    else:", "        d.length = 2", *tree(narrow, _NARROW, 0, 2)])


def tree(rows: Sequence[_Row], fields: Sequence[tuple[int, int]], known: int, indent: int) -> list[str]:
    """Lines that find the row a word belongs to; `known` are the bits that all rows agree about."""
    for high, low in fields:
        mask = (1 << high + 1) - (1 << low)
        values = {encoding.match & mask for encoding, _ in rows}
        if mask & known == 0 and len(values) > 1 and all(encoding.mask & mask == mask for encoding, _ in rows):
            cases = []
            for found in sorted(values):
                some = [row for row in rows if row[0].match & mask == found]
                cases.append(Case(found >> low, found >> low, tuple(tree(some, fields, known | mask, 0))))
            return bisect(f"(word >> {low} & {mask >> low})", cases, ["pass"], indent)
    return _chain(rows, known, indent)


def _chain(rows: Sequence[_Row], known: int, indent: int) -> list[str]:
    """The rows one after another, the most specific first."""
    pad, lines = "    " * indent, []
    word = "if"
    for encoding, body in sorted(rows, key=lambda row: -row[0].mask.bit_count()):
        rest = encoding.mask & ~known
        if rest == 0:
            if word == "if":
                return [f"{pad}{line}" for line in body]
            lines += [f"{pad}else:", *(f"{pad}    {line}" for line in body)]
            return lines
        lines += [f"{pad}{word} word & {rest:#x} == {encoding.match & rest:#x}:",
                  *(f"{pad}    {line}" for line in body)]
        word = "elif"
    return lines


def _operation(op: Op, number: int) -> list[str]:
    lines = [f"d.op = {number}", f"d.flags = {KINDS.index(op.kind)}"]
    for field in op.encoding.fields:
        if (slot := _slot(field.name)):
            lines.append(f"d.{slot} = {value(field, slot)}")
    return lines


def _form(form: Expansion, number: int) -> list[str]:
    lines = [f"d.op = {number}", f"d.flags = {KINDS.index(form.of.kind)}"]
    for name, source in form.operands:
        slot = _slot(name)
        if isinstance(source, int):
            if source:
                lines.append(f"d.{slot} = {source}")
        else:
            field = form.encoding.field(source)
            assert field is not None
            lines.append(f"d.{slot} = {value(field, slot)}")
    if not form.nonzero:
        return lines
    zero = " or ".join(f"{_bits(found)} == 0" for name in form.nonzero if (found := form.encoding.field(name)))
    return [f"if not ({zero}):", *(f"    {line}" for line in lines)]


def _slot(name: str) -> str:
    """The member of Decoded that holds a field."""
    name = name.rstrip("'").removeprefix("f")
    if name in ("rd", "rs1", "rs2", "rs3", "rm"):
        return name
    return "imm" if name in ("imm", "uimm") else ""


def _bits(field: Field) -> str:
    parts = [f"(word >> {piece.at} & {(1 << piece.width) - 1}) << {piece.to}" if piece.to else
             f"(word >> {piece.at} & {(1 << piece.width) - 1})" for piece in field.pieces]
    return f"({' | '.join(parts)})"


def value(field: Field, slot: str) -> str:
    """The expression for a field's value, as that member of Decoded."""
    if slot != "imm":
        return f"u8({_bits(field)} + {field.base})" if field.base else f"u8({_bits(field)})"
    if not field.signed:
        return f"u64({_bits(field)})"
    spare = 32 - field.top
    return f"u64(i32({_bits(field)} << {spare}) >> {spare})" if spare else f"u64(i32({_bits(field)}))"
