"""The native part of a machine in one piece of memory, and the functions through which Python handles it by address.

Composition in the typed subset: imported only when code must be compiled (api/native) or by the reference engine.
"""
from __future__ import annotations

from popek.devices import builtin
from popek.devices.builtin import Builtin
from popek.isa import hart as isa_hart
from popek.isa import v
from popek.isa.hart import (
    ADUE,
    CBCFE,
    CBIE,
    CBZE,
    ECALL_FROM_SUPERVISOR,
    FIOM,
    PBMTE,
    STCE,
    SUPERVISOR,
    TW,
    Board,
    Hart,
)
from popek.isa.pmp import pmp_open
from popek.isa.status import MEDELEG_WRITABLE, SUPERVISOR_INTERRUPTS
from popek.lang import Array, Opaque, addr_of, at_u64, atomic_load, atomic_store, cast, fn, struct, u32, u64
from popek.vmm import allocator, console, timers
from popek.vmm.port import monotonic
from popek.vmm.vm import NEVER, POLL_STATE, STARTED, STOPPED, VM

COUNTERS = 7                   # cycle, time, instret


@struct
class Guest:
    """Everything of one machine that native code works on, but RAM and the engine's."""

    vm: VM
    devices: Builtin
    board: Board
    hart: Array[Hart, 8]


@fn(export=True)
def guest_size() -> u64:
    """Bytes of zeroed memory that `prepare` wants."""
    return Guest.size


@fn(export=True)
def prepare(
    g: Guest, harts: u32, monitor: u32, ram: u64, ram_base: u64, ram_size: u64, code_map: u64, host_device: u64
) -> None:
    """Put a machine together. Addresses are host addresses, but for `ram_base`."""
    vm = g.vm
    vm.harts = harts
    vm.monitor = monitor
    vm.host_device = host_device
    vm.devices = cast(Opaque, g.devices)
    vm.next_look = NEVER
    vm.started = monotonic(vm.timer)
    g.board.ram = ram
    g.board.ram_base = ram_base
    g.board.ram_size = ram_size
    g.board.code_map = code_map
    builtin.prepare(g.devices, cast(Opaque, vm), harts)
    for i in range(harts):
        h = g.hart[i]
        h.hartid = i
        h.board = g.board
        h.vm = cast(Opaque, vm)
        vm.hart[i].hart = h
        vm.hart[i].machine_deadline = NEVER
        isa_hart.reset(h)
        h.menvcfg = ADUE               # harts without Svade set A and D themselves, from the reset on
        if monitor != 0:
            enter_supervisor(h)
        vm.hart[i].state = STOPPED
        vm.hart[i].sleeping = 1
        h.poll = POLL_STATE            # so that its thread asks the monitor first


@fn
def enter_supervisor(h: Hart) -> None:
    """What firmware does before it starts a kernel: everything is delegated but the calls to the monitor."""
    pmp_open(h)
    h.mode = SUPERVISOR
    h.medeleg = MEDELEG_WRITABLE & ~(1 << ECALL_FROM_SUPERVISOR)
    h.mideleg = SUPERVISOR_INTERRUPTS
    h.menvcfg = STCE | PBMTE | ADUE | CBZE | CBCFE | CBIE | FIOM
    h.mcounteren = COUNTERS
    h.scounteren = COUNTERS
    h.mstatus = h.mstatus | TW         # the monitor wants to know when a hart has nothing to do (vmm/interpreter)


@fn(export=True)
def vector_bytes() -> u64:
    """Bytes of zeroed memory that `lend_vectors` wants for each hart."""
    return v.BLOCK


@fn(export=True)
def lend_vectors(g: Guest, place: u64, loader: u64) -> None:
    """The harts have vectors: memory for them, and the function that gets their code and calls `vectors_enter`."""
    for i in range(u64(g.vm.harts)):
        g.hart[i].vector = place + i * v.BLOCK
        at_u64(g.hart[i].vector + v.LOADER).value = loader


@fn(export=True)
def vectors_enter(g: Guest, entry: u64) -> None:
    """Vector instructions are executed by the code at `entry`."""
    for i in range(g.vm.harts):
        atomic_store(at_u64(g.hart[i].vector + v.ENTRY), entry)


@fn(export=True)
def start_at(g: Guest, i: u64, pc: u64, a1: u64, a2: u64) -> None:
    """Hart `i` runs from `pc` once its thread does."""
    h = g.hart[i]
    h.pc = pc
    h.x[10] = i
    h.x[11] = a1
    h.x[12] = a2
    g.vm.hart[i].state = STARTED
    g.vm.hart[i].sleeping = 0


@fn(export=True)
def hart_address(g: Guest, i: u64) -> u64:
    """Host address of hart `i`."""
    return addr_of(g.hart[i])


@fn(export=True)
def run_timers(g: Guest) -> None:
    """The timer thread."""
    timers.timer_loop(g.vm)


@fn(export=True)
def stop(g: Guest, outcome: u32) -> None:
    """End the machine from outside."""
    allocator.finish(g.vm, outcome, 0)


@fn(export=True)
def outcome(g: Guest) -> u64:
    """How it ended (vmm.vm: OFF...) and, above the low 8 bits, the code; 0 while it runs."""
    return u64(atomic_load(g.vm.outcome)) | g.vm.code << 8


@fn(export=True)
def take_output(g: Guest, place: u64, size: u64) -> u64:
    """vmm.console.take"""
    return u64(console.take(g.vm, place, size))


@fn(export=True)
def give_input(g: Guest, place: u64, count: u64) -> u64:
    """vmm.console.give"""
    return console.give(g.vm, place, count)


@fn(export=True)
def close_output(g: Guest) -> None:
    """vmm.console.close"""
    console.close(g.vm)


@fn(export=True)
def set_source(g: Guest, source: u64, level: u32) -> None:
    """Drive an interrupt source from outside."""
    builtin.raise_source(cast(Opaque, g.devices), source, level)


@fn(export=True)
def stops(g: Guest, i: u64, cause: u64) -> u64:
    """How often hart `i` stopped for that cause."""
    return g.vm.hart[i].stops[cause]


@fn(export=True)
def look(g: Guest, i: u64, into: u64) -> None:
    """Where hart `i` is, five words: pc, mode, satp, tp, sscratch. Any thread, of engines that keep them in memory."""
    h = g.hart[i]
    at_u64(into).value = h.pc
    at_u64(into + 8).value = u64(h.mode)
    at_u64(into + 16).value = h.satp
    at_u64(into + 24).value = h.x[4]
    at_u64(into + 32).value = h.sscratch


@fn(export=True)
def sleeps(g: Guest, i: u64) -> u64:
    """Whether hart `i` runs no guest code now. Any thread."""
    return u64(atomic_load(g.vm.hart[i].sleeping))


@fn(export=True)
def retired(g: Guest, i: u64) -> u64:
    """Instructions hart `i` has retired. Exact once it has stopped."""
    return g.hart[i].instret
