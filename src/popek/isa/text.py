"""Assembly text both ways, from the operations' own assembly lines.

One instruction at a time: no labels, no directives.
"""
from __future__ import annotations

import re
from collections.abc import Sequence

from popek.isa.csr import NAMES, NUMBERS
from popek.isa.encoding import Encoding, Field
from popek.isa.op import IMMEDIATES, Expansion, Op, operands

INTEGER = ["zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"] + [f"a{n}" for n in range(8)] + \
    [f"s{n}" for n in range(2, 12)] + [f"t{n}" for n in range(3, 7)]
FLOAT = [f"ft{n}" for n in range(8)] + ["fs0", "fs1"] + [f"fa{n}" for n in range(8)] + \
    [f"fs{n}" for n in range(2, 12)] + [f"ft{n}" for n in range(8, 12)]
#: Zfa's constants. Unprivileged ISA, "Zfa", table of the immediates of FLI.
CONSTANTS = ("-1.0", "min", "0x1p-16", "0x1p-15", "0x1p-8", "0x1p-7", "0.0625", "0.125", "0.25", "0.3125", "0.375",
             "0.4375", "0.5", "0.625", "0.75", "0.875", "1.0", "1.25", "1.5", "1.75", "2.0", "2.5", "3.0", "4.0", "8.0",
             "16.0", "128.0", "256.0", "0x1p15", "0x1p16", "inf", "nan")
ROUNDING = ("rne", "rtz", "rdn", "rup", "rmm", "", "", "dyn")
_REGISTERS = {**{name: n for n, name in enumerate(INTEGER)}, **{name: n for n, name in enumerate(FLOAT)},
              **{f"{kind}{n}": n for kind in "xfv" for n in range(32)}, "fp": 8}
_ORDERINGS = {(0, 0): "", (1, 0): ".aq", (0, 1): ".rl", (1, 1): ".aqrl"}
#: vtype as text: Unprivileged ISA, "V", "Configuration-Setting Instructions".
_LMUL = ("m1", "m2", "m4", "m8", "", "mf8", "mf4", "mf2")
_TYPES = {f"e{8 << sew}, {lmul}, t{'ua'[vta]}, m{'ua'[vma]}": vma << 7 | vta << 6 | sew << 3 | code
          for sew in range(4) for code, lmul in enumerate(_LMUL) if lmul for vta in (0, 1) for vma in (0, 1)}
_TYPE_TEXTS = {value: text for text, value in _TYPES.items()}
_NAME = re.compile(r"[a-z][\w']*")


class Assembly:
    """Disassembler and assembler of a set of operations."""

    def __init__(self, ops: Sequence[Op], forms: Sequence[Expansion]) -> None:
        rows: list[Op | Expansion] = [*ops, *forms]
        self._rows = sorted(rows, key=lambda row: -row.encoding.mask.bit_count())
        self._by_mnemonic: dict[str, list[Op | Expansion]] = {}
        for row in self._rows:
            self._by_mnemonic.setdefault(row.mnemonic, []).append(row)

    def find(self, word: int) -> Op | Expansion | None:
        """The row `word` belongs to."""
        length = 4 if word & 3 == 3 else 2
        for row in self._rows:
            encoding = row.encoding
            if encoding.length == length and word & encoding.mask == encoding.match:
                return None if _reserved(row, word) else row
        return None

    def disassemble(self, word: int, pc: int = 0) -> str:
        """The instruction's text; branch targets are absolute. An illegal word reads `.half` or `.word`."""
        row = self.find(word)
        if row is None:
            return f".word {word:#010x}" if word & 3 == 3 else f".half {word & 0xFFFF:#06x}"
        mnemonic, _, rest = row.assembly.partition(" ")
        if (aq := row.encoding.field("aq")) and (rl := row.encoding.field("rl")):
            mnemonic += _ORDERINGS[aq.extract(word), rl.extract(word)]
        text = _NAME.sub(lambda found: _show(row, found[0], word, pc), rest)
        rounding = row.encoding.field("rm")
        if rounding and rounding.extract(word) != 7:
            text += f", {ROUNDING[rounding.extract(word)] or rounding.extract(word)}"
        text = text.removesuffix(", v0.nt")
        return f"{mnemonic} {text}".strip()

    def assemble(self, text: str, pc: int = 0) -> int:
        """The word of one instruction; raises ValueError when nothing fits."""
        mnemonic, _, rest = text.strip().partition(" ")
        ordering = next((bits for bits, suffix in _ORDERINGS.items() if suffix and mnemonic.endswith(suffix)), (0, 0))
        if ordering != (0, 0):
            mnemonic = mnemonic.removesuffix(_ORDERINGS[ordering])
        given = operands(f"x {rest}")
        problem = f"unknown instruction {mnemonic}"
        for row in self._by_mnemonic.get(mnemonic, ()):
            try:
                word = _encode(row, given, ordering, pc)
                found = self.find(word)
                if found is row or (found and isinstance(row, Op)):     # "csrrwi zero, ..." is the row of csrwi
                    return word
                problem = "these operands mean another instruction"
            except ValueError as error:
                problem = str(error)
        raise ValueError(f"{text.strip()}: {problem}")


def _reserved(row: Op | Expansion, word: int) -> bool:
    if isinstance(row, Op):
        return False
    return any(field.extract(word) == 0 for name in row.nonzero if (field := row.encoding.field(name)))


def _field(encoding: Encoding, name: str) -> Field | None:
    found = encoding.field(name)
    if found is None and name in IMMEDIATES:
        found = encoding.field("imm") or encoding.field("uimm")
    return found


def _show(row: Op | Expansion, name: str, word: int, pc: int) -> str:
    field = _field(row.encoding, name)
    if field is None:
        return name                                   # a fixed register, such as sp
    value = field.extract(word)
    if name.startswith("f"):
        return FLOAT[value]
    if name.startswith("r"):
        return INTEGER[value]
    match name:
        case "vd" | "vs1" | "vs2" | "vs3":
            return f"v{value}"
        case "vm":
            return "v0.t" if value == 0 else "v0.nt"
        case "vtypei":
            return _TYPE_TEXTS.get(value, str(value))
        case "target":
            return hex(pc + value & (1 << 64) - 1)
        case "upper":
            return hex(value >> 12 & 0xFFFFF)
        case "csr":
            return NAMES.get(value & 0xFFF, hex(value & 0xFFF))
        case "zimm":
            return str(value >> 12)
        case "constant":
            return CONSTANTS[value]
    return str(value)


def _encode(row: Op | Expansion, given: tuple[str, ...], ordering: tuple[int, int], pc: int) -> int:
    wanted = operands(row.assembly)
    rounding = row.encoding.field("rm")
    values = list(given)
    word = row.encoding.match
    if rounding:
        mode = values.pop() if len(values) == len(wanted) + 1 else "dyn"
        if mode not in ROUNDING:
            raise ValueError(f"unknown rounding mode {mode}")
        word |= rounding.insert(ROUNDING.index(mode))
    if wanted[-1:] == ("vm",) and len(values) == len(wanted) - 1:
        values.append("v0.nt")
    if wanted[-1:] == ("vtypei",):
        values[len(wanted) - 1 :] = [", ".join(values[len(wanted) - 1 :])]
    if len(values) != len(wanted):
        raise ValueError(f"{row.mnemonic} takes {len(wanted)} operands")
    sums: dict[Field, int] = {}
    for name, text in zip(wanted, values, strict=True):
        field = _field(row.encoding, name)
        if field is None:
            if name != text and _read(name, name, pc) != _read(name, text, pc):
                raise ValueError(f"{row.mnemonic} takes {name} here")
        else:
            sums[field] = sums.get(field, 0) + _read(name, text, pc)
    for field, value in sums.items():
        word |= field.insert(value)
    for name, bit in zip(("aq", "rl"), ordering, strict=True):
        field = row.encoding.field(name)
        if bit and field is None:
            raise ValueError(f"{row.mnemonic} has no ordering")
        if field:
            word |= field.insert(bit)
    if _reserved(row, word):
        raise ValueError(f"{row.mnemonic}: reserved")
    return word


def _read(name: str, text: str, pc: int) -> int:
    if text in _REGISTERS:
        return _REGISTERS[text]
    if name == "csr" and text in NUMBERS:
        return NUMBERS[text]
    if name == "constant":
        return CONSTANTS.index(text)
    if name == "vm":
        return ("v0.t", "v0.nt").index(text)
    if text in _TYPES:
        return _TYPES[text]
    value = int(text, 0)
    match name:
        case "target":
            return (value - pc ^ 1 << 63) % (1 << 64) - (1 << 63)      # addresses wrap
        case "upper":
            return (value ^ 0x80000) - 0x80000 << 12 if 0 <= value < 1 << 20 else value << 12
        case "zimm":
            if not 0 <= value < 32:
                raise ValueError(f"{value} does not fit zimm")
            return value << 12
    return value
