"""The software TLB: what stands between a guest address and a host address on every engine that generates code.

Lives here: the tables, their filling and flushing, and accesses through them. Not here: page walks (isa/paging), who asks
for a flush (isa, vmm), and what engines keep beside the tables (template/cells).

A page that holds translated code (``Board.code_map``) never gets a write entry, so self-modifying code costs the
hot path nothing: such a store takes the slow path, which tells the engine.
"""

from __future__ import annotations

from typing import Any

from popek.isa import memory, paging
from popek.isa.hart import MACHINE as MACHINE_MODE
from popek.isa.hart import MPP, MPP_SHIFT, MPRV, MXR, SUM, Hart
from popek.lang import Array, Ptr, addr_of, at_u8, at_u16, at_u32, at_u64, cast, fn, struct, u8, u16, u32, u64, unlikely

ENTRIES = 1024  # direct mapped, 16 bytes each: a load touches the read half only
SHY, SHY_FLUSHES = 16, 4
# Generations stand beside a page address. The low bits stay free: an access that is not aligned must match no cell.
GENERATION_STEP, LAST_GENERATION = 8, 4096 - 5 * 8
PAGE = 4096
PAGE_MASK = 0xFFFF_FFFF_FFFF_F000
ALL = 0xFFFF_FFFF_FFFF_FFFF

# Translation regimes that have tables of their own, so that changing between them flushes nothing.
USER, SUPERVISOR, SUPERVISOR_SUM, MACHINE = 0, 1, 2, 3
REGIMES = 4
READ, WRITE = paging.READ, paging.WRITE
# Words of Hart.engine
E_TLBS, E_READ_GENERATION, E_WRITE_GENERATION = 0, 6, 7


@struct
class Entry:
    """`tag` is the guest page address with the generation in its low bits; host address = guest address + `addend`."""

    tag: u64
    addend: u64


@struct
class DataTlb:
    """One regime's table. `read` must stay first: both halves are addressed from one base.

    What was filled under another generation is void: a flush is a new generation. No generation is 0, nor is a used tag.
    """

    read: Array[Entry, ENTRIES]
    write: Array[Entry, ENTRIES]
    read_generation: u64
    write_generation: u64


@struct
class Shy:
    """A page that is flushed by address again and again (Linux patches its text through such a window)."""

    page: u64
    flushes: u64


@struct
class Tlbs:
    """All data tables of one hart, and the translation state they were filled under."""

    data: Array[DataTlb, REGIMES]
    generation: u64  # the last one given out
    cells: u64  # host address of Entry records that an engine keeps at its own places, and their number
    cell_count: u64
    pages: Array[u64, 64]  # by page number modulo 4096: entries may exist, outside regime MACHINE
    shy: Array[Shy, SHY]  # by page number modulo their number
    satp: u64
    mxr: u64
    super_regions: Array[u64, 4]  # by gigabyte modulo 256: superpages may be cached
    last: Entry  # what served the last access through load_*/store_*/atomic_address; tag 0: nothing
    misses: u64
    flushes: u64


@fn(inline=True)
def tlbs(h: Hart) -> Tlbs:
    """The tables of a hart: the engine's first word."""
    return cast(Tlbs, h.engine[E_TLBS])


@fn(inline=True)
def read_entry(h: Hart, addr: u64) -> Ptr[Entry]:
    """Where a load of `addr` looks."""
    return cast(Entry, h.tlb + ((addr >> 8) & (ENTRIES - 1 << 4)))


@fn(inline=True)
def write_entry(h: Hart, addr: u64) -> Ptr[Entry]:
    """Where a store to `addr` looks."""
    return cast(Entry, h.tlb + ENTRIES * 16 + ((addr >> 8) & (ENTRIES - 1 << 4)))


@fn(inline=True)
def remember(h: Hart, e: Entry) -> None:
    """Note what served an access."""
    t = tlbs(h)
    t.last.tag = e.tag
    t.last.addend = e.addend


@fn(inline=True)
def read_tag(h: Hart, last: u64) -> u64:
    """The tag that serves a load whose last byte is at `last`: one that crosses into another page finds no entry."""
    return (last & PAGE_MASK) | h.engine[E_READ_GENERATION]


@fn(inline=True)
def write_tag(h: Hart, last: u64) -> u64:
    """The same for a store."""
    return (last & PAGE_MASK) | h.engine[E_WRITE_GENERATION]


@fn
def regime_of(h: Hart) -> u32:
    """Which table serves the hart's data accesses now."""
    mode = h.mode
    if mode == MACHINE_MODE and (h.mstatus & MPRV) != 0:
        mode = u32((h.mstatus & MPP) >> MPP_SHIFT)
    if mode == MACHINE_MODE:
        return MACHINE
    if mode == 0:
        return USER
    if (h.mstatus & SUM) != 0:
        return SUPERVISOR_SUM
    return SUPERVISOR


@fn(inline=True)
def select(h: Hart, t: Tlbs) -> None:
    """Point the hart at the table of its present regime."""
    d = t.data[regime_of(h)]
    h.tlb = addr_of(d)
    h.engine[E_READ_GENERATION] = d.read_generation
    h.engine[E_WRITE_GENERATION] = d.write_generation


@fn
def new_generation(t: Tlbs) -> u64:
    """A generation that no entry has. When all were used, every entry goes, and every regime gets a new one."""
    if t.generation >= LAST_GENERATION:
        forget_entries(t)
        t.generation = 0
        for r in range(REGIMES):
            t.generation += GENERATION_STEP
            t.data[r].read_generation = t.generation
            t.data[r].write_generation = t.generation
    t.generation += GENERATION_STEP
    return t.generation


@fn(cold=True)
def forget_entries(t: Tlbs) -> None:
    """Clear every tag."""
    for r in range(REGIMES):
        for i in range(ENTRIES):
            t.data[r].read[i].tag = 0
            t.data[r].write[i].tag = 0
    for i in range(t.cell_count):
        cast(Entry, t.cells + i * Entry.size).tag = 0


@fn
def renew(t: Tlbs, regime: u64) -> None:
    """Forget one regime's translations. No two regimes share a generation: cells know nothing else of the regime."""
    g = new_generation(t)
    t.data[regime].read_generation = g
    t.data[regime].write_generation = g


@fn
def flush_translated(t: Tlbs) -> None:
    """Forget what page tables said: every regime but MACHINE. The caller selects anew."""
    t.flushes += 1
    for i in range(4):
        t.super_regions[i] = 0
    for i in range(64):
        t.pages[i] = 0
    for r in range(MACHINE):
        g = new_generation(t)
        t.data[r].read_generation = g
        t.data[r].write_generation = g


@fn
def flush(h: Hart) -> None:
    """Forget every translation."""
    t = tlbs(h)
    flush_translated(t)
    g = new_generation(t)
    t.data[MACHINE].read_generation = g
    t.data[MACHINE].write_generation = g
    select(h, t)


@fn
def flush_page(h: Hart, vaddr: u64) -> bool:
    """Forget the translations that the leaf entry for `vaddr` may have given. True if all were forgotten."""
    t = tlbs(h)
    if in_superpage(t, vaddr):
        flush_translated(t)
        select(h, t)
        return True
    if (t.pages[(vaddr >> 18) & 63] >> ((vaddr >> 12) & 63)) & 1 != 0:
        flush_translated(t)
        select(h, t)
        one = t.shy[(vaddr >> 12) & (SHY - 1)]
        if one.page != vaddr & PAGE_MASK:
            one.page = vaddr & PAGE_MASK
            one.flushes = 0
        one.flushes += 1
    return False


@fn(inline=True)
def is_shy(t: Tlbs, addr: u64) -> bool:
    """Is it cheaper to walk for each access to this page than to forget everything whenever it is flushed?"""
    one = t.shy[(addr >> 12) & (SHY - 1)]
    return one.flushes >= SHY_FLUSHES and one.page == addr & PAGE_MASK


@fn
def reset(h: Hart) -> None:
    """Empty tables, of which nothing is known."""
    t = tlbs(h)
    t.generation = LAST_GENERATION
    t.satp = h.satp
    t.mxr = h.mstatus & MXR
    flush(h)


@fn
def regime_changed(h: Hart) -> bool:
    """Point the hart at the table of its present regime. True if translations changed altogether (all are forgotten)."""
    t = tlbs(h)
    changed = False
    if h.satp != t.satp or (h.mstatus & MXR) != t.mxr:
        t.satp = h.satp
        t.mxr = h.mstatus & MXR
        flush_translated(t)
        changed = True
    select(h, t)
    return changed


@fn
def protect(h: Hart) -> None:
    """Drop every write entry: code was translated, by this hart or another, from a page that may have one."""
    t = tlbs(h)
    for r in range(REGIMES):
        g = new_generation(t)
        t.data[r].write_generation = g
    select(h, t)


@fn
def remember_superpage(t: Tlbs, h: Hart, addr: u64) -> None:
    """A leaf above 4 KiB is cached in many entries: note its gigabyte, in which a flush by address must flush all."""
    if h.walk_level > 2:
        for i in range(4):
            t.super_regions[i] = ALL
    elif h.walk_level != 0:
        t.super_regions[(addr >> 36) & 3] |= u64(1) << ((addr >> 30) & 63)


@fn(inline=True)
def in_superpage(t: Tlbs, addr: u64) -> bool:
    """May `addr` lie in a superpage that is cached?"""
    return (t.super_regions[(addr >> 36) & 3] >> ((addr >> 30) & 63)) & 1 != 0


@fn(cold=True)
def load_miss(h: Hart, addr: u64, size: u64) -> u64:
    """A load that the table does not serve: walk, fill, load."""
    t = tlbs(h)
    t.last.tag = 0
    if (addr & 4095) + size > PAGE:
        return memory.load_misaligned(h, addr, size)
    t.misses += 1
    paddr = paging.translate(h, addr, READ)
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
    paddr = paging.translate(h, addr, WRITE)
    host = paging.ram_address(h, paddr)
    if host == 0:
        if addr & (size - 1) != 0:
            memory.store_misaligned(h, addr, size, value)
        else:
            memory.store_device(h, addr, paddr, u32(size), value)
        return
    remember_superpage(t, h, addr)
    coded = holds_code(h, host)
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
def holds_code(h: Hart, host: u64) -> bool:
    """Has any hart translated code from this page of RAM?"""
    return h.board.code_map != 0 and at_u8(h.board.code_map + ((host - h.board.ram) >> 12)).value != 0


@fn(inline=True)
def note_page(t: Tlbs, addr: u64) -> None:
    """Remember that entries for this page may exist."""
    t.pages[(addr >> 18) & 63] |= u64(1) << ((addr >> 12) & 63)


@fn(inline=True)
def fill_read(h: Hart, addr: u64, host: u64) -> None:
    """Let loads from this page through."""
    if is_shy(tlbs(h), addr):
        return
    note_page(tlbs(h), addr)
    e = read_entry(h, addr)
    e.tag = read_tag(h, addr)
    e.addend = host - addr
    remember(h, e)


@fn(inline=True)
def fill_write(h: Hart, addr: u64, host: u64) -> None:
    """Let stores to this page through."""
    if is_shy(tlbs(h), addr):
        return
    note_page(tlbs(h), addr)
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
    if not holds_code(h, host):
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
