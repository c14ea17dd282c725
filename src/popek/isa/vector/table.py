"""All vector instructions as one table, and `execute`, made from it. Nothing about one of them."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from popek.isa.decoding import tree, value
from popek.isa.executing import scope_name
from popek.isa.hart import ILLEGAL_INSTRUCTION, Hart
from popek.isa.op import Op
from popek.isa.vector import accesses, config, memory
from popek.isa.vector import arithmetic as op_v
from popek.lang import Function, Trap, fn, i32, source_fn, u32, u64

#: Of opcode OP-V, but for vset*.
ARITHMETIC: tuple[Op, ...] = op_v.OPS
#: Every vector instruction.
OPS = (*config.OPS, *ARITHMETIC, *accesses.OPS)

CONFIGURATION = 0b111          # funct3 of vset*

_FIELDS = ((14, 12), (31, 26), (31, 25), (19, 15), (24, 20))
_ARGUMENTS = {"h": "h", "word": "word", **dict.fromkeys(("vd", "vs3"), "word >> 7 & 31"), "vs1": "word >> 15 & 31",
              "vs2": "word >> 20 & 31", "vm": "word >> 25 & 1", "rs1": "h.x[word >> 15 & 31]",
              "rs2": "h.x[word >> 20 & 31]", "frs1": "h.f[word >> 15 & 31]"}  # fmt: skip


def _argument(op: Op, name: str) -> str:
    if name != "imm":
        return _ARGUMENTS[name]
    field = op.encoding.field("imm") or op.encoding.field("uimm")
    assert field is not None
    return value(field, "imm")


def _body(op: Op) -> list[str]:
    call = f"{scope_name(op)}({', '.join(_argument(op, name) for name in op.parameters)})"
    match op.result:
        case "rd":
            return [f"result = {call}", "if word >> 7 & 31 != 0:", "    h.x[word >> 7 & 31] = result", "return"]
        case "frd":
            return [f"h.f[word >> 7 & 31] = {call}", "return"]
    return [call, "return"]


def _stand(op: Op) -> Function:
    """The meaning, as a function of its own."""
    assert isinstance(op.fn, Function)
    op.fn.export = True
    return op.fn


def _dispatcher(name: str, ops: Sequence[Op]) -> Any:
    """`name(h, word)`: the instruction's meaning, found by what its fields are."""
    lines = [
        f"def {name}(h: Hart, word: u32) -> None:",
        *tree([(op.encoding, _body(op)) for op in ops], _FIELDS, 0x7F, 1),
        "    raise Trap(ILLEGAL_INSTRUCTION, 0)"]  # fmt: skip
    return source_fn(name, "\n".join(lines), {
        "__name__": __name__, "Hart": Hart, "Trap": Trap, "ILLEGAL_INSTRUCTION": ILLEGAL_INSTRUCTION, "u32": u32,
        "u64": u64, "i32": i32, **{scope_name(op): _stand(op) for op in ops}})  # fmt: skip


configuration = _dispatcher("configuration", config.OPS)
arithmetic = _dispatcher("arithmetic", ARITHMETIC)


@fn
def execute(h: Hart, word: u32) -> None:
    """`ports.vector`: a vector instruction, which ends with vstart zero."""
    match word & 0x7F:
        case memory.LOAD:
            memory.load(h, word)
        case memory.STORE:
            memory.store(h, word)
        case _:
            if word >> 12 & 7 == CONFIGURATION:
                configuration(h, word)
            else:
                arithmetic(h, word)
    h.vstart = 0
