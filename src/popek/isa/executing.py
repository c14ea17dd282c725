"""From operations to `execute(h, d)`: fetch operands, call the meaning, write the result, move the pc.

Makes source text only.
"""
from __future__ import annotations

from collections.abc import Sequence

from popek.isa.generate import Case, bisect
from popek.isa.op import Op

ARGUMENTS = {"h": "h", "imm": "d.imm", "pc": "h.pc", "next_pc": "h.pc + u64(d.length)", "rm": "u32(d.rm)",
             **{f"rs{n}": f"h.x[d.rs{n}]" for n in (1, 2, 3)}, **{f"frs{n}": f"h.f[d.rs{n}]" for n in (1, 2, 3)}}

_ILLEGAL = "raise Trap(ILLEGAL_INSTRUCTION, 0)"
_ADVANCE = "h.pc = h.pc + u64(d.length)"


def executor_source(ops: Sequence[Op]) -> str:
    """Source of `execute(h, d)`. A meaning is called by the name `<module>_<name>` (see scope_name)."""
    cases = [Case(number, number, tuple(body(op))) for number, op in enumerate(ops, 1)]
    return "\n".join(["def execute(h: Hart, d: Decoded) -> None:", "    number = u32(d.op)",
                      *bisect("number", cases, [_ILLEGAL])])


def scope_name(op: Op) -> str:
    """The name under which the generated text knows a meaning."""
    return f"{op.module.rpartition('.')[2]}_{op.name}"


def body(op: Op) -> list[str]:
    """Everything one operation does. A raise leaves pc and rd untouched."""
    call = f"{scope_name(op)}({', '.join(ARGUMENTS[name] for name in op.parameters)})"
    match op.kind:
        case "system":
            return [call]
        case "branch":
            return [f"if {call}:", "    h.pc = h.pc + d.imm", "else:", f"    {_ADVANCE}"]
        case "jump" | "jump_register":
            return [f"target = {call}", "if d.rd != 0:", "    h.x[d.rd] = h.pc + u64(d.length)", "h.pc = target"]
        case "fp":
            return _floating_point(op, call)
    return [*_result(op, call), _ADVANCE]


def _result(op: Op, call: str) -> list[str]:
    match op.result:
        case "rd":
            return [f"result = {call}", "if d.rd != 0:", "    h.x[d.rd] = result"]
        case "frd":
            return [f"h.f[d.rd] = {call}"]
    return [call]


def _floating_point(op: Op, call: str) -> list[str]:
    """Off traps; what may write a register or flags makes the state dirty (Privileged ISA, "Extension Context Status").

    Whether flags did change is not asked: the host's unit keeps them, and every engine must come to the same answer.
    """
    lines = ["if h.mstatus & FS == 0:", f"    {_ILLEGAL}"]
    dirty = op.result == "frd" or (op.result == "rd" and "h" in op.parameters)
    return [*lines, *_result(op, call), *(["h.mstatus = h.mstatus | FS"] if dirty else []), _ADVANCE]
