"""A leaf that maps 64 KiB at once (Svnapot) is forgotten as one, for data and for code."""

from __future__ import annotations

from tests.engine import scaffold
from tests.engine.native import NativeMachine
from tests.engine.scaffold import RAM
from tests.engine.small import finish, result

ROOT, MIDDLE, LEAVES = (RAM + 0x8_0000 + 0x1000 * n for n in range(3))
ONE, OTHER = RAM + 0x1_0000, RAM + 0x2_0000
BLOCK = 0x4001_0000  # all sixteen entries of the leaf map it
TO_ONE, TO_OTHER = (scaffold.pte(block + 0x8000, scaffold.KERNEL | scaffold.N) for block in (ONE, OTHER))
#: All sixteen entries of the block become what s6 holds; s5 is where they are.
CHANGE = "\n".join(f"sd s6, {8 * n}(s5)" for n in range(16))


def machine() -> NativeMachine:
    m = NativeMachine()
    m.put(ROOT, scaffold.pte(0, scaffold.KERNEL))  # devices
    m.put(ROOT + 8, scaffold.pte(MIDDLE, scaffold.V))
    m.put(ROOT + 16, scaffold.pte(RAM, scaffold.KERNEL))
    m.put(MIDDLE, scaffold.pte(LEAVES, scaffold.V))
    for n in range(16):
        m.put(LEAVES + 0x80 + 8 * n, TO_ONE)
    m.hart.mode, m.hart.satp = 1, scaffold.satp(8, ROOT)
    m.hart.x[20], m.hart.x[21], m.hart.x[22] = BLOCK, LEAVES + 0x80, TO_OTHER
    return m


def test_data() -> None:
    m = machine()
    for page in range(4):
        m.put(ONE + 0x1000 * page, 1 << page)
        m.put(OTHER + 0x1000 * page, 0x100 << page)
    read = "\n".join(
        f"lui t1, {page}\n add t1, t1, s4\n ld t0, 0(t1)\n add a0, a0, t0\n sd zero, 8(t1)" for page in range(4)
    )
    m.program(finish(f"addi a0, zero, 0\n {read}\n {CHANGE}\n lui t1, 7\n add t1, t1, s4\n sfence.vma t1\n {read}"))
    assert result(m) == 0xF + 0xF00


def test_code() -> None:
    m = machine()
    for place, text in ((ONE, "addi a0, a0, 1"), (OTHER, "slli a0, a0, 4")):
        for page in (0, 5):
            m.program(f"{text}\n jalr zero, 0(ra)", place + 0x1000 * page)
    call = "lui t1, 5\n add t1, t1, s4\n jalr ra, 0(s4)\n jalr ra, 0(t1)"
    m.program(finish(f"addi a0, zero, 0\n {call}\n {call}\n {CHANGE}\n sfence.vma s4\n {call}"))
    assert result(m) == 4 << 8
