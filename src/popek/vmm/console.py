"""The serial line's two rings: harts put output in and get input from them; one host thread outside takes and gives.

No byte is lost: a hart that finds no room waits for it. Output is taken a burst at a time: the taker lets a line grow
for a moment, so that a chatty kernel costs one host system call a burst.
"""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.lang import Opaque, at_u8, atomic_load, atomic_store, cast, fn, i64, u8, u32, u64
from popek.vmm.lock import acquire, release
from popek.vmm.port import input_arrived, monotonic, sleep, wake
from popek.vmm.vm import INPUT_BYTES, NEVER, OUTPUT_BYTES, VM, Console

BURST = 4096                   # bytes that are taken at once, without waiting for more
PATIENCE = 1_000_000           # nanoseconds for which a burst may grow
CLOSED = -1


@fn
def output_room(owner: Opaque) -> u64:
    """Free bytes in the output ring."""
    c = cast(VM, owner).console
    if atomic_load(c.closed) != 0:
        return OUTPUT_BYTES
    return OUTPUT_BYTES - (atomic_load(c.written) - atomic_load(c.taken))


@fn
def put(owner: Opaque, byte: u8) -> None:
    """Output one byte; waits while there is no room and the machine runs."""
    vm = cast(VM, owner)
    while output_room(owner) == 0:
        if atomic_load(vm.stop) != 0:
            return
        wait_for_room(vm)
    c = vm.console
    if atomic_load(c.closed) != 0:
        return
    acquire(c.lock)
    if c.written - atomic_load(c.taken) < OUTPUT_BYTES:
        c.output[c.written & (OUTPUT_BYTES - 1)] = byte
        atomic_store(c.written, c.written + 1)
    release(c.lock)
    rouse_taker(c)


@fn(cold=True)
def wait_for_room(vm: VM) -> None:
    """The ring is full: sleep until the taker has made room, or the machine ends (vmm.allocator.finish)."""
    c = vm.console
    value = atomic_load(c.room.word)
    atomic_store(c.full, 1)
    if output_room(cast(Opaque, vm)) == 0 and atomic_load(vm.stop) == 0:
        sleep(c.room, value, NEVER)


@fn
def rouse_taker(c: Console) -> None:
    """Wake the taker if it sleeps for what there is now."""
    stage = atomic_load(c.taker.asleep)
    if stage == 1 or (stage == 2 and c.written - atomic_load(c.taken) >= BURST):
        atomic_store(c.taker.asleep, 0)
        wake(c.taker)


@fn
def input_ready(owner: Opaque) -> u64:
    """Bytes of input that wait."""
    c = cast(VM, owner).console
    return atomic_load(c.given) - atomic_load(c.read)


@fn
def get(owner: Opaque) -> u8:
    """The next byte of input; call only when some is ready. Two harts may race: the loser gets 0."""
    c = cast(VM, owner).console
    byte: u8 = 0
    acquire(c.lock)
    if c.given != c.read:
        byte = c.input[c.read & (INPUT_BYTES - 1)]
        atomic_store(c.read, c.read + 1)
    release(c.lock)
    if atomic_load(c.wanted) != 0 and c.given - atomic_load(c.read) <= INPUT_BYTES // 2:
        atomic_store(c.taker.asleep, 0)
        wake(c.taker)
    return byte


@fn(export=True)
def give(vm: VM, place: u64, count: u64) -> u64:
    """Input from outside: the number of bytes there was room for."""
    c = vm.console
    acquire(c.lock)
    n = min(count, INPUT_BYTES - (c.given - c.read))
    for i in range(n):
        c.input[(c.given + i) & (INPUT_BYTES - 1)] = at_u8(place + i).value
    atomic_store(c.given, c.given + n)
    atomic_store(c.wanted, u32(n < count))
    release(c.lock)
    input_arrived(cast(Opaque, vm.devices))
    return n


@fn
def worth_taking(c: Console) -> bool:
    """Is there anything for the taker?"""
    room = c.given - atomic_load(c.read) <= INPUT_BYTES // 2
    return atomic_load(c.written) != c.taken or (atomic_load(c.wanted) != 0 and room)


@fn
def doze(c: Console, stage: u32, until: u64) -> None:
    """The taker sleeps: for anything (stage 1) or for a large burst (stage 2)."""
    value = atomic_load(c.taker.word)
    atomic_store(c.taker.asleep, stage)
    if atomic_load(c.closed) == 0 and (stage == 2 or not worth_taking(c)):
        sleep(c.taker, value, until)
    atomic_store(c.taker.asleep, 0)


@fn(export=True)
def take(vm: VM, place: u64, size: u64) -> i64:
    """Wait for output and copy at most `size` bytes of it. 0: there is room for input again. -1: closed and empty."""
    c = vm.console
    while not worth_taking(c):
        if atomic_load(c.closed) != 0:
            return CLOSED
        doze(c, 1, NEVER)
    if atomic_load(c.wanted) == 0 and c.written - c.taken < BURST and atomic_load(vm.stop) == 0:
        doze(c, 2, monotonic(c.taker) + PATIENCE)
    n = min(atomic_load(c.written) - c.taken, size)
    for i in range(n):
        at_u8(place + i).value = c.output[(c.taken + i) & (OUTPUT_BYTES - 1)]
    full = OUTPUT_BYTES - (c.written - c.taken) < BURST
    atomic_store(c.taken, c.taken + n)
    if atomic_load(c.full) != 0:
        atomic_store(c.full, 0)
        wake(c.room)
    if full:
        input_arrived(cast(Opaque, vm.devices))
    atomic_store(c.wanted, 0)
    return i64(n)


@fn(export=True)
def close(vm: VM) -> None:
    """No more output is to come: the taker gets what is left, then CLOSED."""
    atomic_store(vm.console.closed, 1)
    wake(vm.console.taker)


@fn
def put_from(h: Hart, byte: u8) -> None:
    """`put`, for callers that hold a hart."""
    put(cast(Opaque, h.vm), byte)
