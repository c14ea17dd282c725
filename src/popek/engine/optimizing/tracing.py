"""Samples for `popek profile`: where a hart is at a poll point, and who called. Taken on the hart's own thread.

Lives here: walking the guest's stack by frame pointers, with nothing the guest could see; the ring that samples go
into; the pages of code that samples lie in, each once, because at the end they are gone. Not here: what addresses are
called (api/profile), when samples are taken (api/sampler).

A frame as GCC and LLVM make it with frame pointers on RISC-V: the return address at s0 - 8, the caller's s0 at s0 - 16.
A function that calls nothing may keep its caller's s0 alone, at s0 - 8. Programs without frame pointers have anything
in s0: what it leads to counts as a frame only if it is behind a call.
"""

from __future__ import annotations

from popek.engine.optimizing.state import ASKED_TRACE
from popek.engine.template.coherence import asleep
from popek.engine.template.layout import Cache, Library
from popek.engine.template.pages import POLL_ENGINE
from popek.engine.tlb import PAGE, PAGE_MASK
from popek.isa import paging
from popek.isa.hart import SUPERVISOR, Hart
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
    memcpy,
    struct,
    u32,
    u64,
)

TRACES = 64  # a power of two
FRAMES = 24
CONTENTS = 4096  # pages of code; 0 stands for none
SLOTS = 8192  # a power of two
RA, SP, TP, FP = 1, 2, 4, 8
FAR = 1 << 20  # no frame is larger
DEPTH_SHIFT = 8
KERNEL = 1 << 63  # addresses from here on are Linux's own
MIX = 0x9E37_79B9_7F4A_7C15


@struct
class Place:
    """An address of code. `page`: the physical page, and in the low 12 bits the number of its content."""

    pc: u64
    page: u64


@struct
class Trace:
    """One sample. `about`: mode | depth << DEPTH_SHIFT; api/sampler reads it as 55 words."""

    about: u64
    satp: u64
    name: Array[u64, 2]  # of Linux's task
    at: Place
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
def word(h: Hart, addr: u64, mode: u32) -> u64:
    """A doubleword of data, 0 where there is none."""
    if addr & 7 == 0:
        paddr = physical(h, addr, READ, mode)
        if paddr != 0:
            return at_u64(paging.ram_address(h, paddr)).value
    return 0


@fn
def half(h: Hart, addr: u64) -> u64:
    """16 bits of code, 0 (no instruction) where there is none."""
    paddr = physical(h, addr, EXECUTE, h.mode)
    if paddr != 0:
        return u64(at_u16(paging.ram_address(h, paddr)).value)
    return 0


@fn
def behind_call(h: Hart, addr: u64) -> bool:
    """Does a call with ra stand before that address? c.jalr, jal, jalr."""
    last = half(h, addr - 2)
    if last & 0xF07F == 0x9002 and last & 0xF80 != 0:
        return True
    first = half(h, addr - 4)
    return first & 0xFFF == 0x0EF or first & 0x7FFF == 0x0E7


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
def place(h: Hart, ring: Ring, p: Place, pc: u64) -> None:
    """Note an address of code."""
    page = physical(h, pc, EXECUTE, h.mode) & PAGE_MASK
    p.pc = pc
    p.page = page
    if page != 0:
        p.page = page | content(ring, paging.ram_address(h, page))


@fn
def walk(h: Hart, ring: Ring, t: Trace) -> u64:
    """The calls that the frames tell of, by their last byte; how many."""
    depth: u64 = 0
    low = h.x[SP]
    fp = h.x[FP]
    while depth < FRAMES and fp > low and fp - low < FAR:
        ra = word(h, fp - 8, h.mode)
        up = word(h, fp - 16, h.mode)
        if depth == 0 and ra > fp and ra - fp < FAR and ra & 7 == 0:  # kept s0 alone: it is still in ra
            up = ra
            ra = h.x[RA]
        if ra == 0 or ra & 1 != 0 or not behind_call(h, ra):
            break
        place(h, ring, t.frames[depth], ra - 1)
        low = fp
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
        t.name[0] = word(h, task + ring.name_at, SUPERVISOR)
        t.name[1] = word(h, task + ring.name_at + 8, SUPERVISOR)


@fn
def trace(h: Hart, c: Cache) -> None:
    """Note where the hart is and who called."""
    ring = cast(Ring, c.optimizing.ring)
    if ring.written - atomic_load(ring.taken) >= TRACES:
        return
    t = ring.traces[ring.written & (TRACES - 1)]
    t.satp = h.satp
    name(h, ring, t)
    place(h, ring, t.at, h.pc)
    t.about = u64(h.mode) | walk(h, ring, t) << DEPTH_SHIFT
    atomic_store(ring.written, ring.written + 1)
