"""What the monitor does for the supervisor's calls (abi/sbi_port). Thin, and without SBI's numbers."""
from __future__ import annotations

from popek.isa.hart import SSIP, Hart
from popek.isa.interrupts import write_stimecmp
from popek.isa.memory import host_written
from popek.lang import Opaque, at_u8, cast, fn, u8, u64
from popek.vmm import allocator
from popek.vmm.console import get, input_ready, output_room, put
from popek.vmm.fences import BY_ASID, CODE, TRANSLATIONS, remote
from popek.vmm.vm import FAIL, OFF, RESET, VM

NOTHING = (1 << 64) - 1


@fn
def hart_count(h: Hart) -> u64:
    return u64(cast(VM, h.vm).harts)


@fn
def is_ram(h: Hart, place: u64, count: u64) -> bool:
    offset = place - h.board.ram_base
    return offset < h.board.ram_size and count <= h.board.ram_size - offset


@fn
def set_timer(h: Hart, time: u64) -> None:
    """The same register the supervisor may write itself (Sstc)."""
    write_stimecmp(h, time)


@fn
def send_ipi(h: Hart, harts: u64) -> None:
    for i in range(cast(VM, h.vm).harts):
        if harts >> i & 1 != 0:
            allocator.drive(cast(Opaque, h.vm), i, SSIP, 1)


@fn
def remote_fence_i(h: Hart, harts: u64) -> None:
    remote(h, harts, CODE, 0, 0, 0)


@fn
def remote_sfence(h: Hart, harts: u64, start: u64, size: u64) -> None:
    remote(h, harts, TRANSLATIONS, start, size, 0)


@fn
def remote_sfence_asid(h: Hart, harts: u64, start: u64, size: u64, asid: u64) -> None:
    remote(h, harts, TRANSLATIONS | BY_ASID, start, size, asid)


@fn
def hart_start(h: Hart, hart: u64, pc: u64, argument: u64) -> bool:
    return allocator.hart_start(h, hart, pc, argument)


@fn
def hart_stop(h: Hart) -> None:
    allocator.hart_stop(h)


@fn
def hart_status(h: Hart, hart: u64) -> u64:
    return allocator.hart_state(h, hart)


@fn
def hart_suspend(h: Hart) -> None:
    allocator.suspend(h)


@fn
def hart_resume(h: Hart, pc: u64, argument: u64) -> None:
    allocator.begin(h, pc, argument)


@fn
def system_reset(h: Hart, kind: u64, reason: u64) -> None:
    if kind != 0:
        allocator.finish(cast(VM, h.vm), RESET, 0)
    elif reason != 0:
        allocator.finish(cast(VM, h.vm), FAIL, 1)
    else:
        allocator.finish(cast(VM, h.vm), OFF, 0)


@fn
def console_put(h: Hart, byte: u8) -> None:
    put(cast(Opaque, h.vm), byte)


@fn
def console_get(h: Hart) -> u64:
    if input_ready(cast(Opaque, h.vm)) == 0:
        return NOTHING
    return u64(get(cast(Opaque, h.vm)))


@fn
def console_write(h: Hart, place: u64, count: u64) -> u64:
    owner = cast(Opaque, h.vm)
    host = h.board.ram + (place - h.board.ram_base)
    n = min(count, output_room(owner))
    for i in range(n):
        put(owner, at_u8(host + i).value)
    return n


@fn
def console_read(h: Hart, place: u64, count: u64) -> u64:
    owner = cast(Opaque, h.vm)
    host = h.board.ram + (place - h.board.ram_base)
    n = min(count, input_ready(owner))
    for i in range(n):
        at_u8(host + i).value = get(owner)
        host_written(h, host + i)
    return n
