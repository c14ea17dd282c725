"""The instruction set as one table: extensions -> operations, decoder, executor, disassembler, assembler.

A new extension is one name here.
"""
from __future__ import annotations

from functools import cache

from popek.isa import a, c, d, f, i, m, privileged, v, zawrs, zba, zbb, zbc, zbs, zfa, zicbom, zicond, zicsr
from popek.isa.decoding import decoder_source
from popek.isa.executing import executor_source, scope_name
from popek.isa.hart import FS, ILLEGAL_INSTRUCTION, Hart
from popek.isa.op import declared, expansions
from popek.isa.text import Assembly
from popek.lang import Trap, i32, source_fn, struct, u8, u16, u32, u64

EXTENSIONS = (i, m, a, zicsr, privileged, zicond, zawrs, zba, zbb, zbc, zbs, zicbom, f, d, zfa, c)

#: Every operation; its id is its position plus one.
OPS = tuple(operation for extension in EXTENSIONS for operation in declared(extension))
#: What leads to the vector instructions; their ids follow.
GATES = tuple(declared(v))
#: Every 16-bit form.
FORMS = tuple(form for extension in EXTENSIONS for form in expansions(extension))
#: Id of an operation by the name of its function.
IDS = {operation.name: number for number, operation in enumerate((*OPS, *GATES), 1)}
ILLEGAL = 0


@struct
class Decoded:
    """One instruction taken apart: which operation (0 = illegal), its registers and its immediate."""

    op: u16
    rd: u8
    rs1: u8
    rs2: u8
    rs3: u8
    rm: u8
    length: u8
    flags: u8          # position in op.KINDS
    imm: u64


decode = source_fn("decode", decoder_source((*OPS, *GATES), FORMS), {
    "__name__": __name__, "Decoded": Decoded, "u8": u8, "u32": u32, "u64": u64, "i32": i32})

execute = source_fn("execute", executor_source((*OPS, *GATES)), {
    "__name__": __name__, "Decoded": Decoded, "Hart": Hart, "Trap": Trap, "u32": u32, "u64": u64, "FS": FS,
    "ILLEGAL_INSTRUCTION": ILLEGAL_INSTRUCTION,
    **{scope_name(operation): operation.fn for operation in (*OPS, *GATES)}})


@cache
def assembly() -> Assembly:
    """The texts of all instructions, those of vectors too."""
    from popek.isa.vector.table import OPS as VECTORS

    return Assembly((*OPS, *VECTORS), FORMS)


def disassemble(word: int, pc: int = 0) -> str:
    """The instruction's text; branch targets are absolute. An illegal word reads `.half` or `.word`."""
    return assembly().disassemble(word, pc)


def assemble(text: str, pc: int = 0) -> int:
    """The word of one instruction; raises ValueError when nothing fits."""
    return assembly().assemble(text, pc)
