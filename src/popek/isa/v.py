"""V, as everything but a vector instruction itself sees it: the gates to isa/vector, and the registers' rules.

Vector instructions are many, and most guests never execute one. So the decoder knows only that a word is one of them;
`ports.vector` has them executed by code that is made, or fetched from the cache, when a guest first needs it.

Unprivileged ISA, "V Standard Extension for Vector Operations"; Privileged ISA, "Vector Context Status".
"""
from __future__ import annotations

from popek.isa.hart import ILLEGAL_INSTRUCTION, VS, Hart
from popek.isa.op import op
from popek.isa.ports import vector
from popek.lang import Trap, fn, u32, u64

VLENB = 32                     # bytes of a register
BLOCK = 4096                   # bytes at Hart.vector; what is where is isa/vector/layout's, but for the last words:
LOADER = BLOCK - 8             # address of the function that fetches the code which executes vector instructions,
ENTRY = BLOCK - 16             # address of that code,
VALUE = BLOCK - 24             # and what it loaded last
VSTART_MASK = VLENB * 8 - 1    # any element of the longest group can be named


@fn(cold=True)  # once, for all gates
def enter(h: Hart, word: u32) -> None:
    """Any vector instruction: Off traps, all others count as changing the state."""
    if h.mstatus & VS == 0:
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    h.mstatus = h.mstatus | VS
    vector(h, word)


@op("uimm[31:7] 1010111", "vector imm", kind="vector")
def vector_arithmetic(h: Hart, imm: u64) -> None:
    enter(h, u32(imm) | 0b1010111)


@op("uimm[31:15] 000 uimm[11:7] 0000111", "vector.load8 imm", kind="vector")
def vector_load_8(h: Hart, imm: u64) -> None:
    enter(h, u32(imm) | 0b0000111)


@op("uimm[31:15] 101 uimm[11:7] 0000111", "vector.load16 imm", kind="vector")
def vector_load_16(h: Hart, imm: u64) -> None:
    enter(h, u32(imm) | 0b101_00000_0000111)


@op("uimm[31:15] 110 uimm[11:7] 0000111", "vector.load32 imm", kind="vector")
def vector_load_32(h: Hart, imm: u64) -> None:
    enter(h, u32(imm) | 0b110_00000_0000111)


@op("uimm[31:15] 111 uimm[11:7] 0000111", "vector.load64 imm", kind="vector")
def vector_load_64(h: Hart, imm: u64) -> None:
    enter(h, u32(imm) | 0b111_00000_0000111)


@op("uimm[31:15] 000 uimm[11:7] 0100111", "vector.store8 imm", kind="vector")
def vector_store_8(h: Hart, imm: u64) -> None:
    enter(h, u32(imm) | 0b0100111)


@op("uimm[31:15] 101 uimm[11:7] 0100111", "vector.store16 imm", kind="vector")
def vector_store_16(h: Hart, imm: u64) -> None:
    enter(h, u32(imm) | 0b101_00000_0100111)


@op("uimm[31:15] 110 uimm[11:7] 0100111", "vector.store32 imm", kind="vector")
def vector_store_32(h: Hart, imm: u64) -> None:
    enter(h, u32(imm) | 0b110_00000_0100111)


@op("uimm[31:15] 111 uimm[11:7] 0100111", "vector.store64 imm", kind="vector")
def vector_store_64(h: Hart, imm: u64) -> None:
    enter(h, u32(imm) | 0b111_00000_0100111)


@fn
def vector_allowed(h: Hart) -> bool:
    """mstatus.VS Off hides the vector state."""
    return h.mstatus & VS != 0


@fn
def write_vstart(h: Hart, value: u64) -> None:
    """vstart."""
    h.vstart = value & VSTART_MASK
    h.mstatus = h.mstatus | VS


@fn
def write_vxsat(h: Hart, value: u64) -> None:
    """vxsat."""
    h.vxsat = u32(value) & 1
    h.mstatus = h.mstatus | VS


@fn
def write_vxrm(h: Hart, value: u64) -> None:
    """vxrm."""
    h.vxrm = u32(value) & 3
    h.mstatus = h.mstatus | VS


@fn
def read_vcsr(h: Hart) -> u64:
    """vcsr is vxrm and vxsat."""
    return u64(h.vxrm << 1 | h.vxsat)


@fn
def write_vcsr(h: Hart, value: u64) -> None:
    """vcsr is vxrm and vxsat."""
    h.vxsat = u32(value) & 1
    h.vxrm = u32(value) >> 1 & 3
    h.mstatus = h.mstatus | VS
