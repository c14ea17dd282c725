"""Reading and checking testfloat_gen's output natively: exported subset functions. Not a test itself.

testfloat_gen prints lines `operand ... result flags` in hexadecimal. `check(h, text, end, rm)`, one for each TestFloat
operation, returns how many are wrong; h.instret counts lines, h.scratch holds the address of the first wrong line.
For guests, `read(text, end, rows)` makes rows of doublewords of them, and `compare` looks through what a guest says.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from popek.isa import fp
from popek.isa.fp import fflags_read, fflags_write
from popek.isa.hart import Hart
from popek.lang import Function, at_u8, at_u64, fn, i32, source_fn, u32, u64


@fn
def number(at: u64, digits: u64) -> u64:
    """A hexadecimal number of that many digits (upper case)."""
    value: u64 = 0
    for i in range(digits):
        c = u64(at_u8(at + i).value)
        value = value << 4 | (c - 55 if c > 57 else c - 48)
    return value


_USED_IN_SOURCE = (Hart, at_u8, fflags_read, fflags_write, i32, u32)


@dataclass(frozen=True)
class Operation:
    """A TestFloat operation: its name there, function here, operands and result widths in hexadecimal digits."""

    name: str
    function: str
    operands: tuple[int, ...]
    digits: int
    rounds: bool = True
    signed_operand: bool = False
    integer: bool = False


def operations() -> list[Operation]:
    """All of TestFloat's operations that F and D have."""
    found = []
    for width in (32, 64):
        f, n = f"f{width}", width // 4
        for name in ("add", "sub", "mul", "div"):
            found.append(Operation(f"{f}_{name}", f"{f}_{name}", (n, n), n))
        found.append(Operation(f"{f}_mulAdd", f"{f}_fma", (n, n, n), n))
        found.append(Operation(f"{f}_sqrt", f"{f}_sqrt", (n,), n))
        for name in ("eq", "lt", "le"):
            found.append(Operation(f"{f}_{name}", f"{f}_{name}", (n, n), 1, rounds=False))
        for bits in (32, 64):
            for sign in ("i", "u"):
                there, here = ("i" if sign == "i" else "ui") + str(bits), sign + str(bits)
                found.append(Operation(f"{f}_to_{there}", f"{f}_to_{here}", (n,), bits // 4, integer=True))
                back = f"{f}_from_{sign}64"
                found.append(Operation(f"{there}_to_{f}", back, (bits // 4,), n, signed_operand=sign == "i"))
    found.append(Operation("f32_to_f64", "f32_to_f64", (8,), 16))
    found.append(Operation("f64_to_f32", "f64_to_f32", (16,), 8))
    return found


def checker(operation: Operation, soft: bool) -> Any:
    """The checking function of an operation; `soft`: of its integer version, whatever the host can do."""
    name = f"{'soft' if soft else 'host'}_{operation.name}"
    target = getattr(fp, operation.function)
    scope = {**globals(), "target": soft_version(target) if soft else target}
    lines, offset, arguments = [], 0, ["h"]
    for i, digits in enumerate(operation.operands):
        text = f"number(at + {offset}, {digits})"
        if operation.signed_operand and digits == 8:
            text = f"u64(i32(u32({text})))"
        lines.append(f"a{i} = {text}")
        arguments.append(f"a{i}")
        offset += digits + 1
    if operation.rounds:
        arguments.append("rm")
    call = f"target({', '.join(arguments)})"
    expected = f"number(at + {offset}, {operation.digits})"
    if operation.integer and operation.digits == 8:
        expected = f"u64(i32(u32({expected})))"
    offset += operation.digits + 1
    body = "\n        ".join(lines)
    source = f"""def {name}(h: Hart, at: u64, end: u64, rm: u32) -> u64:
    wrong: u64 = 0
    while at < end:
        {body}
        fflags_write(h, 0)
        got = {call if operation.digits != 1 else f"u64({call})"}
        flags = fflags_read(h)
        if got != {expected} or u64(flags) != number(at + {offset}, 2):
            if wrong == 0:
                h.scratch = at
            wrong += 1
        h.instret += 1
        at += {offset + 3}
    return wrong
"""
    return source_fn(name, source, scope, export=True)


def soft_version(target: Any) -> Any:
    """The same function without its host lowering."""
    copy = Function(target.python)
    copy.symbol = target.symbol + ".integer"
    return copy


def reader(operation: Operation) -> Any:
    """The function that reads lines of an operation into rows: operands, result, flags."""
    lines, offset = [], 0
    widths = (*operation.operands, operation.digits, 2)
    for i, digits in enumerate(widths):
        text = f"number(at + {offset}, {digits})"
        if digits == 8 and i == len(operation.operands) and operation.integer:
            text = f"u64(i32(u32({text})))"
        lines.append(f"at_u64(rows + {8 * i}).value = {text}")
        offset += digits + 1
    body = "\n        ".join(lines)
    source = f"""def read_{operation.name}(at: u64, end: u64, rows: u64) -> u64:
    count: u64 = 0
    while at < end:
        {body}
        at += {offset}
        rows += {8 * len(widths)}
        count += 1
    return count
"""
    return source_fn(f"read_{operation.name}", source, {**globals()}, export=True)


@fn(export=True)
def compare(rows: u64, columns: u64, found: u64, count: u64) -> u64:
    """How many of the found pairs of result and flags are as the rows' last two say, up to the first that is not."""
    for i in range(count):
        expected = rows + (i * columns + columns - 2) * 8
        if at_u64(expected).value != at_u64(found + 16 * i).value:
            return i
        if at_u64(expected + 8).value != at_u64(found + 16 * i + 8).value:
            return i
    return count


def instruction(operation: Operation) -> tuple[str, bool]:
    """The RISC-V instruction: operands from fa0, fa1, fa2 or a4, result to fa3, or a4 (True)."""
    source, _, rest = operation.name.partition("_")
    letters = {"f32": "s", "f64": "d", "i32": "w", "ui32": "wu", "i64": "l", "ui64": "lu"}
    if rest.startswith("to_"):
        to = rest.removeprefix("to_")
        operands = f"{'fa3' if to[0] == 'f' else 'a4'}, {'fa0' if source[0] == 'f' else 'a4'}"
        return f"fcvt.{letters[to]}.{letters[source]} {operands}", to[0] != "f"
    name = {"mulAdd": "fmadd"}.get(rest, f"f{rest}")
    if rest in ("eq", "lt", "le"):
        return f"{name}.{letters[source]} a4, fa0, fa1", True
    return f"{name}.{letters[source]} fa3, " + ", ".join(f"fa{n}" for n in range(len(operation.operands))), False
