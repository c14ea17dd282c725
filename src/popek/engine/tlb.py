"""The software TLB: what stands between a guest address and a host address on every engine that generates code.

Lives here: the tables, their filling and flushing, and the two ways to use them (``load_*``/``store_*``, which fill
on a miss, and ``try_load_*``/``try_store_*``, which give up with a bare Trap so that a template can leave for its
slow path before anything happened). Not here: page walks (isa/paging) and who asks for a flush (isa, vmm).

A page that holds translated code (``Board.code_map``) never gets a write entry, so self-modifying code costs the
hot path nothing: such a store takes the slow path, which tells the engine.
"""
from __future__ import annotations

from popek.isa import memory, paging
from popek.isa.hart import MACHINE as MACHINE_MODE
from popek.isa.hart import MPP, MPP_SHIFT, MPRV, MXR, SUM, Hart
from popek.lang import Array, Ptr, Trap, addr_of, at_u8, at_u16, at_u32, at_u64, cast, fn, struct, u8, u16, u32, u64, unlikely

ENTRIES = 1024  # direct mapped, 16 bytes each: a load touches the read half only
PAGE = 4096
PAGE_MASK = 0xFFFF_FFFF_FFFF_F000
ALL = 0xFFFF_FFFF_FFFF_FFFF
INVALID = 1  # never equal to a page address

# Translation regimes that have tables of their own, so that changing between them flushes nothing.
USER, SUPERVISOR, SUPERVISOR_SUM, MACHINE = 0, 1, 2, 3
REGIMES = 4
READ, WRITE = paging.READ, paging.WRITE


@struct
class Entry:
    """`tag` is the guest page address (or INVALID); host address = guest address + `addend`."""

    tag: u64
    addend: u64


@struct
class DataTlb:
    """One regime's table. `read` must stay first: generated code addresses both halves from one base."""

    read: Array[Entry, ENTRIES]
    write: Array[Entry, ENTRIES]
    used: u64  # anything filled since the last flush


@struct
class Tlbs:
    """All data tables of one hart, and the translation state they were filled under."""

    data: Array[DataTlb, REGIMES]
    satp: u64
    mxr: u64
    super_regions: Array[u64, 4]  # by gigabyte modulo 256: superpages may be cached
    misses: u64
    flushes: u64


@fn(inline=True)
def tlbs(h: Hart) -> Tlbs:
    """The tables of a hart: the engine's first word."""
    return cast(Tlbs, h.engine[0])


@fn(inline=True)
def read_entry(h: Hart, addr: u64) -> Ptr[Entry]:
    """Where a load of `addr` looks."""
    return cast(Entry, h.tlb + ((addr >> 8) & (ENTRIES - 1 << 4)))


@fn(inline=True)
def write_entry(h: Hart, addr: u64) -> Ptr[Entry]:
    """Where a store to `addr` looks."""
    return cast(Entry, h.tlb + ENTRIES * 16 + ((addr >> 8) & (ENTRIES - 1 << 4)))


@fn(inline=True)
def current(h: Hart) -> DataTlb:
    """The table of the regime that data accesses are in."""
    return cast(DataTlb, h.tlb)


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


@fn
def flush_table(t: DataTlb) -> None:
    """Forget one regime's translations."""
    if t.used == 0:
        return
    t.used = 0
    for i in range(ENTRIES):
        t.read[i].tag = INVALID
        t.write[i].tag = INVALID


@fn
def flush(t: Tlbs) -> None:
    """Forget every translation."""
    t.flushes += 1
    for i in range(4):
        t.super_regions[i] = 0
    for r in range(REGIMES):
        flush_table(t.data[r])


@fn
def flush_page(t: Tlbs, vaddr: u64) -> None:
    """Forget the translations that the leaf entry for `vaddr` may have given."""
    if in_superpage(t, vaddr):
        flush(t)
        return
    slot = (vaddr >> 12) & (ENTRIES - 1)
    for r in range(REGIMES):
        t.data[r].read[slot].tag = INVALID
        t.data[r].write[slot].tag = INVALID


@fn
def reset(h: Hart) -> None:
    """Empty tables that were zero bytes."""
    t = tlbs(h)
    for r in range(REGIMES):
        t.data[r].used = 1
    flush(t)
    t.satp = h.satp
    t.mxr = h.mstatus & MXR
    h.tlb = addr_of(t.data[regime_of(h)])


@fn
def regime_changed(h: Hart) -> bool:
    """Point the hart at the table of its present regime. True if translations changed altogether (all are forgotten)."""
    t = tlbs(h)
    changed = False
    if h.satp != t.satp or (h.mstatus & MXR) != t.mxr:
        t.satp = h.satp
        t.mxr = h.mstatus & MXR
        flush_table(t.data[USER])
        flush_table(t.data[SUPERVISOR])
        flush_table(t.data[SUPERVISOR_SUM])
        changed = True
    h.tlb = addr_of(t.data[regime_of(h)])
    return changed


@fn
def protect_code(t: Tlbs, host_page: u64) -> None:
    """Drop every write entry that leads to a host page: code was translated from it."""
    for r in range(REGIMES):
        d = t.data[r]
        if d.used != 0:
            for i in range(ENTRIES):
                if d.write[i].tag + d.write[i].addend == host_page:
                    d.write[i].tag = INVALID


@fn
def protect_all(t: Tlbs) -> None:
    """Drop every write entry."""
    for r in range(REGIMES):
        d = t.data[r]
        if d.used != 0:
            for i in range(ENTRIES):
                d.write[i].tag = INVALID


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
    if (addr & 4095) + size > PAGE:
        return memory.load_misaligned(h, addr, size)
    t = tlbs(h)
    t.misses += 1
    paddr = paging.translate(h, addr, READ)
    host = paging.ram_address(h, paddr)
    if host == 0:
        if addr & (size - 1) != 0:
            return memory.load_misaligned(h, addr, size)
        return memory.load_device(h, addr, paddr, u32(size))
    remember_superpage(t, h, addr)
    d = current(h)
    slot = (addr >> 12) & (ENTRIES - 1)
    d.read[slot].tag = addr & PAGE_MASK
    d.read[slot].addend = host - addr
    d.used = 1
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
    if (addr & 4095) + size > PAGE:
        memory.store_misaligned(h, addr, size, value)
        return
    t = tlbs(h)
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
def fill_write(h: Hart, addr: u64, host: u64) -> None:
    """Let stores to this page through."""
    e = write_entry(h, addr)
    e.tag = addr & PAGE_MASK
    e.addend = host - addr
    current(h).used = 1


@fn
def atomic_address(h: Hart, addr: u64, size: u64) -> u64:
    """memory.atomic_address through the table."""
    e = write_entry(h, addr)
    if e.tag == (addr & PAGE_MASK) and addr & (size - 1) == 0:
        return e.addend + addr
    host = memory.atomic_address_walk(h, addr, size)
    remember_superpage(tlbs(h), h, addr)
    if not holds_code(h, host):
        fill_write(h, addr, host)
    return host


@fn(inline=True)
def try_atomic_address(h: Hart, addr: u64, size: u64) -> u64:
    """memory.atomic_address if the table serves it (then the page holds no code), else a bare Trap."""
    e = write_entry(h, addr)
    if e.tag != (addr & PAGE_MASK) or addr & (size - 1) != 0:
        raise Trap(0, 0)
    return e.addend + addr


@fn(inline=True)
def try_reserve_address(h: Hart, addr: u64, size: u64) -> u64:
    """memory.reserve_address if the table serves it, else a bare Trap."""
    e = read_entry(h, addr)
    if e.tag != (addr & PAGE_MASK) or addr & (size - 1) != 0:
        raise Trap(0, 0)
    return e.addend + addr


@fn(inline=True)
def try_conditional(h: Hart, addr: u64, size: u64) -> u64:
    """What to do about an SC without reservation: leave it to the slow path."""
    raise Trap(0, 0)


@fn(inline=True)
def no_code_written(h: Hart, host: u64) -> None:
    """memory.host_written after try_atomic_address: nothing to tell."""
    pass


@fn(inline=True)
def load_u8(h: Hart, addr: u64) -> u8:
    """Load 8 bits through the table."""
    e = read_entry(h, addr)
    if unlikely(e.tag != (addr & PAGE_MASK)):
        return u8(load_miss(h, addr, 1))
    return at_u8(e.addend + addr).value


@fn(inline=True)
def store_u8(h: Hart, addr: u64, value: u8) -> None:
    """Store 8 bits through the table."""
    e = write_entry(h, addr)
    if unlikely(e.tag != (addr & PAGE_MASK)):
        store_miss(h, addr, 1, u64(value))
    else:
        at_u8(e.addend + addr).value = value


@fn(inline=True)
def try_load_u8(h: Hart, addr: u64) -> u8:
    """Load 8 bits if the table serves them, else a bare Trap."""
    e = read_entry(h, addr)
    if unlikely(e.tag != (addr & PAGE_MASK)):
        raise Trap(0, 0)
    return at_u8(e.addend + addr).value


@fn(inline=True)
def try_store_u8(h: Hart, addr: u64, value: u8) -> None:
    """Store 8 bits if the table serves them, else a bare Trap."""
    e = write_entry(h, addr)
    if unlikely(e.tag != (addr & PAGE_MASK)):
        raise Trap(0, 0)
    at_u8(e.addend + addr).value = value


@fn(inline=True)
def load_u16(h: Hart, addr: u64) -> u16:
    """Load 16 bits through the table."""
    e = read_entry(h, addr)
    if unlikely(e.tag != ((addr + 1) & PAGE_MASK)):
        return u16(load_miss(h, addr, 2))
    return at_u16(e.addend + addr).value


@fn(inline=True)
def store_u16(h: Hart, addr: u64, value: u16) -> None:
    """Store 16 bits through the table."""
    e = write_entry(h, addr)
    if unlikely(e.tag != ((addr + 1) & PAGE_MASK)):
        store_miss(h, addr, 2, u64(value))
    else:
        at_u16(e.addend + addr).value = value


@fn(inline=True)
def try_load_u16(h: Hart, addr: u64) -> u16:
    """Load 16 bits if the table serves them, else a bare Trap."""
    e = read_entry(h, addr)
    if unlikely(e.tag != ((addr + 1) & PAGE_MASK)):
        raise Trap(0, 0)
    return at_u16(e.addend + addr).value


@fn(inline=True)
def try_store_u16(h: Hart, addr: u64, value: u16) -> None:
    """Store 16 bits if the table serves them, else a bare Trap."""
    e = write_entry(h, addr)
    if unlikely(e.tag != ((addr + 1) & PAGE_MASK)):
        raise Trap(0, 0)
    at_u16(e.addend + addr).value = value


@fn(inline=True)
def load_u32(h: Hart, addr: u64) -> u32:
    """Load 32 bits through the table."""
    e = read_entry(h, addr)
    if unlikely(e.tag != ((addr + 3) & PAGE_MASK)):
        return u32(load_miss(h, addr, 4))
    return at_u32(e.addend + addr).value


@fn(inline=True)
def store_u32(h: Hart, addr: u64, value: u32) -> None:
    """Store 32 bits through the table."""
    e = write_entry(h, addr)
    if unlikely(e.tag != ((addr + 3) & PAGE_MASK)):
        store_miss(h, addr, 4, u64(value))
    else:
        at_u32(e.addend + addr).value = value


@fn(inline=True)
def try_load_u32(h: Hart, addr: u64) -> u32:
    """Load 32 bits if the table serves them, else a bare Trap."""
    e = read_entry(h, addr)
    if unlikely(e.tag != ((addr + 3) & PAGE_MASK)):
        raise Trap(0, 0)
    return at_u32(e.addend + addr).value


@fn(inline=True)
def try_store_u32(h: Hart, addr: u64, value: u32) -> None:
    """Store 32 bits if the table serves them, else a bare Trap."""
    e = write_entry(h, addr)
    if unlikely(e.tag != ((addr + 3) & PAGE_MASK)):
        raise Trap(0, 0)
    at_u32(e.addend + addr).value = value


@fn(inline=True)
def load_u64(h: Hart, addr: u64) -> u64:
    """Load 64 bits through the table."""
    e = read_entry(h, addr)
    if unlikely(e.tag != ((addr + 7) & PAGE_MASK)):
        return u64(load_miss(h, addr, 8))
    return at_u64(e.addend + addr).value


@fn(inline=True)
def store_u64(h: Hart, addr: u64, value: u64) -> None:
    """Store 64 bits through the table."""
    e = write_entry(h, addr)
    if unlikely(e.tag != ((addr + 7) & PAGE_MASK)):
        store_miss(h, addr, 8, u64(value))
    else:
        at_u64(e.addend + addr).value = value


@fn(inline=True)
def try_load_u64(h: Hart, addr: u64) -> u64:
    """Load 64 bits if the table serves them, else a bare Trap."""
    e = read_entry(h, addr)
    if unlikely(e.tag != ((addr + 7) & PAGE_MASK)):
        raise Trap(0, 0)
    return at_u64(e.addend + addr).value


@fn(inline=True)
def try_store_u64(h: Hart, addr: u64, value: u64) -> None:
    """Store 64 bits if the table serves them, else a bare Trap."""
    e = write_entry(h, addr)
    if unlikely(e.tag != ((addr + 7) & PAGE_MASK)):
        raise Trap(0, 0)
    at_u64(e.addend + addr).value = value
