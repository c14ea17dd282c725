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

from popek.engine.optimizing.origin import called, physical, source, word_at
from popek.engine.optimizing.state import ASKED_TRACE
from popek.engine.template.coherence import asleep
from popek.engine.template.layout import Cache, Library
from popek.engine.template.pages import POLL_ENGINE
from popek.engine.tlb import PAGE, PAGE_MASK
from popek.isa import paging
from popek.isa.hart import MACHINE, MPP_SHIFT, SPP, SUPERVISOR, USER, Hart
from popek.isa.paging import EXECUTE
from popek.lang import (
    Array,
    addr_of,
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
CONTENTS = 1 << 14  # pages of code; 0 stands for none
SLOTS = 2 * CONTENTS
RA, SP, TP, FP = 1, 2, 4, 8
FAR = 1 << 20  # no frame is larger
DEPTH_SHIFT = 8
CONTENT_SHIFT = 44  # what the Privileged ISA has for page numbers
KERNEL = 1 << 63  # addresses from here on are Linux's own
MIX = 0x9E37_79B9_7F4A_7C15


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
