"""Time: the guest's clock, each hart's two deadlines, and the thread that watches the next one.

The timer thread publishes in `next_look` when it will look again; who sets an earlier deadline kicks it. A sleeping
hart watches its own deadline as well, so that no second thread stands between the moment and its waking.
"""
from __future__ import annotations

from popek.isa.hart import MTIP, STCE, STIP, Hart
from popek.isa.interrupts import lower_interrupt, raise_interrupt
from popek.lang import Opaque, atomic_load, atomic_store, cast, fence, fn, u64
from popek.vmm.lock import acquire, release
from popek.vmm.port import devices_tick, monotonic, realtime, sleep, wake
from popek.vmm.vm import NEVER, VM, HartState, Waiter

TICK = 100                     # nanoseconds: the time base is 10 MHz


@fn
def time_at(vm: VM, w: Waiter) -> u64:
    """Guest time, asked on the thread that owns `w`."""
    return (monotonic(w) - vm.started) // TICK + vm.shift


@fn
def read_time(h: Hart) -> u64:
    """Guest time (isa.ports.read_time)."""
    vm = cast(VM, h.vm)
    return time_at(vm, vm.hart[h.hartid].waiter)


@fn
def due(vm: VM, deadline: u64) -> u64:
    """The host clock's moment of a guest time; NEVER if it is out of reach."""
    ticks = deadline - vm.shift
    if deadline == NEVER or ticks > 1 << 56:
        return NEVER
    return vm.started + ticks * TICK


@fn
def next_deadline(h: Hart, now: u64) -> u64:
    """The next moment after `now` at which a timer line of the hart rises, or NEVER."""
    found: u64 = NEVER
    if h.menvcfg & STCE != 0 and h.stimecmp > now:
        found = h.stimecmp
    machine = cast(VM, h.vm).hart[h.hartid].machine_deadline
    if machine > now and machine < found:
        found = machine
    return found


@fn
def raise_due(h: Hart, now: u64) -> None:
    """Raise the timer lines whose moment has come. STIP is a hint that isa.interrupts checks again; MTIP is exact."""
    if h.menvcfg & STCE != 0 and now >= h.stimecmp and atomic_load(h.mip) & STIP == 0:
        raise_interrupt(h, STIP)
    settle_machine_timer(cast(VM, h.vm).hart[h.hartid], now)


@fn
def settle_machine_timer(s: HartState, now: u64) -> None:
    """Make MTIP agree with mtimecmp; the lock keeps two threads from undoing each other."""
    h = s.hart
    if (now >= s.machine_deadline) == (atomic_load(h.mip) & MTIP != 0):
        return
    acquire(s.timer)
    if now >= s.machine_deadline:
        raise_interrupt(h, MTIP)
    else:
        lower_interrupt(h, MTIP)
    release(s.timer)


@fn
def timer_changed(h: Hart) -> None:
    """A deadline of this hart is another one (isa.ports.timer_changed)."""
    now = read_time(h)
    deadline = next_deadline(h, now)
    if h.menvcfg & STCE != 0 and h.stimecmp <= now and atomic_load(h.mip) & STIP == 0:
        deadline = now             # its moment came after the caller had looked: nobody else would notice
    watch(cast(VM, h.vm), deadline)


@fn
def watch(vm: VM, deadline: u64) -> None:
    """See to it that the timer thread looks at the clock at `deadline`."""
    fence()
    if deadline < atomic_load(vm.next_look):
        wake(vm.timer)


@fn
def machine_deadline(h: Hart, i: u64) -> u64:
    """mtimecmp of hart `i`."""
    return cast(VM, h.vm).hart[i].machine_deadline


@fn
def set_machine_deadline(h: Hart, i: u64, value: u64) -> None:
    """Write mtimecmp of hart `i`. Privileged ISA, "Machine Timer (mtime and mtimecmp) Registers"."""
    vm = cast(VM, h.vm)
    s = vm.hart[i]
    now = read_time(h)
    acquire(s.timer)
    s.machine_deadline = value
    if now < value:
        lower_interrupt(s.hart, MTIP)
    else:
        raise_interrupt(s.hart, MTIP)
    release(s.timer)
    if h.hartid != i and atomic_load(s.waiter.asleep) != 0:
        wake(s.waiter)
    watch(vm, value)


@fn
def set_time(h: Hart, value: u64) -> None:
    """Write mtime: every deadline must be looked at again."""
    vm = cast(VM, h.vm)
    vm.shift = vm.shift + (value - read_time(h))
    for i in range(vm.harts):
        settle_machine_timer(vm.hart[i], value)
        if atomic_load(vm.hart[i].waiter.asleep) != 0:
            wake(vm.hart[i].waiter)
    wake(vm.timer)


@fn
def look(vm: VM) -> u64:
    """One round over all deadlines: raise what is due. The next moment to look, in guest time."""
    now = time_at(vm, vm.timer)
    nearest = devices_tick(cast(Opaque, vm.devices))
    for i in range(vm.harts):
        s = vm.hart[i]
        raise_due(s.hart, now)
        if atomic_load(s.waiter.asleep) != 0 and atomic_load(s.hart.mip) & s.hart.mie != 0:
            wake(s.waiter)
        nearest = min(nearest, next_deadline(s.hart, now))
    return nearest


@fn(export=True)
def timer_loop(vm: VM) -> None:
    """The timer thread."""
    atomic_store(vm.timer.asleep, 1)
    while atomic_load(vm.stop) == 0:
        value = atomic_load(vm.timer.word)
        atomic_store(vm.next_look, NEVER)      # whoever sets a deadline while we look kicks us
        nearest = look(vm)
        atomic_store(vm.next_look, nearest)
        if atomic_load(vm.stop) == 0:
            sleep(vm.timer, value, due(vm, nearest))


@fn
def wall_clock(h: Hart) -> u64:
    """Nanoseconds since 1970, for a device asked by a hart."""
    return realtime(cast(VM, h.vm).hart[h.hartid].waiter)


@fn
def timer_thread_time(owner: Opaque) -> u64:
    """Guest time, for a device called by the timer thread."""
    vm = cast(VM, owner)
    return time_at(vm, vm.timer)


@fn
def watched_by_device(owner: Opaque, deadline: u64) -> None:
    """A device wants to be called at that guest time."""
    watch(cast(VM, owner), deadline)
