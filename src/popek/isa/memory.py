"""Loads, stores, fetches and the addresses of atomics: translated, exact about faults.

Engines may substitute faster ones, never other ones.

Misaligned loads and stores of RAM succeed, also across pages (Zicclsm); misaligned atomics raise. Memory-mapped
devices take naturally aligned accesses only.
"""
from __future__ import annotations

from popek.isa.hart import (
    INSTRUCTION_ACCESS_FAULT,
    LOAD_ACCESS_FAULT,
    LOAD_MISALIGNED,
    STORE_ACCESS_FAULT,
    STORE_MISALIGNED,
    Hart,
)
from popek.isa.paging import EXECUTE, READ, WRITE, ram_address, translate
from popek.isa.ports import code_modified, mmio_read, mmio_write
from popek.lang import Trap, at_u8, at_u16, at_u32, at_u64, fence, fn, u8, u16, u32, u64


@fn
def load_u8(h: Hart, addr: u64) -> u8:
    """One byte."""
    paddr = translate(h, addr, READ)
    host = ram_address(h, paddr)
    if host != 0:
        return at_u8(host).value
    return u8(load_device(h, addr, paddr, 1))


@fn
def load_u16(h: Hart, addr: u64) -> u16:
    """Two bytes."""
    if addr & 1 != 0:
        return u16(load_misaligned(h, addr, 2))
    paddr = translate(h, addr, READ)
    host = ram_address(h, paddr)
    if host != 0:
        return at_u16(host).value
    return u16(load_device(h, addr, paddr, 2))


@fn
def load_u32(h: Hart, addr: u64) -> u32:
    """Four bytes."""
    if addr & 3 != 0:
        return u32(load_misaligned(h, addr, 4))
    paddr = translate(h, addr, READ)
    host = ram_address(h, paddr)
    if host != 0:
        return at_u32(host).value
    return u32(load_device(h, addr, paddr, 4))


@fn
def load_u64(h: Hart, addr: u64) -> u64:
    """Eight bytes."""
    if addr & 7 != 0:
        return load_misaligned(h, addr, 8)
    paddr = translate(h, addr, READ)
    host = ram_address(h, paddr)
    if host != 0:
        return at_u64(host).value
    return load_device(h, addr, paddr, 8)


@fn
def store_u8(h: Hart, addr: u64, value: u8) -> None:
    """One byte."""
    paddr = translate(h, addr, WRITE)
    host = ram_address(h, paddr)
    if host != 0:
        at_u8(host).value = value
        code_written(h, paddr)
    else:
        store_device(h, addr, paddr, 1, u64(value))


@fn
def store_u16(h: Hart, addr: u64, value: u16) -> None:
    """Two bytes."""
    if addr & 1 != 0:
        store_misaligned(h, addr, 2, u64(value))
        return
    paddr = translate(h, addr, WRITE)
    host = ram_address(h, paddr)
    if host != 0:
        at_u16(host).value = value
        code_written(h, paddr)
    else:
        store_device(h, addr, paddr, 2, u64(value))


@fn
def store_u32(h: Hart, addr: u64, value: u32) -> None:
    """Four bytes."""
    if addr & 3 != 0:
        store_misaligned(h, addr, 4, u64(value))
        return
    paddr = translate(h, addr, WRITE)
    host = ram_address(h, paddr)
    if host != 0:
        at_u32(host).value = value
        code_written(h, paddr)
    else:
        store_device(h, addr, paddr, 4, u64(value))


@fn
def store_u64(h: Hart, addr: u64, value: u64) -> None:
    """Eight bytes."""
    if addr & 7 != 0:
        store_misaligned(h, addr, 8, value)
        return
    paddr = translate(h, addr, WRITE)
    host = ram_address(h, paddr)
    if host != 0:
        at_u64(host).value = value
        code_written(h, paddr)
    else:
        store_device(h, addr, paddr, 8, value)


@fn(cold=True)
def load_device(h: Hart, vaddr: u64, paddr: u64, size: u32) -> u64:
    """Read a device register; what nobody answers is an access fault."""
    try:
        return mmio_read(h, paddr, size)
    except Trap:
        raise Trap(LOAD_ACCESS_FAULT, vaddr) from None


@fn(cold=True)
def store_device(h: Hart, vaddr: u64, paddr: u64, size: u32, value: u64) -> None:
    """Write a device register; what nobody answers is an access fault."""
    try:
        mmio_write(h, paddr, size, value)
    except Trap:
        raise Trap(STORE_ACCESS_FAULT, vaddr) from None


@fn(cold=True)
def load_misaligned(h: Hart, addr: u64, size: u64) -> u64:
    """Byte by byte; the fault of a second page carries that page's address."""
    first = ram_for(h, addr, READ)
    split = 4096 - (addr & 0xFFF)            # bytes up to the page's end
    second = first + split
    if split < size:
        second = ram_for(h, addr + split, READ)
    value: u64 = 0
    i: u64 = 0
    while i < size:
        host = first + i
        if i >= split:
            host = second + (i - split)
        value = value | u64(at_u8(host).value) << (i * 8)
        i += 1
    return value


@fn(cold=True)
def store_misaligned(h: Hart, addr: u64, size: u64, value: u64) -> None:
    """Byte by byte, but only once both pages are known to take it."""
    first = ram_for(h, addr, WRITE)
    split = 4096 - (addr & 0xFFF)
    second = first + split
    if split < size:
        second = ram_for(h, addr + split, WRITE)
    i: u64 = 0
    while i < size:
        host = first + i
        if i >= split:
            host = second + (i - split)
        at_u8(host).value = u8(value >> (i * 8))
        i += 1
    host_written(h, first)
    if split < size:
        host_written(h, second)


@fn
def ram_for(h: Hart, vaddr: u64, access: u32) -> u64:
    """Host address of guest RAM at `vaddr`; an access fault when it is not RAM."""
    host = ram_address(h, translate(h, vaddr, access))
    if host == 0:
        if access == WRITE:
            raise Trap(STORE_ACCESS_FAULT, vaddr)
        if access == READ:
            raise Trap(LOAD_ACCESS_FAULT, vaddr)
        raise Trap(INSTRUCTION_ACCESS_FAULT, vaddr)
    return host


@fn(inline=True)
def holds_code(h: Hart, host: u64) -> bool:
    """Has any hart translated code from this page of RAM?"""
    return h.board.code_map != 0 and at_u8(h.board.code_map + ((host - h.board.ram) >> 12)).value != 0


@fn(inline=True)
def code_written(h: Hart, paddr: u64) -> None:
    """After a write: tell the engine if code was translated from that page."""
    if h.board.code_map != 0:
        host_written(h, h.board.ram + (paddr - h.board.ram_base))


@fn
def host_written(h: Hart, host: u64) -> None:
    """The same, from the host address.

    The fence orders our write before the look at the map: a translator marks, then reads.
    """
    if h.board.code_map != 0:
        fence()
        offset = host - h.board.ram
        if at_u8(h.board.code_map + (offset >> 12)).value != 0:
            code_modified(h, h.board.ram_base + offset)


@fn
def block_written(h: Hart, host: u64, size: u64) -> None:
    """The same for a block of whole doublewords within one page."""
    if h.board.code_map != 0:
        fence()
        offset = host - h.board.ram
        if at_u8(h.board.code_map + (offset >> 12)).value != 0:
            i: u64 = 0
            while i < size:
                code_modified(h, h.board.ram_base + offset + i)
                i += 8


@fn
def fetch(h: Hart, pc: u64) -> u32:
    """The instruction at `pc`: 16 bits, or 32 when the low two bits are 11. Its halves may lie in two pages."""
    host = ram_for(h, pc, EXECUTE)
    low = u32(at_u16(host).value)
    if low & 3 != 3:
        return low
    if pc & 0xFFF == 0xFFE:
        host = ram_for(h, pc + 2, EXECUTE)
    else:
        host += 2
    return low | u32(at_u16(host).value) << 16


@fn
def reserve_address(h: Hart, vaddr: u64, size: u64) -> u64:
    """Host address for LR. Raises the exceptions of a load."""
    return reserve_address_walk(h, vaddr, size)


@fn
def reserve_address_walk(h: Hart, vaddr: u64, size: u64) -> u64:
    """The same, for engines that substitute the above by something faster."""
    if vaddr & (size - 1) != 0:
        raise Trap(LOAD_MISALIGNED, vaddr)
    return ram_for(h, vaddr, READ)


@fn
def atomic_address(h: Hart, vaddr: u64, size: u64) -> u64:
    """Host address for SC and AMO. Raises the exceptions of a store; call host_written afterwards."""
    return atomic_address_walk(h, vaddr, size)


@fn
def atomic_address_walk(h: Hart, vaddr: u64, size: u64) -> u64:
    """The same, for engines that substitute the above by something faster."""
    if vaddr & (size - 1) != 0:
        raise Trap(STORE_MISALIGNED, vaddr)
    return ram_for(h, vaddr, WRITE)
