"""The software TLB: what stands between a guest address and a host address on every engine that generates code.

Lives here: the tables, their generations, and how entries become void. Not here: filling and accesses (tlb_access),
page walks (isa/paging), who asks for a flush (isa, vmm), and what engines keep beside the tables (template/cells).
"""

from __future__ import annotations

from popek.isa.hart import MACHINE as MACHINE_MODE
from popek.isa.hart import MPP, MPP_SHIFT, MPRV, MXR, SUM, Hart
from popek.lang import Array, Ptr, addr_of, cast, fn, struct, u32, u64

ENTRIES = 1024  # direct mapped, 16 bytes each: a load touches the read half only
PAGE = 4096
PAGE_MASK = 0xFFFF_FFFF_FFFF_F000
ALL = 0xFFFF_FFFF_FFFF_FFFF

# Generations stand beside a page address. The low bits stay free: an access that is not aligned must match no cell.
GENERATION_STEP, LAST_GENERATION = 8, 4096 - 5 * 8

# Superpages of 2 MiB that may be cached, by their number: how many are told apart.
SUPERPAGES = 2048

# Pages watched for being flushed too often, how often that is, and how many walks a flush is worth.
SHY, SHY_FLUSHES, SHY_WALKS = 16, 4, 1000

# Translation regimes that have tables of their own, so that changing between them flushes nothing.
USER, SUPERVISOR, SUPERVISOR_SUM, MACHINE = 0, 1, 2, 3
REGIMES = 4

# How much a change of the regime makes void
NOTHING, THE_LOCAL, EVERYTHING = 0, 1, 2
SATP_MODE_SHIFT = 60

# Words of Hart.engine
E_TLBS, E_READ_GENERATION, E_WRITE_GENERATION, E_VIEW = 0, 6, 7, 8


@struct
class Entry:
    """`tag` is the guest page address with the generation in its low bits; host address = guest address + `addend`."""

    tag: u64
    addend: u64


@struct
class DataTlb:
    """One regime's table. `read` must stay first: both halves are addressed from one base.

    What was filled under another generation is void: a flush is a new generation. No generation is 0, nor is the tag
    of an entry in use. `pages` and `local` speak of what was filled since the last flush. `view` is for whoever keeps
    translations elsewhere: a number that never comes again, and another one whenever anything of this regime becomes
    void.
    """

    read: Array[Entry, ENTRIES]
    write: Array[Entry, ENTRIES]
    read_generation: u64
    write_generation: u64
    view: u64
    pages: Array[u64, 64]  # a bit per page number modulo 4096: entries may exist
    local: bool  # some entry may come from a page-table leaf that was not global (PTE.G)


@struct
class Shy:
    """A page that is flushed by address again and again (Linux patches its text through such a window)."""

    page: u64
    flushes: u64
    walks: u64  # since the last one: many mean that it is an ordinary page by now


@struct
class Tlbs:
    """All data tables of one hart, and the translation state they were filled under."""

    data: Array[DataTlb, REGIMES]
    generation: u64  # the last one given out
    view: u64  # likewise
    cells: u64  # host address of Entry records that an engine keeps at its own places, and their number
    cell_count: u64
    shy: Array[Shy, SHY]  # by page number modulo their number
    satp: u64
    mxr: u64
    super_pages: Array[u64, SUPERPAGES]  # number + 1 of a 2 MiB page of which a superpage may be cached; 0: none
    super_regions: Array[u64, 4]  # a bit per gigabyte, modulo 128, and half of the address space: larger ones may be
    super_noted: bool  # any of these
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
    regime = regime_of(h)
    d = t.data[regime]
    h.tlb = addr_of(d)
    h.engine[E_READ_GENERATION] = d.read_generation
    h.engine[E_WRITE_GENERATION] = d.write_generation
    h.engine[E_VIEW] = d.view
    if h.mode == MACHINE_MODE and regime != MACHINE:  # MPRV: fetches are of another regime than data
        t.view += 1
        h.engine[E_VIEW] = t.view


@fn(inline=True)
def renew_view(t: Tlbs, regime: u64) -> None:
    """What was remembered elsewhere of a regime is void. The caller selects anew."""
    t.view += 1
    t.data[regime].view = t.view


@fn
def renew_views(h: Hart) -> None:
    """What was remembered elsewhere is void, in all regimes; entries stay."""
    t = tlbs(h)
    for r in range(REGIMES):
        renew_view(t, r)
    select(h, t)


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
    d = t.data[regime]
    g = new_generation(t)
    d.read_generation = g
    d.write_generation = g
    d.local = False
    for i in range(64):
        d.pages[i] = 0
    renew_view(t, regime)


@fn
def flush_translated(t: Tlbs) -> None:
    """Forget what page tables said: every regime but MACHINE. The caller selects anew."""
    t.flushes += 1
    if t.super_noted:
        t.super_noted = False
        for i in range(4):
            t.super_regions[i] = 0
        for i in range(SUPERPAGES):
            t.super_pages[i] = 0
    for r in range(MACHINE):
        renew(t, r)


@fn
def flush_local(t: Tlbs) -> None:
    """Forget what the page tables said of the present address space only (leaves without PTE.G). As above.

    Of the supervisor's regime that is often nothing: a kernel's own pages are global.
    """
    t.flushes += 1
    for r in range(MACHINE):
        if t.data[r].local:
            renew(t, r)
        elif r != SUPERVISOR:
            renew_view(t, r)


@fn
def flush(h: Hart) -> None:
    """Forget every translation."""
    t = tlbs(h)
    flush_translated(t)
    renew(t, MACHINE)
    select(h, t)


@fn
def flush_page(h: Hart, vaddr: u64) -> bool:
    """Forget the translations that the leaf entry for `vaddr` may have given. True if all were forgotten."""
    t = tlbs(h)
    if in_superpage(t, vaddr):
        flush_translated(t)
        select(h, t)
        return True
    found = False
    one = t.shy[(vaddr >> 12) & (SHY - 1)]
    if one.page == vaddr & PAGE_MASK:
        one.walks = 0
    for r in range(MACHINE):
        if (t.data[r].pages[(vaddr >> 18) & 63] >> ((vaddr >> 12) & 63)) & 1 != 0:
            renew(t, r)
            found = True
    if found:
        t.flushes += 1
        select(h, t)
        if one.page != vaddr & PAGE_MASK:
            one.page = vaddr & PAGE_MASK
            one.flushes = 0
        one.flushes += 1
    return False


@fn(inline=True)
def is_shy(t: Tlbs, addr: u64) -> bool:
    """Is it cheaper to walk for each access to this page than to forget everything whenever it is flushed?"""
    one = t.shy[(addr >> 12) & (SHY - 1)]
    if one.flushes < SHY_FLUSHES or one.page != addr & PAGE_MASK:
        return False
    one.walks += 1
    if one.walks > SHY_WALKS:
        one.flushes = 0
    return True


@fn
def reset(h: Hart) -> None:
    """Empty tables, of which nothing is known."""
    t = tlbs(h)
    t.generation = LAST_GENERATION
    t.satp = h.satp
    t.mxr = h.mstatus & MXR
    flush(h)


@fn
def regime_changed(h: Hart) -> u32:
    """Point the hart at the table of its present regime. What had to be forgotten: NOTHING, THE_LOCAL or EVERYTHING."""
    t = tlbs(h)
    changed = u32(NOTHING)
    if h.satp != t.satp or (h.mstatus & MXR) != t.mxr:
        if (h.satp ^ t.satp) >> SATP_MODE_SHIFT == 0 and (h.mstatus & MXR) == t.mxr:
            flush_local(t)
            changed = THE_LOCAL
        else:
            flush_translated(t)
            changed = EVERYTHING
        t.satp = h.satp
        t.mxr = h.mstatus & MXR
    select(h, t)
    return changed


@fn
def protect(h: Hart) -> None:
    """Drop every write entry: code was translated, by this hart or another, from a page that may have one."""
    t = tlbs(h)
    for r in range(REGIMES):
        t.data[r].write_generation = new_generation(t)
        renew_view(t, r)
    select(h, t)


@fn(inline=True)
def super_page(addr: u64) -> u64:
    """The index of the 2 MiB around `addr`: the two halves of the address space do not meet."""
    return (addr >> 21) & (SUPERPAGES // 2 - 1) | (addr >> 63) * (SUPERPAGES // 2)


@fn(inline=True)
def super_region(addr: u64) -> u64:
    """The bit of the gigabyte around `addr`."""
    return (addr >> 30) & 127 | (addr >> 63) << 7


@fn
def remember_superpage(t: Tlbs, h: Hart, addr: u64) -> None:
    """A leaf above 4 KiB is cached in many entries: note where, since a flush by address there must flush all."""
    if h.walk_global == 0:
        cast(DataTlb, h.tlb).local = True
    if h.walk_level == 0:
        return
    t.super_noted = True
    if h.walk_level == 1:
        i = super_page(addr)
        number = (addr >> 21) + 1
        if t.super_pages[i] == 0:
            t.super_pages[i] = number
        elif t.super_pages[i] != number:
            t.super_pages[i] = ALL
    elif h.walk_level == 2:
        t.super_regions[super_region(addr) >> 6] |= u64(1) << (super_region(addr) & 63)
    else:
        for i in range(4):
            t.super_regions[i] = ALL


@fn(inline=True)
def in_superpage(t: Tlbs, addr: u64) -> bool:
    """May `addr` lie in a superpage that is cached?"""
    number = t.super_pages[super_page(addr)]
    if number == (addr >> 21) + 1 or number == ALL:
        return True
    return (t.super_regions[super_region(addr) >> 6] >> (super_region(addr) & 63)) & 1 != 0


@fn(inline=True)
def note_page(h: Hart, addr: u64) -> None:
    """Remember that entries for this page may exist in the present regime, as the last walk found it."""
    d = cast(DataTlb, h.tlb)
    d.pages[(addr >> 18) & 63] |= u64(1) << ((addr >> 12) & 63)
    if h.walk_global == 0:
        d.local = True
