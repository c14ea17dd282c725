"""Samples for `popek profile`: where a hart is at a poll point, and who called. Taken on the hart's own thread.

Lives here: walking the guest's stack by frame pointers, with nothing the guest could see; the ring that samples go
into; the pages of code that samples lie in, each once, because at the end they are gone. Not here: what addresses are
called (api/profile), when samples are taken (api/sampler).

A poll point is where a jump leads, and time was spent where it came from. Of indirect jumps in templates that is known.
Of others: behind a call it came from the function that was called; at a trap's entry from the instruction that trapped.
Where a function begins it came from the caller, but that takes symbols: `link` is what ra says.

A frame as GCC and LLVM make it with frame pointers on RISC-V: the return address at s0 - 8, the caller's s0 at s0 - 16.
A function that calls nothing may keep its caller's s0 alone, at s0 - 8. Programs without frame pointers have anything
in s0: what it leads to counts as a frame only if it is behind a call.
"""

from __future__ import annotations

from popek.engine.optimizing.state import ASKED_TRACE, FROM_SITE, SITE_SHIFT
from popek.engine.template.coherence import asleep
from popek.engine.template.layout import Cache, Library
from popek.engine.template.pages import POLL_ENGINE, code_page
from popek.engine.tlb import PAGE, PAGE_MASK
from popek.isa import paging
from popek.isa.hart import MACHINE, MPP_SHIFT, SPP, SUPERVISOR, USER, Hart
from popek.isa.paging import EXECUTE, READ
from popek.lang import (
    Array,
    Trap,
    addr_of,
    at_u16,
    at_u64,
    atomic_load,
    atomic_or,
    atomic_store,
    cast,
    fn,
    i32,
    i64,
    memcpy,
    struct,
    u32,
    u64,
)

TRACES = 64  # a power of two
FRAMES = 24
CONTENTS = 1 << 14  # pages of code; 0 stands for none
SLOTS = 2 * CONTENTS
RA, SP, TP, FP = 1, 2, 4, 8
FAR = 1 << 20  # no frame is larger
DEPTH_SHIFT = 8
CONTENT_SHIFT = 44  # what the Privileged ISA has for page numbers
KERNEL = 1 << 63  # addresses from here on are Linux's own
MIX = 0x9E37_79B9_7F4A_7C15
AUIPC, JALR = 0x17, 0x67
UNKNOWN = 1


@struct
class Place:
    """An address of code. `page`: number of the physical page | number of its content << CONTENT_SHIFT."""

    pc: u64
    page: u64


@struct
class Trace:
    """One sample. `about`: mode | depth << DEPTH_SHIFT; api/sampler reads it as 56 words."""

    about: u64
    satp: u64
    name: Array[u64, 2]  # of Linux's task
    at: Place
    link: Place  # pc 0: ra says nothing
    frames: Array[Place, FRAMES]


@struct
class Ring:
    """One hart's samples; contents of pages stand behind it."""

    written: u64
    taken: u64
    traces: Array[Trace, TRACES]
    name_at: u64  # where in a Linux task its name is, 0: unknown
    contents: u64
    digests: Array[u64, CONTENTS]
    slots: Array[u64, SLOTS]


@fn(export=True)
def ring_size() -> u64:
    """Bytes of a Ring and its contents."""
    return Ring.size + CONTENTS * PAGE


@fn(export=True)
def contents_at() -> u64:
    """Where in them the contents begin."""
    return Ring.size


@fn(export=True)
def trace_into(h: Hart, ring: Ring, name_at: u64) -> None:
    """Where the hart's samples go. It must not run."""
    ring.name_at = name_at
    cast(Cache, h.engine[0]).optimizing.ring = addr_of(ring)


@fn(export=True)
def ask(library: Library, harts: u64) -> None:
    """Ask all harts that run for a sample. Any thread, one at a time."""
    for i in range(harts):
        c = cast(Cache, library.caches[i])
        if not asleep(cast(Hart, c.hart)):
            atomic_or(c.optimizing.asked, ASKED_TRACE)
            atomic_or(cast(Hart, c.hart).poll, POLL_ENGINE)


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
def digest(host: u64) -> u64:
    """A number for what is in a page."""
    m: u64 = 0
    for i in range(PAGE // 8):
        m = (m ^ at_u64(host + i * 8).value) * MIX
        m = m ^ m >> 32
    return m


@fn
def content(ring: Ring, host: u64) -> u64:
    """The number of a page's content, which is kept; 0 if there is no room."""
    mark = digest(host)
    slot = mark & (SLOTS - 1)
    while ring.slots[slot] != 0:
        if ring.digests[ring.slots[slot]] == mark:
            return ring.slots[slot]
        slot = (slot + 1) & (SLOTS - 1)
    number = ring.contents + 1
    if number >= CONTENTS:
        return 0
    memcpy(addr_of(ring) + Ring.size + number * PAGE, host, PAGE)
    ring.digests[number] = mark
    ring.slots[slot] = number
    ring.contents = number
    return number


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


@fn
def place(h: Hart, ring: Ring, p: Place, pc: u64, mode: u32) -> None:
    """Note an address of code."""
    page = physical(h, pc, EXECUTE, mode) & PAGE_MASK
    p.pc = pc
    p.page = page >> 12
    if page != 0:
        p.page |= content(ring, paging.ram_address(h, page)) << CONTENT_SHIFT


@fn
def walk(h: Hart, ring: Ring, t: Trace, mode: u32, depth: u64) -> u64:
    """Calls from the frames, by their last byte; how many with the `depth` that are known."""
    below = h.x[SP]
    fp = h.x[FP]
    while depth < FRAMES and fp > below and fp - below < FAR:
        ra = word_at(h, fp - 8, mode)
        up = word_at(h, fp - 16, mode)
        if depth == 0 and ra > fp and ra - fp < FAR and ra & 7 == 0:  # kept s0 alone: it is still in ra
            up = ra
            ra = h.x[RA]
        if ra & 1 != 0 or called(h, ra, mode) == 0:
            break
        place(h, ring, t.frames[depth], ra - 1, mode)
        below = fp
        fp = up
        depth += 1
    return depth


@fn
def name(h: Hart, ring: Ring, t: Trace) -> None:
    """The name of Linux's current task: in tp while the kernel runs, else in sscratch."""
    t.name[0] = 0
    t.name[1] = 0
    task = h.sscratch
    if h.mode == SUPERVISOR and h.x[TP] >= KERNEL:
        task = h.x[TP]
    if ring.name_at != 0 and task >= KERNEL:
        t.name[0] = word_at(h, task + ring.name_at, SUPERVISOR)
        t.name[1] = word_at(h, task + ring.name_at + 8, SUPERVISOR)


@fn
def trace(h: Hart, c: Cache) -> None:
    """Note where the hart was and who called."""
    ring = cast(Ring, c.optimizing.ring)
    if ring.written - atomic_load(ring.taken) >= TRACES:
        return
    t = ring.traces[ring.written & (TRACES - 1)]
    t.satp = h.satp
    name(h, ring, t)
    pc = h.pc
    mode = h.mode
    at = pc
    depth: u64 = 0
    link = h.x[RA]
    if mode == SUPERVISOR and pc == h.stvec & ~3:
        at = h.sepc
        mode = SUPERVISOR if h.mstatus & SPP != 0 else USER
    elif mode == MACHINE and pc == h.mtvec & ~3:
        at = h.mepc
        mode = u32(h.mstatus >> MPP_SHIFT & 3)
    else:
        jump = source(h, c, mode)
        if jump != 0:
            at = jump
        if link == pc:  # a return, unless that was in another register
            link = 0
            callee = called(h, pc, mode)
            if callee != 0:
                at = jump if jump != 0 else callee
                place(h, ring, t.frames[0], pc - 1, mode)
                depth = 1
    place(h, ring, t.at, at, mode)
    t.link.pc = 0
    if link & 1 == 0 and called(h, link, mode) != 0:
        place(h, ring, t.link, link - 1, mode)
    t.about = u64(mode) | walk(h, ring, t, mode, depth) << DEPTH_SHIFT
    atomic_store(ring.written, ring.written + 1)
