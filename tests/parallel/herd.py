"""Litmus tests in herd's format for RISC-V: from text to threads of instructions. No meaning lives here.

`lw.aq` and `sw.rl`, which RISC-V does not have, are read as `lr.w.aq` and `amoswap.w.rl x0`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from popek.isa.text import INTEGER

REGISTERS = {name: n for n, name in enumerate(INTEGER)} | {f"x{n}": n for n in range(32)} | {"fp": 8}
WIDTHS = {"b": 1, "h": 2, "w": 4, "d": 8}
BRANCHES = ("beq", "bne", "blt", "bge", "bltu", "bgeu")
ARITHMETIC = ("add", "sub", "xor", "or", "and", "addi", "ori", "andi", "xori", "li", "mv", "addw", "addiw")
NUMBER = re.compile(r"-?(0x[0-9a-fA-F]+|\d+)")
FENCE_SETS = {"r": 2, "w": 1, "i": 8, "o": 4}


class Unsupported(Exception):
    """Something in a test that is not understood here."""


class Instruction(NamedTuple):
    """One line. `kind`: load, store, lr, sc, amo, alu, branch, jump, fence, label, nop."""

    kind: str
    text: str                  # for tests.vmm.guests.assemble
    name: str = ""
    rd: int = 0
    rs1: int = 0
    rs2: int = 0
    imm: int = 0               # of fences: predecessors << 4 | successors
    width: int = 0
    aq: bool = False
    rl: bool = False
    target: str = ""


class Litmus(NamedTuple):
    """One test. Values that are names of variables mean their addresses."""

    name: str
    threads: tuple[tuple[Instruction, ...], ...]
    registers: dict[tuple[int, int], int | str]
    memory: dict[str, int | str]
    condition: str             # as a Python expression of s("0:x5"), s("x"); empty if there is none
    quantifier: str            # exists, ~exists, forall
    asked: tuple[tuple[int, int], ...]      # registers that the condition names


def parse(text: str) -> Litmus:
    """A whole file."""
    text = re.sub(r"\(\*.*?\*\)", "", text, flags=re.S)
    head, brace, rest = text.partition("{")
    if not brace or not head.startswith("RISCV"):
        raise Unsupported("no RISCV test")
    name = head.split("\n")[0].removeprefix("RISCV").strip()
    inside, _, rest = rest.partition("}")
    registers, memory = _initial(inside)
    rows, condition = [], ""
    lines = rest.split("\n")
    for at, line in enumerate(lines):
        if re.match(r"\s*(filter|locations|exists|~exists|forall)", line):
            condition = "\n".join(lines[at:])
            break
        if line.strip():
            rows.append([cell.strip() for cell in line.rstrip().rstrip(";").split("|")])
    if not rows:
        raise Unsupported("no threads")
    threads = []
    for column in range(len(rows[0])):
        cells = [row[column] for row in rows[1:] if column < len(row)]
        code = [piece for cell in cells for piece in _pieces(cell)]
        threads.append(tuple(instruction(piece, f"t{column}") for piece in code))
    quantifier, expression, asked = _condition(condition)
    for variable in set(re.findall(r's\("([A-Za-z_]\w*)"\)', expression)):
        memory.setdefault(variable, 0)
    for value in (*registers.values(), *memory.values()):
        if isinstance(value, str):
            memory = memory | {value: memory.get(value, 0)}
    return Litmus(name, tuple(threads), registers, memory, expression, quantifier, asked)


def histograms(text: str) -> Iterator[tuple[str, list[dict[str, int | str]]]]:
    """What a log of the tool `litmus` says: names of tests, and the states that were seen of each."""
    for block in re.split(r"^Test ", text, flags=re.MULTILINE)[1:]:
        states = []
        for line in re.findall(r"^\d+\s*[:*]>(.*)$", block, flags=re.MULTILINE):
            state: dict[str, int | str] = {}
            for part in filter(None, (p.strip() for p in line.split(";"))):
                place, _, value = part.partition("=")
                thread, _, name = place.rpartition(":")
                place = f"{thread}:x{register(name)}" if thread else name.strip("[]")
                state[place] = int(value, 0) if NUMBER.fullmatch(value) else value
            states.append(state)
        yield block.split()[0], states


def _initial(text: str) -> tuple[dict[tuple[int, int], int | str], dict[str, int | str]]:
    registers: dict[tuple[int, int], int | str] = {}
    memory: dict[str, int | str] = {}
    for part in re.split(r"[;\n]", text):
        part = re.sub(r"^\s*(u?int\d*_t|int|long)\s*[ *]\s*", "", part).strip().lstrip("*")
        if not part:
            continue
        place, _, value = (p.strip() for p in part.partition("="))
        known = int(value, 0) if NUMBER.fullmatch(value) else value.lstrip("&") or 0
        if found := re.fullmatch(r"(\d+)\s*:\s*(\w+)", place):
            registers[int(found[1]), register(found[2])] = known
        elif re.fullmatch(r"[A-Za-z_]\w*", place):
            memory[place] = known
        else:
            raise Unsupported(f"initial state {part}")
    return registers, memory


def register(name: str) -> int:
    """Its number."""
    if name not in REGISTERS:
        raise Unsupported(f"register {name}")
    return REGISTERS[name]


def _pieces(cell: str) -> list[str]:
    found = re.fullmatch(r"(\w+):\s*(.*)", cell)
    if found:
        return [f"{found[1]}:", *_pieces(found[2])]
    return [cell] if cell else []


def instruction(text: str, prefix: str) -> Instruction:
    """One line of a thread; labels get a prefix."""
    if text.endswith(":"):
        return Instruction("label", text, target=text[:-1])
    name, _, rest = text.partition(" ")
    operands = [o.strip() for o in rest.split(",")] if rest.strip() else []
    ordering = [part for part in name.split(".")[1:] if part in ("aq", "rl", "aqrl")]
    aq, rl = any("aq" in part for part in ordering), any("rl" in part for part in ordering)
    base = ".".join(part for part in name.split(".") if part not in ("aq", "rl", "aqrl"))
    suffix = (".aqrl" if aq and rl else ".aq" if aq else ".rl" if rl else "")
    if base == "fence":
        sets = [sum(FENCE_SETS[c] for c in o) for o in operands] or [15, 15]
        word = 0x0000000F | sets[0] << 24 | sets[1] << 20
        return Instruction("fence", f".word {word:#x}", base, imm=sets[0] << 4 | sets[1])
    if base == "fence.tso":
        return Instruction("fence", ".word 0x8330000f", base)
    if base in ("fence.i", "nop"):
        return Instruction("nop", "fence.i" if base == "fence.i" else "addi x0, x0, 0", base)
    if base.startswith(("lr.", "sc.", "amo")):
        place = re.fullmatch(r"0?\((\w+)\)", operands[-1])
        if not place:
            raise Unsupported(text)
        rd, rs1 = register(operands[0]), register(place[1])
        rs2 = register(operands[1]) if len(operands) == 3 else 0
        middle = f"x{rs2}, " if len(operands) == 3 else ""
        kind = base[:2] if base[:2] in ("lr", "sc") else "amo"
        again = f"{base}{suffix} x{rd}, {middle}(x{rs1})"
        return Instruction(kind, again, base, rd, rs1, rs2, 0, WIDTHS[base[-1]], aq, rl)
    if re.fullmatch(r"[ls][bhwd]u?", base):
        place = re.fullmatch(r"(-?\d*)\((\w+)\)", operands[1])
        if not place:
            raise Unsupported(text)
        offset, rs1, value, width = int(place[1] or 0), register(place[2]), register(operands[0]), WIDTHS[base[1]]
        load = base.startswith("l")
        if suffix:
            if offset or width < 4:
                raise Unsupported(text)
            if load:
                again = f"lr.{base[1]}{suffix} x{value}, (x{rs1})"
                return Instruction("lr", again, base, value, rs1, 0, 0, width, aq, rl)
            again = f"amoswap.{base[1]}{suffix} x0, x{value}, (x{rs1})"
            return Instruction("amo", again, f"amoswap.{base[1]}", 0, rs1, value, 0, width, aq, rl)
        again = f"{base} x{value}, {offset}(x{rs1})"
        if load:
            return Instruction("load", again, base, value, rs1, 0, offset, width)
        return Instruction("store", again, base, 0, rs1, value, offset, width)
    if base in BRANCHES and len(operands) == 3:
        rs1, rs2 = register(operands[0]), register(operands[1])
        return Instruction("branch", f"{base} x{rs1}, x{rs2}, {prefix}", base, 0, rs1, rs2, target=operands[2])
    if base == "j":
        return Instruction("jump", f"jal x0, {prefix}", base, target=operands[0])
    if base in ARITHMETIC:
        return _arithmetic(base, operands)
    raise Unsupported(text)


def _arithmetic(base: str, operands: list[str]) -> Instruction:
    rd = register(operands[0])
    if base == "li":
        return Instruction("alu", f"addi x{rd}, x0, {int(operands[1], 0)}", "addi", rd, 0, 0, int(operands[1], 0))
    if base == "mv":
        return Instruction("alu", f"addi x{rd}, x{register(operands[1])}, 0", "addi", rd, register(operands[1]))
    rs1 = register(operands[1])
    if operands[2] in REGISTERS:
        rs2 = register(operands[2])
        return Instruction("alu", f"{base} x{rd}, x{rs1}, x{rs2}", base, rd, rs1, rs2)
    if not base.endswith(("i", "iw")):
        raise Unsupported(f"{base} {operands}")
    return Instruction("alu", f"{base} x{rd}, x{rs1}, {int(operands[2], 0)}", base, rd, rs1, 0, int(operands[2], 0))


def _condition(text: str) -> tuple[str, str, tuple[tuple[int, int], ...]]:
    found = re.search(r"(~exists|exists|forall)(.*)", text, flags=re.S)
    if not found:
        return "", "", ()
    asked: list[tuple[int, int]] = []

    def atom(match: re.Match[str]) -> str:
        place, value = match[1].replace(" ", "").strip("[]"), match[2]
        if ":" in place:
            thread, _, name = place.partition(":")
            asked.append((int(thread), register(name)))
            place = f"{thread}:x{register(name)}"
        return f's("{place}") == ' + (value if NUMBER.fullmatch(value) else f'a("{value}")')

    expression = re.sub(r"((?:\d+\s*:\s*)?\[?\w+\]?)\s*=\s*(-?\w+)", atom, found[2])
    expression = expression.replace("/\\", " and ").replace("\\/", " or ").replace("~", " not ").replace("\n", " ")
    expression = expression.strip().replace("true", "True")
    try:
        compile(expression, "condition", "eval")
    except SyntaxError:
        raise Unsupported(f"condition {text}") from None
    return found[1], expression, tuple(dict.fromkeys(asked))
