"""From virtual to physical: Sv39, Sv48, Sv57, with Svnapot, Svpbmt, Svade/Svadu and PMP. The walk only; nothing is
remembered here."""
from __future__ import annotations

from popek.isa.hart import (
    ADUE,
    INSTRUCTION_ACCESS_FAULT,
    INSTRUCTION_PAGE_FAULT,
    LOAD_ACCESS_FAULT,
    LOAD_PAGE_FAULT,
    MACHINE,
    MPP_SHIFT,
    MPRV,
    MXR,
    PBMTE,
    STORE_ACCESS_FAULT,
    STORE_PAGE_FAULT,
    SUM,
    SUPERVISOR,
    USER,
    Hart,
)
from popek.isa.pmp import pmp_allows
from popek.lang import Trap, at_u64, atomic_cas, atomic_load, fn, i64, u32, u64

READ, WRITE, EXECUTE = 0, 1, 2

PTE_V, PTE_R, PTE_W, PTE_X, PTE_U, PTE_G, PTE_A, PTE_D = 1, 2, 4, 8, 16, 32, 64, 128
PTE_RESERVED, PTE_PBMT, PTE_N = 0x7F << 54, 3 << 61, 1 << 63
PPN_MASK = (1 << 44) - 1
NAPOT_64K = 8                      # the lowest four bits of the page number of such a leaf
SATP_BARE, SATP_SV39, SATP_SV48, SATP_SV57 = 0, 8, 9, 10


@fn
def access_fault(access: u32) -> u64:
    """The access-fault cause of an access."""
    if access == READ:
        return LOAD_ACCESS_FAULT
    if access == WRITE:
        return STORE_ACCESS_FAULT
    return INSTRUCTION_ACCESS_FAULT


@fn
def page_fault(access: u32) -> u64:
    """The page-fault cause of an access."""
    if access == READ:
        return LOAD_PAGE_FAULT
    if access == WRITE:
        return STORE_PAGE_FAULT
    return INSTRUCTION_PAGE_FAULT


@fn(inline=True)
def ram_address(h: Hart, paddr: u64) -> u64:
    """Host address of a byte of RAM, 0 when it is not RAM. RAM is whole pages, so a page is in or out as one."""
    offset = paddr - h.board.ram_base
    if offset < h.board.ram_size:
        return h.board.ram + offset
    return 0


@fn
def access_mode(h: Hart, access: u32) -> u32:
    """The privilege an access is made with: mstatus.MPRV lends MPP's to loads and stores."""
    if access != EXECUTE and h.mstatus & MPRV != 0:
        return u32(h.mstatus >> MPP_SHIFT & 3)
    return h.mode


@fn
def translate(h: Hart, vaddr: u64, access: u32) -> u64:
    """Physical address of `vaddr` for an access that stays within its page; raises page and access faults."""
    return translate_as(h, vaddr, access, access_mode(h, access), True)


@fn
def peek(h: Hart, vaddr: u64, access: u32, mode: u32) -> u64:
    """What `translate` would say for an access in that mode; raises also where it would have to set A or D."""
    return translate_as(h, vaddr, access, mode, False)


@fn(inline=True)
def translate_as(h: Hart, vaddr: u64, access: u32, mode: u32, sets: bool) -> u64:
    """Translation in a mode. `sets`: see walk."""
    paddr = vaddr
    h.walk_level = 0
    h.walk_global = 0
    if mode != MACHINE and h.satp >> 60 != SATP_BARE:
        paddr = walk(h, vaddr, access, mode, sets)
    if not pmp_allows(h, paddr, mode, access):
        raise Trap(access_fault(access), vaddr)
    return paddr


@fn
def walk(h: Hart, vaddr: u64, access: u32, mode: u32, sets: bool) -> u64:
    """Privileged ISA, "Virtual Address Translation Process". `sets`: A and D may be set; else that is a fault, too."""
    level = (h.satp >> 60) - (SATP_SV39 - 2)
    unused = 43 - level * 9          # virtual address bits that must repeat the highest translated one
    if u64(i64(vaddr << unused) >> unused) != vaddr:
        raise Trap(page_fault(access), vaddr)
    table = (h.satp & PPN_MASK) << 12
    above: u64 = 0                   # what was global on the way is
    while True:
        slot = table + (vaddr >> (12 + level * 9) & 511) * 8
        host = ram_address(h, slot)
        if host == 0 or not pmp_allows(h, slot, SUPERVISOR, READ):
            raise Trap(access_fault(access), vaddr)
        pte = atomic_load(at_u64(host))
        if pte & PTE_V == 0 or pte & (PTE_R | PTE_W) == PTE_W or pte & PTE_RESERVED != 0:
            raise Trap(page_fault(access), vaddr)
        if pte & (PTE_R | PTE_X) == 0:
            if level == 0 or pte & (PTE_A | PTE_D | PTE_U | PTE_PBMT | PTE_N) != 0:
                raise Trap(page_fault(access), vaddr)
            level -= 1
            above = above | pte & PTE_G
            table = (pte >> 10 & PPN_MASK) << 12
        else:
            inside = (u64(1) << (12 + level * 9)) - 1
            frame = (pte >> 10 & PPN_MASK) << 12
            size = level
            if pte & PTE_N != 0:
                # Svnapot. To whoever remembers translations this is a superpage of the lowest level
                if level != 0 or pte >> 10 & 15 != NAPOT_64K:
                    raise Trap(page_fault(access), vaddr)
                inside = 0xFFFF
                frame = frame & ~0xFFFF
                size = 1
            if not leaf_allows(h, pte, access, mode) or frame & inside != 0 or not memory_type_exists(h, pte):
                raise Trap(page_fault(access), vaddr)
            h.walk_level = size
            h.walk_global = (above | pte) & PTE_G
            h.walk_inside = inside
            marked = pte | PTE_A
            if access == WRITE:
                marked = marked | PTE_D
            if marked == pte:
                return frame | vaddr & inside
            if h.menvcfg & ADUE == 0 or not sets:
                raise Trap(page_fault(access), vaddr)
            if not pmp_allows(h, slot, SUPERVISOR, WRITE):
                raise Trap(access_fault(access), vaddr)
            if atomic_cas(at_u64(host), pte, marked):
                return frame | vaddr & inside
            # Someone else changed the entry meanwhile: look at it again


@fn(inline=True)
def memory_type_exists(h: Hart, pte: u64) -> bool:
    """Svpbmt, of a leaf: types 0 to 2, which mean the same here: memory is coherent and devices are in order anyway."""
    kind = pte & PTE_PBMT
    return kind == 0 or (h.menvcfg & PBMTE != 0 and kind != PTE_PBMT)


@fn
def leaf_allows(h: Hart, pte: u64, access: u32, mode: u32) -> bool:
    """Steps 6 to 8 of the translation process: permissions, SUM and MXR."""
    if pte & PTE_U != 0:
        if mode != USER and (access == EXECUTE or h.mstatus & SUM == 0):
            return False
    elif mode == USER:
        return False
    if access == EXECUTE:
        return pte & PTE_X != 0
    if access == WRITE:
        return pte & PTE_W != 0
    return pte & PTE_R != 0 or (h.mstatus & MXR != 0 and pte & PTE_X != 0)
