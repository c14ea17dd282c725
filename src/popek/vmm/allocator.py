"""The allocator: owns the harts; decides whether they run, wait or stop; drives their lines; ends the machine.

Time is timers.py's, remote fences fences.py's, the serial line console.py's; all of them come here to wake a hart.
Waking rule: who changes something a hart may wait for changes it first, then looks at `asleep`; the hart sets
`asleep` first, then looks at everything. Both sides are sequentially consistent, so nothing falls between.
"""
from __future__ import annotations

from popek.isa import ports
from popek.isa.hart import SIE, SUPERVISOR, Hart
from popek.isa.interrupts import lower_interrupt, raise_interrupt, wakes
from popek.isa.ports import fence_i, tlb_flush, tlb_regime_changed
from popek.lang import Opaque, atomic_and, atomic_cas, atomic_load, atomic_or, atomic_store, cast, fn, u32, u64
from popek.vmm.port import give_way, monotonic, sleep, wake
from popek.vmm.stops import STOP_WAIT
from popek.vmm.timers import due, next_deadline, raise_due, read_time, timer_changed
from popek.vmm.vm import (
    POLL_MONITOR,
    POLL_STATE,
    POLL_STOP,
    RUNNING,
    START_PENDING,
    STARTED,
    STOPPED,
    SUSPENDED,
    VM,
    HartState,
)

# A hart that executes PAUSE so often, with so few instructions in between, sleeps for so many nanoseconds each time.
PATIENCE, SPIN_LENGTH, NAP = 100, 64, 20_000


@fn(inline=True)
def machine_of(h: Hart) -> VM:
    """The machine a hart belongs to."""
    return cast(VM, h.vm)


@fn(inline=True)
def state_of(h: Hart) -> HartState:
    """What the monitor keeps of a hart."""
    return cast(VM, h.vm).hart[h.hartid]


@fn
def asleep(h: Hart) -> bool:
    """Does the hart run no guest code now, and will it look at everything before it does again? Any thread."""
    return atomic_load(state_of(h).sleeping) != 0


@fn
def rouse(s: HartState) -> None:
    """Wake a hart's thread if it sleeps."""
    if atomic_load(s.waiter.asleep) != 0:
        wake(s.waiter)


@fn
def post(vm: VM, i: u64, bits: u32) -> None:
    """Ask hart `i` for something, from any thread."""
    s = vm.hart[i]
    atomic_or(s.hart.poll, bits)
    rouse(s)


@fn
def drive(owner: Opaque, i: u64, lines: u64, level: u32) -> None:
    """Raise or lower interrupt lines of hart `i`, from any thread. What devices are bound to."""
    vm = cast(VM, owner)
    s = vm.hart[i]
    if level != 0:
        raise_interrupt(s.hart, lines)
        rouse(s)
    else:
        lower_interrupt(s.hart, lines)


@fn
def lines(owner: Opaque, i: u64) -> u64:
    """The interrupt lines of hart `i` that are up."""
    return atomic_load(cast(VM, owner).hart[i].hart.mip)


@fn
def finish(vm: VM, outcome: u32, code: u64) -> None:
    """End the machine, from any thread; the first reason counts."""
    if atomic_cas(vm.outcome, RUNNING, outcome):
        vm.code = code
    atomic_store(vm.stop, 1)
    for i in range(vm.harts):
        post(vm, i, POLL_STOP)
    wake(vm.timer)
    wake(vm.console.room)


@fn
def finished(owner: Opaque, outcome: u32, code: u64) -> None:
    """`finish` as devices are bound to it."""
    finish(cast(VM, owner), outcome, code)


@fn
def rest(h: Hart, until: u64) -> None:
    """Sleep until something is asked of the hart or an enabled interrupt is pending. `until`: guest time."""
    s = state_of(h)
    value = atomic_load(s.waiter.word)
    atomic_store(s.waiter.asleep, 1)
    atomic_store(s.sleeping, 1)
    if atomic_load(h.poll) & POLL_MONITOR == 0 and not wakes(h):
        sleep(s.waiter, value, due(machine_of(h), until))
    atomic_store(s.sleeping, 0)
    atomic_store(s.waiter.asleep, 0)


@fn
def wait_for_interrupt(h: Hart) -> None:
    """WFI: the hart gives its host thread back until an interrupt it has enabled is pending, or the monitor asks."""
    state_of(h).stops[STOP_WAIT] += 1
    while True:
        now = read_time(h)
        raise_due(h, now)              # the timer thread may be late; what is due now has no later moment to wake us
        if wakes(h) or atomic_load(h.poll) & POLL_MONITOR != 0:
            break
        rest(h, next_deadline(h, now))


@fn
def spins(h: Hart) -> None:
    """PAUSE: let the hart that this one waits for have the processor, if it has none.

    A lone hart that does nothing else waits for time to pass or for a device: it sleeps in between.
    """
    if machine_of(h).harts > 1:
        give_way()
        return
    s = state_of(h)
    s.spins = s.spins + 1 if h.instret - s.spun <= SPIN_LENGTH else 0
    s.spun = h.instret
    if s.spins >= PATIENCE:
        value = atomic_load(s.waiter.word)
        atomic_store(s.waiter.asleep, 1)
        if atomic_load(h.poll) == 0:
            sleep(s.waiter, value, monotonic(s.waiter) + NAP)
        atomic_store(s.waiter.asleep, 0)


@fn
def park(h: Hart) -> None:
    """A stopped hart waits until it is asked for anything."""
    s = state_of(h)
    value = atomic_load(s.waiter.word)
    atomic_store(s.waiter.asleep, 1)
    atomic_store(s.sleeping, 1)
    if atomic_load(h.poll) & POLL_MONITOR == 0:
        sleep(s.waiter, value, -1)
    atomic_store(s.sleeping, 0)
    atomic_store(s.waiter.asleep, 0)


@fn
def begin(h: Hart, pc: u64, argument: u64) -> None:
    """Enter supervisor software: paging and interrupts off, a0 the hart, a1 the argument. SBI 3.0, "Hart start"."""
    h.mode = SUPERVISOR
    h.satp = 0
    h.mstatus = h.mstatus & ~SIE
    h.x[10] = h.hartid
    h.x[11] = argument
    h.pc = pc
    h.reservation_addr = 0
    tlb_flush(h, 0, 0, 0)
    fence_i(h)
    tlb_regime_changed(h)


@fn
def change_state(h: Hart) -> None:
    """On the hart's own thread, after POLL_STATE: do what was asked."""
    s = state_of(h)
    if atomic_cas(s.state, START_PENDING, STARTED):
        atomic_store(s.sleeping, 0)    # before everything is forgotten: from here on fences wait for us
        begin(h, s.start_pc, s.start_argument)
        timer_changed(h)


@fn
def hart_start(h: Hart, i: u64, pc: u64, argument: u64) -> bool:
    """Start hart `i`; False if it is not stopped."""
    vm = machine_of(h)
    s = vm.hart[i]
    # the claim comes first; the hart looks at the fields only once it is told by POLL_STATE
    if not atomic_cas(s.state, STOPPED, START_PENDING):
        return False
    s.start_pc = pc
    s.start_argument = argument
    post(vm, i, POLL_STATE)
    return True


@fn
def hart_stop(h: Hart) -> None:
    """Stop the calling hart: it parks at the poll point that follows the call."""
    atomic_and(h.poll, ~POLL_STATE)
    atomic_store(state_of(h).state, STOPPED)
    atomic_or(h.poll, POLL_STATE)


@fn
def hart_state(h: Hart, i: u64) -> u64:
    """The state of hart `i`."""
    return u64(atomic_load(machine_of(h).hart[i].state))


@fn
def suspend(h: Hart) -> None:
    """The calling hart waits for an interrupt, visibly suspended."""
    s = state_of(h)
    atomic_store(s.state, SUSPENDED)
    ports.wait_for_interrupt(h)
    atomic_store(s.state, STARTED)
