"""Samples for `popek profile`: where a hart is at a poll point, and who called. Taken on the hart's own thread.

Lives here: walking the guest's stack by frame pointers, with nothing the guest could see, and the ring that samples go
into. Not here: what addresses are called (api/profile), when samples are taken (api/sampler).

A frame as GCC and LLVM make it with frame pointers on RISC-V: the return address at s0 - 8, the caller's s0 at s0 - 16.
A function that calls nothing may keep its caller's s0 alone, at s0 - 8.
"""

from __future__ import annotations

from popek.engine.optimizing.state import ASKED_TRACE
from popek.engine.template.coherence import asleep
from popek.engine.template.layout import Cache, Library
from popek.engine.template.pages import POLL_ENGINE
from popek.isa import paging
from popek.isa.hart import Hart
from popek.isa.paging import READ
from popek.lang import Array, Trap, at_u64, atomic_load, atomic_or, atomic_store, cast, fn, struct, u64

TRACES = 64  # a power of two
FRAMES = 24
RA, SP, FP = 1, 2, 8
FAR = 1 << 20  # no frame is larger
DEPTH_SHIFT = 8


@struct
class Trace:
    """One sample. `about`: mode | depth << DEPTH_SHIFT; api/sampler reads it as 26 words."""

    pc: u64
    about: u64
    frames: Array[u64, FRAMES]


@struct
class Ring:
    """One hart's samples."""

    written: u64
    taken: u64
    traces: Array[Trace, TRACES]


@fn(export=True)
def ring_size() -> u64:
    """Bytes of a Ring."""
    return Ring.size


@fn(export=True)
def trace_into(h: Hart, ring: u64) -> None:
    """Where the hart's samples go. It must not run."""
    cast(Cache, h.engine[0]).optimizing.ring = ring


@fn(export=True)
def ask(library: Library, harts: u64) -> None:
    """Ask all harts that run for a sample. Any thread, one at a time."""
    for i in range(harts):
        c = cast(Cache, library.caches[i])
        if not asleep(cast(Hart, c.hart)):
            atomic_or(c.optimizing.asked, ASKED_TRACE)
            atomic_or(cast(Hart, c.hart).poll, POLL_ENGINE)


@fn
def word(h: Hart, addr: u64) -> u64:
    """A doubleword of the stack, 0 where there is none, or none that can be read without an effect."""
    if addr & 7 != 0:
        return 0
    try:
        host = paging.ram_address(h, paging.peek(h, addr, READ, h.mode))
        if host != 0:
            return at_u64(host).value
    except Trap:
        pass
    return 0


@fn
def walk(h: Hart, t: Trace) -> u64:
    """Return addresses from the frames; how many."""
    depth: u64 = 0
    low = h.x[SP]
    fp = h.x[FP]
    while depth < FRAMES and fp > low and fp - low < FAR:
        ra = word(h, fp - 8)
        if depth == 0 and ra > fp and ra - fp < FAR and ra & 7 == 0:  # kept s0 alone: it is still in ra
            t.frames[depth] = h.x[RA]
            low = fp
            fp = ra
        else:
            if ra == 0 or ra & 1 != 0:
                break
            t.frames[depth] = ra
            low = fp
            fp = word(h, fp - 16)
        depth += 1
    return depth


@fn
def trace(h: Hart, c: Cache) -> None:
    """Note where the hart is and who called."""
    ring = cast(Ring, c.optimizing.ring)
    if ring.written - atomic_load(ring.taken) >= TRACES:
        return
    t = ring.traces[ring.written & (TRACES - 1)]
    t.pc = h.pc
    t.about = u64(h.mode) | walk(h, t) << DEPTH_SHIFT
    atomic_store(ring.written, ring.written + 1)
