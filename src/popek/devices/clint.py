"""Software interrupts and machine timers: RISC-V ACLINT Specification, at SiFive's CLINT places. In the typed subset.

Registers only: lines and deadlines are the monitor's.
"""
from __future__ import annotations

from popek.devices.irq import drive
from popek.isa.hart import MSIP, Hart
from popek.lang import Opaque, Trap, fn, port, u32, u64

MSIP_END, MTIMECMP, MTIMECMP_END, MTIME = 0x4000, 0x4000, 0xBFF8, 0xBFF8


@port
def lines(owner: Opaque, i: u64) -> u64:
    """Hart `i`'s mip."""
    ...


@port
def read_time(h: Hart) -> u64:
    """mtime"""
    ...


@port
def set_time(h: Hart, value: u64) -> None:
    """Write mtime."""
    ...


@port
def machine_deadline(h: Hart, i: u64) -> u64:
    """mtimecmp of hart `i`"""
    ...


@port
def set_machine_deadline(h: Hart, i: u64, value: u64) -> None:
    """Write mtimecmp of hart `i`."""
    ...


@fn
def clint_read(h: Hart, owner: Opaque, harts: u64, offset: u64, size: u32) -> u64:
    """Read msip, mtimecmp or mtime; the latter two also by halves."""
    i = offset >> 2
    if offset < MSIP_END:
        if i >= harts:
            return 0
        return u64(lines(owner, i) & MSIP != 0)
    whole: u64 = 0
    if offset & ~7 == MTIME:
        whole = read_time(h)
    elif offset >= MTIMECMP_END:
        raise Trap(0, offset)
    elif offset - MTIMECMP >> 3 < harts:
        whole = machine_deadline(h, offset - MTIMECMP >> 3)
    return part(whole, offset, size)


@fn
def part(whole: u64, offset: u64, size: u32) -> u64:
    """The accessed bytes of a 64-bit register."""
    value = whole >> (offset & 7) * 8
    if size == 8:
        return value
    return value & ((u64(1) << u64(size) * 8) - 1)


@fn
def merged(whole: u64, offset: u64, size: u32, value: u64) -> u64:
    """A 64-bit register after a write of some of its bytes."""
    if size == 8:
        return value
    mask = (u64(1) << u64(size) * 8) - 1 << (offset & 7) * 8
    return whole & ~mask | value << (offset & 7) * 8 & mask


@fn
def clint_write(h: Hart, owner: Opaque, harts: u64, offset: u64, size: u32, value: u64) -> None:
    """Write msip, mtimecmp or mtime."""
    i = offset >> 2
    if offset < MSIP_END:
        if i < harts:
            drive(owner, i, MSIP, u32(value) & 1)
    elif offset & ~7 == MTIME:
        set_time(h, merged(read_time(h), offset, size, value))
    elif offset >= MTIMECMP_END:
        raise Trap(0, offset)
    elif offset - MTIMECMP >> 3 < harts:
        i = offset - MTIMECMP >> 3
        set_machine_deadline(h, i, merged(machine_deadline(h, i), offset, size, value))
