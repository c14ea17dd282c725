"""Where a hart came from: the guest's code and stack are read with nothing that the guest could see. For tracing.

Lives here: what calls and jumps say about where they lead. Not here: what a sample is made of (tracing).
"""

from __future__ import annotations

from popek.engine.optimizing.state import FROM_SITE, SITE_SHIFT
from popek.engine.template.layout import Cache
from popek.engine.template.pages import code_page
from popek.isa import paging
from popek.isa.hart import Hart
from popek.isa.paging import EXECUTE, READ
from popek.lang import Trap, at_u16, at_u64, fn, i32, i64, u32, u64

AUIPC, JALR = 0x17, 0x67
UNKNOWN = 1  # for an address: what a register said that is gone


@fn
def physical(h: Hart, addr: u64, access: u32, mode: u32) -> u64:
    """The physical address, if that is RAM and can be accessed without an effect; else 0."""
    try:
        paddr = paging.peek(h, addr, access, mode)
        if paging.ram_address(h, paddr) != 0:
            return paddr
    except Trap:
        pass
    return 0


@fn
def word_at(h: Hart, addr: u64, mode: u32) -> u64:
    """A doubleword of data, 0 where there is none."""
    if addr & 7 == 0:
        paddr = physical(h, addr, READ, mode)
        if paddr != 0:
            return at_u64(paging.ram_address(h, paddr)).value
    return 0


@fn
def half(h: Hart, addr: u64, mode: u32) -> u64:
    """16 bits of code, 0 (no instruction) where there is none."""
    paddr = physical(h, addr, EXECUTE, mode)
    if paddr != 0:
        return u64(at_u16(paging.ram_address(h, paddr)).value)
    return 0


@fn
def code(h: Hart, addr: u64, mode: u32) -> u64:
    """32 bits of code."""
    return half(h, addr, mode) | half(h, addr + 2, mode) << 16


@fn
def upper(instruction: u64) -> u64:
    """The immediate of auipc."""
    return u64(i64(i32(u32(instruction & 0xFFFF_F000))))


@fn
def low(instruction: u64) -> u64:
    """The immediate of jalr and of loads."""
    return u64(i64(i32(u32(instruction))) >> 20)


@fn
def kept(h: Hart, rs1: u64, offset: u64) -> u64:
    """Where a call through a register led, if that is one that functions keep; else UNKNOWN."""
    if rs1 & 30 == 8 or (rs1 >= 18 and rs1 <= 27):
        return h.x[rs1] + offset
    return UNKNOWN


@fn
def called(h: Hart, addr: u64, mode: u32) -> u64:
    """Where the call with ra before that address led, if it returned just now; 0 if there is no call."""
    last = half(h, addr - 2, mode)
    if last & 0xF07F == 0x9002 and last & 0xF80 != 0:  # c.jalr
        return kept(h, last >> 7 & 31, 0)
    word = half(h, addr - 4, mode) | last << 16
    if word & 0xFFF == 0x0EF:  # jal
        offset = word >> 21 & 0x3FF | (word >> 20 & 1) << 10 | (word >> 12 & 0xFF) << 11 | (word >> 31) << 19
        return through(h, addr - 4 + u64(i64(offset << 44) >> 43), mode)
    if word & 0x7FFF != 0x0E7:  # jalr
        return 0
    rs1 = word >> 15 & 31
    before = code(h, addr - 8, mode)
    if before & 0x7F == AUIPC and before >> 7 & 31 == rs1:
        return through(h, addr - 8 + upper(before) + low(word), mode)
    return kept(h, rs1, low(word))


@fn
def through(h: Hart, addr: u64, mode: u32) -> u64:
    """Where an entry of a procedure linkage table leads (psABI: auipc t3; ld t3; jalr t1, t3); else the address."""
    first = code(h, addr, mode)
    second = code(h, addr + 4, mode)
    if first & 0xFFF == 0xE17 and second & 0xF_FFFF == 0xE_3E03 and code(h, addr + 8, mode) == 0x000E_0367:
        return word_at(h, addr + upper(first) + low(second), mode)
    return addr


@fn
def source(h: Hart, c: Cache, mode: u32) -> u64:
    """Where the indirect jump stands that led here, 0 if nobody knows."""
    told = u64(c.optimizing.came_from)
    if told & FROM_SITE == 0:
        return 0
    site = told >> SITE_SHIFT
    pc = code_page(c, site >> 11).vpage + (site & 2047) * 2
    word = code(h, pc, mode)
    return pc if word & 0x7F == JALR or (word & 0xE07F == 0x8002 and word & 0xF80 != 0) else 0
