"""The same definitions as machine code and as plain Python: random instruction streams must leave equal machines."""

from __future__ import annotations

import ctypes
import mmap
import random
from collections.abc import Callable
from typing import Any

import pytest

from popek.isa import hart, memory, ports, privileged, table
from popek.isa.fp import host_flags_enter, host_flags_leave
from popek.isa.hart import Board, Hart, reset
from popek.isa.pmp import pmp_open
from popek.isa.table import Decoded
from popek.lang import Trap, fn, objects, u32, u64
from popek.lang.llvm import emit
from popek.lang.run import Runner

RAM, SIZE = 0x8000_0000, 1 << 16
CODE, DATA, HANDLER = RAM, RAM + 0x8000, RAM + 0x4000
MASK = (1 << 64) - 1


@fn
def no_read(h: Hart, paddr: u64, size: u32) -> u64:
    if paddr & 0x1000 != 0:
        raise Trap(0, 0)
    return paddr * 0x9E3779B97F4A7C15


@fn
def no_write(h: Hart, paddr: u64, size: u32, value: u64) -> None:
    if paddr & 0x1000 != 0:
        raise Trap(0, 0)


@fn
def clock(h: Hart) -> u64:
    return h.instret * 3


@fn
def nothing(h: Hart) -> None:
    pass


@fn
def nothing_at(h: Hart, paddr: u64) -> None:
    pass


@fn
def no_flush(h: Hart, vaddr: u64, asid: u64, flags: u64) -> None:
    pass


@fn
def no_vector(h: Hart, word: u32) -> None:
    raise Trap(hart.ILLEGAL_INSTRUCTION, 0)


@fn(export=True)
def steps(h: Hart, d: Decoded, count: u64) -> None:
    """The plainest engine there is."""
    host_flags_enter(h)
    for _ in range(count):
        try:
            table.decode(memory.fetch(h, h.pc), d)
            table.execute(h, d)
            h.instret += 1
        except Trap:
            privileged.take_trap(h)
        if h.poll != 0:
            privileged.poll_interrupts(h)
    host_flags_leave(h)


PORTS = {
    ports.mmio_read: no_read, ports.mmio_write: no_write, ports.read_time: clock, ports.tlb_flush: no_flush,
    ports.tlb_regime_changed: nothing, ports.pmp_changed: nothing, ports.code_modified: nothing_at,
    ports.fence_i: nothing, ports.spins: nothing, ports.timer_changed: nothing, ports.wait_for_interrupt: nothing,
    ports.vector: no_vector,
}  # fmt: skip


@pytest.fixture(scope="module")
def native() -> Callable[..., None]:
    image = objects.build(emit([steps], ports=PORTS))
    library = image.link({})
    function = library.function(steps)
    function.library = library          # keeps the code mapped
    return function  # type: ignore[no-any-return]


class Twin:
    """One machine in both worlds."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.memories = [mmap.mmap(-1, SIZE), mmap.mmap(-1, SIZE)]
        content = self.random.randbytes(SIZE)
        for area in self.memories:
            area[:] = content
        addresses = [ctypes.addressof(ctypes.c_char.from_buffer(area)) for area in self.memories]
        self.board = Board()
        self.board.ram, self.board.ram_base, self.board.ram_size = addresses[0], RAM, SIZE
        self.native_board = Board.ctype()()
        self.native_board.ram, self.native_board.ram_base, self.native_board.ram_size = addresses[1], RAM, SIZE
        self.hart, self.native_hart = Hart(), Hart.ctype()()
        self.hart.board = self.board
        self.set_up(self.hart)
        for name, type_ in Hart.fields.items():
            value = getattr(self.hart, name)
            if isinstance(value, list):
                getattr(self.native_hart, name)[:] = value
            elif hasattr(type_, "mask"):
                setattr(self.native_hart, name, value)
        self.native_hart.board = ctypes.addressof(self.native_board)

    def set_up(self, h: Hart) -> None:
        pick = self.random.choice
        reset(h)
        pmp_open(h)
        h.pc, h.mtvec, h.stvec, h.mepc, h.sepc = CODE, HANDLER, HANDLER + 0x100, CODE + 0x400, CODE + 0x600
        h.mode = pick((hart.MACHINE, hart.MACHINE, hart.SUPERVISOR, hart.USER))
        h.mstatus |= hart.FS & self.random.getrandbits(16)
        h.medeleg = self.random.getrandbits(16)
        h.mcounteren = h.scounteren = self.random.getrandbits(3)
        h.menvcfg = self.random.choice((0, hart.CBIE | hart.CBCFE | hart.CBZE | hart.STCE))
        h.senvcfg = self.random.choice((0, hart.CBIE | hart.CBCFE | hart.CBZE))
        for n in range(1, 32):
            small, wild = self.random.randint(-70, 70), self.random.getrandbits(64)
            h.x[n] = pick((DATA + self.random.randrange(0, 0x4000), small & MASK, wild, wild >> 33, 0))
        for n in range(32):
            double = self.random.getrandbits(64)
            h.f[n] = pick((double, 0xFFFF_FFFF_0000_0000 | double & 0xFFFF_FFFF, double & 0xFFF0_0000_0000_0000))

    def code(self, op: Any) -> bytes:
        """One random instruction of an operation."""
        word = self.random.getrandbits(32) & ~op.encoding.mask | op.encoding.match
        rounding = op.encoding.field("rm")
        if rounding:
            word = word & ~(7 << 12) | self.random.choice((0, 1, 2, 3, 4, 7)) << 12
        if op.kind == "csr":
            number = self.random.choice(list(table_numbers()))
            word = word & 0xFFFFF | number << 20
        return int(word & 0xFFFF_FFFF).to_bytes(4, "little")

    def put(self, address: int, data: bytes) -> None:
        for area in self.memories:
            area[address - RAM:address - RAM + len(data)] = data

    def compare(self) -> None:
        for name in Hart.fields:
            if name in ("board", "vm"):
                continue
            ours, theirs = getattr(self.hart, name), getattr(self.native_hart, name)
            if isinstance(ours, list):
                ours, theirs = list(map(hex, ours)), list(map(hex, theirs))
            assert ours == theirs, name
        assert self.memories[0][:] == self.memories[1][:]


def table_numbers() -> list[int]:
    from popek.isa.csr import NUMBERS

    return [number for name, number in NUMBERS.items() if not name.startswith("pmp")]


def run(twin: Twin, native: Callable[..., None], count: int) -> None:
    python = Runner(PORTS)[steps]
    python(twin.hart, Decoded(), count)
    d = Decoded.ctype()()
    native(ctypes.addressof(twin.native_hart), ctypes.addressof(d), count)


@pytest.mark.parametrize("op", table.OPS, ids=lambda op: op.name)
def test_every_operation(op: Any, native: Callable[..., None]) -> None:
    for seed in range(12):
        twin = Twin(seed * 1000 + table.IDS[op.name])
        twin.put(CODE, twin.code(op))
        run(twin, native, 1)
        twin.compare()


@pytest.mark.parametrize("seed", range(40))
def test_random_streams(seed: int, native: Callable[..., None]) -> None:
    twin = Twin(seed)
    for start in (CODE, HANDLER, HANDLER + 0x100, CODE + 0x400, CODE + 0x600):
        twin.put(start, b"".join(twin.code(twin.random.choice(table.OPS)) for _ in range(60)))
    for _ in range(20):
        run(twin, native, 10)
        twin.compare()


def test_interrupts_natively(native: Callable[..., None]) -> None:
    twin = Twin(1)
    for h in (twin.hart, twin.native_hart):
        h.mode, h.mie, h.mip, h.mideleg, h.poll = hart.USER, 0xAAA, hart.SSIP, 0x222, hart.POLL_INTERRUPT
    twin.put(CODE, (0x13).to_bytes(4, "little"))
    run(twin, native, 1)
    twin.compare()
    assert (twin.hart.mode, twin.hart.scause) == (hart.SUPERVISOR, hart.INTERRUPT | 1)
