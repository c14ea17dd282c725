"""The dispatcher: every stop of a hart comes here, is counted by its cause, and goes to who handles it.

What engines call:
  poll(h) -> bool     at a poll point, when h.poll is not zero (but for POLL_ENGINE, which is theirs). May take an
                      interrupt, serve other harts, park the hart. True: leave native code, the machine ends.
                      h.instret must be exact.
  trap(h)             the instruction at h.pc trapped: h.trap_cause, h.trap_tval. Afterwards h.pc is where to go on;
                      a poll point follows.
  mmio_read/write(h)  bound to isa's ports: an access outside RAM. Completes within the instruction, or raises Trap.
isa's other ports are bound to the allocator (wait_for_interrupt), timers (read_time, timer_changed) and the engine.
A hart's thread first calls poll: POLL_STATE or POLL_INTERRUPT set by whoever prepared it does no harm.
"""
from __future__ import annotations

from popek.abi.sbi import call
from popek.isa.fp import host_flags_enter, host_flags_leave
from popek.isa.hart import ECALL_FROM_SUPERVISOR, ILLEGAL_INSTRUCTION, POLL_INTERRUPT, Hart
from popek.isa.privileged import poll_interrupts, take_trap
from popek.lang import Opaque, Trap, atomic_and, atomic_load, cast, fn, table, u8, u32, u64
from popek.vmm.allocator import change_state, park
from popek.vmm.fences import serve
from popek.vmm.interpreter import simulate
from popek.vmm.port import device_read, device_write, host_device
from popek.vmm.stops import FIRST_INTERRUPT, STOP_DEVICE, STOP_HOST_DEVICE, STOP_SBI, STOP_STATE
from popek.vmm.vm import POLL_FENCE, POLL_STATE, STARTED, VM, HartState

# Who handles a trap when the monitor is the guest's firmware; all others are the guest's own.
GUEST, SBI, INTERPRETER = 0, 1, 2
_OURS = {ECALL_FROM_SUPERVISOR: SBI, ILLEGAL_INSTRUCTION: INTERPRETER}
WHO = table(u8, [_OURS.get(cause, GUEST) for cause in range(16)])


@fn
def poll(h: Hart) -> bool:
    """At a poll point with something in h.poll; see above."""
    vm = cast(VM, h.vm)
    s = vm.hart[h.hartid]
    while atomic_load(vm.stop) == 0:
        asked = atomic_load(h.poll)
        if asked & POLL_FENCE != 0:
            serve(h)
        if asked & POLL_STATE != 0:
            atomic_and(h.poll, ~POLL_STATE)
            s.stops[STOP_STATE] += 1
            change_state(h)
        if atomic_load(s.state) == STARTED:
            if asked & POLL_INTERRUPT != 0 and poll_interrupts(h):
                s.stops[FIRST_INTERRUPT + (h.trap_cause & 15)] += 1
            return False
        park(h)
    return True


@fn
def trap(h: Hart) -> None:
    """The instruction at h.pc trapped; see above."""
    vm = cast(VM, h.vm)
    s = vm.hart[h.hartid]
    cause = h.trap_cause & 15
    s.stops[cause] += 1
    who: u8 = GUEST
    if vm.monitor != 0:
        who = WHO[cause]
    if who == SBI:
        h.pc += 4
        s.stops[STOP_SBI] += 1
        call(h)
    elif who != INTERPRETER or not simulate(h):
        take_trap(h)


@fn
def mmio_read(h: Hart, paddr: u64, size: u32) -> u64:
    """A load outside RAM."""
    vm = cast(VM, h.vm)
    s = vm.hart[h.hartid]
    s.stops[STOP_DEVICE] += 1
    try:
        return device_read(h, cast(Opaque, vm.devices), paddr, size)
    except Trap:
        pass
    s.access.value = 0
    if not outside(h, vm, s, paddr, size, 0):
        raise Trap(0, paddr)
    return s.access.value


@fn
def mmio_write(h: Hart, paddr: u64, size: u32, value: u64) -> None:
    """A store outside RAM."""
    vm = cast(VM, h.vm)
    s = vm.hart[h.hartid]
    s.stops[STOP_DEVICE] += 1
    here = True
    try:
        device_write(h, cast(Opaque, vm.devices), paddr, size, value)
    except Trap:
        here = False
    if not here:
        s.access.value = value
        if not outside(h, vm, s, paddr, size, 1):
            raise Trap(0, paddr)


@fn(cold=True)
def outside(h: Hart, vm: VM, s: HartState, paddr: u64, size: u32, write: u32) -> bool:
    """Let a device model outside native code answer. It may use the floating-point unit: put the guest's flags away."""
    s.stops[STOP_HOST_DEVICE] += 1
    s.access.address = paddr
    s.access.size = size
    s.access.write = write
    host_flags_leave(h)
    there = host_device(vm.host_device, s.access)
    host_flags_enter(h)
    return there
