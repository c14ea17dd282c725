"""Zicbom and Zicboz: cache-block management and zeroing, 64-byte blocks.

Unprivileged ISA, "CMO Extensions". Guest memory is coherent.
"""
from __future__ import annotations

from popek.isa.hart import (
    CBCFE,
    CBIE,
    CBZE,
    ILLEGAL_INSTRUCTION,
    LOAD_ACCESS_FAULT,
    MACHINE,
    STORE_ACCESS_FAULT,
    USER,
    Hart,
)
from popek.isa.memory import atomic_address, block_written
from popek.isa.op import op
from popek.isa.paging import READ, translate
from popek.lang import Trap, at_u64, fn, u64

BLOCK = 64


@fn
def need_enabled(h: Hart, enable: u64) -> None:
    """menvcfg governs everything below M, senvcfg U as well."""
    if h.mode != MACHINE and h.menvcfg & enable == 0:
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    if h.mode == USER and h.senvcfg & enable == 0:
        raise Trap(ILLEGAL_INSTRUCTION, 0)


@fn
def need_reachable(h: Hart, addr: u64) -> None:
    """Management needs any access to the block, and its faults are those of a store."""
    try:
        translate(h, addr, READ)
    except Trap:
        raise Trap(h.trap_cause + (STORE_ACCESS_FAULT - LOAD_ACCESS_FAULT), addr) from None


@op("000000000000 rs1 010 00000 0001111", "cbo.inval (rs1)", kind="store")
def cbo_inval(h: Hart, rs1: u64) -> None:
    need_enabled(h, CBIE)
    need_reachable(h, rs1)


@op("000000000001 rs1 010 00000 0001111", "cbo.clean (rs1)", kind="store")
def cbo_clean(h: Hart, rs1: u64) -> None:
    need_enabled(h, CBCFE)
    need_reachable(h, rs1)


@op("000000000010 rs1 010 00000 0001111", "cbo.flush (rs1)", kind="store")
def cbo_flush(h: Hart, rs1: u64) -> None:
    need_enabled(h, CBCFE)
    need_reachable(h, rs1)


@op("000000000100 rs1 010 00000 0001111", "cbo.zero (rs1)", kind="store")
def cbo_zero(h: Hart, rs1: u64) -> None:
    need_enabled(h, CBZE)
    block = atomic_address(h, rs1, 1) & ~(BLOCK - 1)
    for i in range(BLOCK // 8):
        at_u64(block + i * 8).value = 0
    block_written(h, block, BLOCK)
