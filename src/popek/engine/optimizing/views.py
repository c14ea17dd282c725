"""Views: the guest memory that a region may access without looking further, found when an access does not fit.

Lives here: how far memory around an address is contiguous and permitted. Nothing the guest could see happens, and
nothing raises: what is not plain RAM that may be accessed at once is left to the slow path.

A view is void as soon as E_VIEW changes (tlb): whatever is put into one must be noted for flushes as a TLB entry is.
"""

from popek.engine import tlb
from popek.engine.optimizing.state import Extent, View
from popek.engine.template.layout import E_CACHE, Cache
from popek.engine.tlb import PAGE, PAGE_MASK
from popek.engine.tlb_access import fill_read, fill_write
from popek.isa import memory, paging, pmp
from popek.isa.hart import MACHINE, Hart
from popek.isa.paging import READ, SATP_BARE, WRITE
from popek.lang import Trap, at_u8, at_u64, cast, fn, u32, u64

FAR = 1 << 30  # a view for writing reaches so far each way: pages that hold code have to be looked for
NEIGHBOURS = 16  # pages of 4 KiB each way


@fn(inline=True)
def is_bare(h: Hart, access: u32) -> bool:
    """Are data addresses physical ones?"""
    return paging.access_mode(h, access) == MACHINE or h.satp >> 60 == SATP_BARE


@fn
def clip(e: Extent, middle: u64, low: u64, high: u64) -> None:
    """Cut off what is beyond low..high - 1 (high 0: 2^64) around `middle`, which is inside."""
    end = e.low + e.size
    if low > e.low:
        e.low = low
    if high - 1 < end - 1:
        end = high
    e.size = end - e.low


@fn
def clip_pmp(h: Hart, e: Extent, paddr: u64) -> None:
    """Keep the part of a physical extent around `paddr` that the same PMP entry decides about."""
    i: u64 = 0
    while i < h.pmp_used:
        cfg = h.pmpcfg[i]
        low, high = u64(0), u64(0)
        if u32(cfg) >> 3 & 3 == pmp.A_TOR:
            if i != 0:
                low = (h.pmpaddr[i - 1] & ~pmp.GRAIN_MASK) << 2
            high = (h.pmpaddr[i] & ~pmp.GRAIN_MASK) << 2
        elif u32(cfg) >> 3 & 3 == pmp.A_NAPOT:
            inside = h.pmpaddr[i] | pmp.GRAIN_MASK >> 1
            inside = inside ^ (inside + 1)
            low = (h.pmpaddr[i] & ~inside) << 2
            high = low + ((inside + 1) << 2)
        if low < high:
            if paddr - low < high - low:
                clip(e, paddr, low, high)
                return
            if high <= paddr:
                clip(e, paddr, high, 0)
            else:
                clip(e, paddr, 0, low)
        i += 1


@fn
def physical(h: Hart, e: Extent, paddr: u64, inside: u64, mode: u32) -> None:
    """Physical memory around `paddr` that is RAM and under one PMP entry, within a block of `inside` + 1 bytes."""
    e.low = h.board.ram_base
    e.size = h.board.ram_size
    if inside + 1 != 0:
        clip(e, paddr, paddr & ~inside, (paddr & ~inside) + inside + 1)
    if h.pmp_used != 0 and (mode != MACHINE or h.pmp_locked != 0):
        clip_pmp(h, e, paddr)


@fn
def one_page(h: Hart, e: Extent, addr: u64, addend: u64, access: u32) -> None:
    """The page of `addr`, and neighbours that the TLB knows and that lie side by side on the host, too."""
    page = addr & PAGE_MASK
    low, high = page, page + PAGE
    for _ in range(NEIGHBOURS):
        if not known(h, low - PAGE, addend, access):
            break
        low -= PAGE
    for _ in range(NEIGHBOURS):
        if not known(h, high, addend, access):
            break
        high += PAGE
    e.low = low
    e.size = high - low
    e.addend = addend


@fn(inline=True)
def known(h: Hart, addr: u64, addend: u64, access: u32) -> bool:
    """Does the TLB serve accesses to that page with that addend?"""
    if access == WRITE:
        w = tlb.write_entry(h, addr)
        return w.tag == tlb.write_tag(h, addr) and w.addend == addend
    r = tlb.read_entry(h, addr)
    return r.tag == tlb.read_tag(h, addr) and r.addend == addend


@fn
def avoid_code(h: Hart, e: Extent, addr: u64) -> None:
    """Keep pages that hold translated code out of a view for writing. The page of `addr` holds none."""
    page = addr & PAGE_MASK
    lowest, highest = e.low, e.low + e.size
    if page - lowest > FAR:
        lowest = page - FAR
    if highest - page > FAR:
        highest = page + FAR
    marks = h.board.code_map + ((addr + e.addend - h.board.ram) >> 12)
    below: u64 = 0
    most = (page - lowest) >> 12
    while below < most and at_u8(marks - below - 1).value == 0:
        below += 1
        while below + 8 <= most and at_u64(marks - below - 8).value == 0:
            below += 8
    above: u64 = 1
    most = (highest - page) >> 12
    while above < most and at_u8(marks + above).value == 0:
        above += 1
        while above + 8 <= most and at_u64(marks + above).value == 0:
            above += 8
    clip(e, addr, page - (below << 12), page + (above << 12))


@fn
def look(h: Hart, e: Extent, addr: u64, access: u32) -> bool:
    """Find memory around `addr` that may be accessed. False: that access is not for a view."""
    mode = paging.access_mode(h, access)
    bare = mode == MACHINE or h.satp >> 60 == SATP_BARE
    t = tlb.tlbs(h)
    entry = tlb.read_entry(h, addr)
    hit = entry.tag == tlb.read_tag(h, addr)
    if access == WRITE:
        entry = tlb.write_entry(h, addr)
        hit = entry.tag == tlb.write_tag(h, addr)
    if hit and not bare and not tlb.in_superpage(t, addr):
        one_page(h, e, addr, entry.addend, access)
        return True
    try:
        paddr = paging.peek(h, addr, access, mode)
        host = paging.ram_address(h, paddr)
        if host == 0 or (access == WRITE and memory.holds_code(h, host)):
            return False
        inside: u64 = tlb.ALL
        if not bare:
            inside = h.walk_inside
        if inside < PAGE:
            if tlb.is_shy(t, addr):
                return False
            if access == WRITE:
                fill_write(h, addr, host)
            else:
                fill_read(h, addr, host)
            one_page(h, e, addr, host - addr, access)
            return True
        tlb.remember_superpage(t, h, addr)
        physical(h, e, paddr, inside, mode)
        e.low = addr - (paddr - e.low)
        e.addend = host - addr
        return True
    except Trap:
        pass
    if hit and not bare:  # the leaf has changed since; the entry still holds
        one_page(h, e, addr, entry.addend, access)
        return True
    return False


@fn
def fill(h: Hart, addr: u64, view: View, span: u64, access: u32) -> bool:
    """Let `view` serve accesses of `span` bytes at `addr`; if that cannot be, leave it alone and say False."""
    c = cast(Cache, h.engine[E_CACHE])
    e = c.optimizing.extent
    c.optimizing.fills += 1
    if not look(h, e, addr, access):
        return False
    if access == WRITE and h.board.code_map != 0:
        avoid_code(h, e, addr)
    if addr - e.low >= e.size or span > e.size - (addr - e.low):
        return False
    view.low = e.low
    view.limit = e.size - (span - 1)
    view.addend = e.addend
    return True


@fn(export=True)
def view_read(h: Hart, addr: u64, view: View, span: u64) -> u64:
    """FILL_READ, behind its glue."""
    return u64(fill(h, addr, view, span, READ))


@fn(export=True)
def view_write(h: Hart, addr: u64, view: View, span: u64) -> u64:
    """FILL_WRITE, behind its glue."""
    return u64(fill(h, addr, view, span, WRITE))


@fn
def reads_bare(h: Hart) -> bool:
    """May loads use physical addresses, and reach all of RAM? What regions with RegionFlag.BARE want."""
    if not is_bare(h, READ):
        return False
    base, mode = h.board.ram_base, paging.access_mode(h, READ)
    if not pmp.pmp_allows(h, base, mode, READ):
        return False
    e = cast(Cache, h.engine[E_CACHE]).optimizing.extent
    physical(h, e, base, tlb.ALL, mode)
    return e.low == base and e.size == h.board.ram_size

