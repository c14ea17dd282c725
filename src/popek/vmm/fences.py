"""Remote fences: one hart makes others forget translations or code, and waits until they have.

A hart that waits serves the requests made of itself, so two harts that fence each other both get on. A hart that
sleeps is not waited for: it serves its requests before it runs guest code again. SBI 3.0, "RFENCE Extension".
"""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.isa.ports import FLUSH_BY_ADDRESS, FLUSH_BY_ASID, fence_i, tlb_flush
from popek.lang import atomic_and, atomic_load, atomic_or, atomic_store, cast, fn, spin_hint, u32, u64
from popek.vmm.lock import acquire, release
from popek.vmm.port import give_way
from popek.vmm.stops import STOP_FENCE
from popek.vmm.vm import FENCES, POLL_FENCE, VM

# Kinds of fences
CODE, TRANSLATIONS = 1, 2
BY_ASID = 4
PAGES = 64                     # a longer range is cheaper forgotten as a whole


@fn
def forget(h: Hart, kind: u32, start: u64, size: u64, asid: u64) -> None:
    """Execute one fence on the hart's own thread."""
    if kind & CODE != 0:
        fence_i(h)
    if kind & TRANSLATIONS == 0:
        return
    flags: u64 = 0
    if kind & BY_ASID != 0:
        flags = FLUSH_BY_ASID
    if size == 0 or size > PAGES * 4096:
        tlb_flush(h, 0, asid, flags)
        return
    page = start & ~0xFFF
    while page - (start & ~0xFFF) < (start & 0xFFF) + size:
        tlb_flush(h, page, asid, flags | FLUSH_BY_ADDRESS)
        page += 4096


@fn
def serve(h: Hart) -> None:
    """Execute what other harts have asked for. On the hart's own thread."""
    s = cast(VM, h.vm).hart[h.hartid]
    acquire(s.lock)
    atomic_and(h.poll, ~POLL_FENCE)
    asked = s.fences_asked
    if s.fence_count > FENCES:
        fence_i(h)
        tlb_flush(h, 0, 0, 0)
    else:
        for i in range(s.fence_count):
            forget(h, s.fences[i].kind, s.fences[i].start, s.fences[i].size, s.fences[i].asid)
    s.fence_count = 0
    release(s.lock)
    s.stops[STOP_FENCE] += 1
    atomic_store(s.fences_done, asked)


@fn
def ask(vm: VM, i: u64, kind: u32, start: u64, size: u64, asid: u64) -> None:
    """Put a fence on hart `i`'s list."""
    s = vm.hart[i]
    acquire(s.lock)
    n = u64(s.fence_count)
    if n < FENCES:
        s.fences[n].kind = kind
        s.fences[n].start = start
        s.fences[n].size = size
        s.fences[n].asid = asid
        s.fence_count += 1
    else:
        s.fence_count = FENCES + 1
    s.fences_asked += 1
    release(s.lock)
    atomic_or(s.hart.poll, POLL_FENCE)         # without waking it: a sleeping hart looks when it wakes


@fn
def remote(h: Hart, mask: u64, kind: u32, start: u64, size: u64, asid: u64) -> None:
    """Make the harts of `mask` execute a fence, and return when they have."""
    vm = cast(VM, h.vm)
    me = u64(1) << h.hartid
    for i in range(vm.harts):
        if mask >> i & 1 != 0 and i != h.hartid:
            ask(vm, i, kind, start, size, asid)
    if mask & me != 0:
        forget(h, kind, start, size, asid)
    for i in range(vm.harts):
        if mask >> i & 1 != 0 and i != h.hartid:
            wait_for(h, vm, i)


@fn
def wait_for(h: Hart, vm: VM, i: u64) -> None:
    """Wait until hart `i` has executed everything asked of it so far, or sleeps, or the machine ends."""
    s = vm.hart[i]
    ticket = atomic_load(s.fences_asked)
    tries: u64 = 0
    while atomic_load(s.fences_done) < ticket and atomic_load(s.sleeping) == 0 and atomic_load(vm.stop) == 0:
        if atomic_load(h.poll) & POLL_FENCE != 0:
            serve(h)
        tries += 1
        if tries & 127 == 0:
            give_way()
        else:
            spin_hint()
