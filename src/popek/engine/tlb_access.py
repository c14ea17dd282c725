"""Accesses to guest memory through the software TLB: what stands for isa.memory's functions in a native build.

Lives here: looking up, and what happens on a miss: walk, fill, access. Not here: the tables and how their entries
become void (tlb), accesses of generated code (template/cells).

A page that holds translated code (``Board.code_map``) never gets a write entry, so self-modifying code costs the
hot path nothing: such a store takes the slow path, which tells the engine.
"""

from __future__ import annotations

from typing import Any

from popek.engine.tlb import (
    PAGE,
    Entry,
    is_shy,
    note_page,
    read_entry,
    read_tag,
    remember_superpage,
    tlbs,
    write_entry,
    write_tag,
)
from popek.isa import memory, paging
from popek.isa.hart import Hart
from popek.lang import at_u8, at_u16, at_u32, at_u64, fn, u8, u16, u32, u64, unlikely


@fn(inline=True)
def remember(h: Hart, e: Entry) -> None:
    """Note what served an access."""
    t = tlbs(h)
    t.last.tag = e.tag
    t.last.addend = e.addend


@fn(cold=True)
def load_miss(h: Hart, addr: u64, size: u64) -> u64:
    """A load that the table does not serve: walk, fill, load."""
    t = tlbs(h)
    t.last.tag = 0
    if (addr & 4095) + size > PAGE:
        return memory.load_misaligned(h, addr, size)
    t.misses += 1
    paddr = paging.translate(h, addr, paging.READ)
    host = paging.ram_address(h, paddr)
    if host == 0:
        if addr & (size - 1) != 0:
            return memory.load_misaligned(h, addr, size)
        return memory.load_device(h, addr, paddr, u32(size))
    remember_superpage(t, h, addr)
    fill_read(h, addr, host)
    if size == 8:
        return at_u64(host).value
    if size == 4:
        return u64(at_u32(host).value)
    if size == 2:
        return u64(at_u16(host).value)
    return u64(at_u8(host).value)


@fn(cold=True)
def store_miss(h: Hart, addr: u64, size: u64, value: u64) -> None:
    """A store that the table does not serve: walk, fill unless the page holds code, store."""
    t = tlbs(h)
    t.last.tag = 0
    if (addr & 4095) + size > PAGE:
        memory.store_misaligned(h, addr, size, value)
        return
    t.misses += 1
    paddr = paging.translate(h, addr, paging.WRITE)
    host = paging.ram_address(h, paddr)
    if host == 0:
        if addr & (size - 1) != 0:
            memory.store_misaligned(h, addr, size, value)
        else:
            memory.store_device(h, addr, paddr, u32(size), value)
        return
    remember_superpage(t, h, addr)
    coded = memory.holds_code(h, host)
    if not coded:
        fill_write(h, addr, host)
    if size == 8:
        at_u64(host).value = value
    elif size == 4:
        at_u32(host).value = u32(value)
    elif size == 2:
        at_u16(host).value = u16(value)
    else:
        at_u8(host).value = u8(value)
    if coded:
        memory.host_written(h, host)


@fn(inline=True)
def fill_read(h: Hart, addr: u64, host: u64) -> None:
    """Let loads from this page through."""
    if is_shy(tlbs(h), addr):
        return
    note_page(h, addr)
    e = read_entry(h, addr)
    e.tag = read_tag(h, addr)
    e.addend = host - addr
    remember(h, e)


@fn(inline=True)
def fill_write(h: Hart, addr: u64, host: u64) -> None:
    """Let stores to this page through."""
    if is_shy(tlbs(h), addr):
        return
    note_page(h, addr)
    e = write_entry(h, addr)
    e.tag = write_tag(h, addr)
    e.addend = host - addr
    remember(h, e)


@fn
def atomic_address(h: Hart, addr: u64, size: u64) -> u64:
    """memory.atomic_address through the table."""
    e = write_entry(h, addr)
    if e.tag == write_tag(h, addr) and addr & (size - 1) == 0:
        remember(h, e)
        return e.addend + addr
    tlbs(h).last.tag = 0
    host = memory.atomic_address_walk(h, addr, size)
    remember_superpage(tlbs(h), h, addr)
    if not memory.holds_code(h, host):
        fill_write(h, addr, host)
    return host


@fn
def reserve_address(h: Hart, addr: u64, size: u64) -> u64:
    """memory.reserve_address through the table."""
    e = read_entry(h, addr)
    if e.tag == read_tag(h, addr) and addr & (size - 1) == 0:
        remember(h, e)
        return e.addend + addr
    host = memory.reserve_address_walk(h, addr, size)
    remember_superpage(tlbs(h), h, addr)
    fill_read(h, addr, host)
    return host


def _accesses(n: int, value: Any, at: Any) -> tuple[Any, Any]:
    """memory.load_u<n> and memory.store_u<n> through the table."""
    size = n // 8
    last = size - 1

    @fn(inline=True)
    def load(h: Hart, addr: u64) -> value:
        e = read_entry(h, addr)
        if unlikely(e.tag != read_tag(h, addr + last)):
            return value(load_miss(h, addr, size))
        remember(h, e)
        return at(e.addend + addr).value

    @fn(inline=True)
    def store(h: Hart, addr: u64, v: value) -> None:
        e = write_entry(h, addr)
        if unlikely(e.tag != write_tag(h, addr + last)):
            store_miss(h, addr, size, u64(v))
        else:
            remember(h, e)
            at(e.addend + addr).value = value(v)

    return load, store


load_u8, store_u8 = _accesses(8, u8, at_u8)
load_u16, store_u16 = _accesses(16, u16, at_u16)
load_u32, store_u32 = _accesses(32, u32, at_u32)
load_u64, store_u64 = _accesses(64, u64, at_u64)
