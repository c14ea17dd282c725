"""Translated code follows translations of addresses: other page tables, superpages, one page at several addresses."""

from __future__ import annotations

import pytest

from popek.engine import tlb
from tests.engine import scaffold
from tests.engine.native import RAM, NativeMachine
from tests.engine.small import finish, result


def paged(m: NativeMachine) -> tuple[int, int]:
    """Two page tables: VA 0x40000000 shows RAM + 0x10000 under one, RAM + 0x11000 under the other;
    VA 0xC0000000 shows RAM through a 2 MiB page. Returns their satp values."""
    values = []
    for n, target in enumerate((RAM + 0x1_0000, RAM + 0x1_1000)):
        root, middle, leaf, big = (RAM + 0x8_0000 + 0x4000 * n + 0x1000 * i for i in range(4))
        m.put(root + 8, scaffold.pte(middle, scaffold.V))
        m.put(root + 16, scaffold.pte(RAM, scaffold.KERNEL))
        m.put(root + 24, scaffold.pte(big, scaffold.V))
        m.put(big, scaffold.pte(RAM, scaffold.KERNEL))
        m.put(middle, scaffold.pte(leaf, scaffold.V))
        m.put(leaf, scaffold.pte(target, scaffold.KERNEL))
        values.append(scaffold.satp(8, root))
    return values[0], values[1]


def supervise(m: NativeMachine, one: int, two: int) -> None:
    """Supervisor mode; s2 and s3 hold the values of satp."""
    m.hart.mode, m.hart.satp = 1, one
    m.hart.x[18], m.hart.x[19] = one, two


@pytest.mark.parametrize("jump", ["jalr ra, 0(s4)", "jal ra, {back}"])
def test_the_jump_cache_follows_satp(jump: str) -> None:
    m = NativeMachine()
    one, two = paged(m)
    m.program("addi a0, a0, 1\n jalr zero, 0(ra)", RAM + 0x1_0000)
    m.program("slli a0, a0, 1\n jalr zero, 0(ra)", RAM + 0x1_1000)
    supervise(m, one, two)
    # The program is RAM's first page, seen at a place from which jal reaches the functions
    start, index = 0x4008_0000, 128
    for n in (0, 1):
        m.put(RAM + 0x8_0000 + 0x4000 * n, scaffold.pte(0, scaffold.KERNEL))
        m.put(RAM + 0x8_0000 + 0x4000 * n + 0x2000 + 8 * index, scaffold.pte(RAM, scaffold.KERNEL))
    back = jump.format(back=hex(RAM - (start - 0x4000_0000)))  # displacements are what counts
    m.program(
        finish(f"""lui s4, 0x40000
        addi a0, zero, 0
        addi s5, zero, 20
        loop:
        {back}
        csrw satp, s3
        {back}
        csrw satp, s2
        addi s5, s5, -1
        bne s5, zero, loop""")
    )
    m.hart.pc = start
    expected = 0
    for _ in range(20):
        expected = (expected + 1) * 2
    assert result(m) == expected


def test_sfence_by_address_reaches_all_of_a_superpage() -> None:
    m = NativeMachine(size=8 << 20)
    one, two = paged(m)
    big = RAM + 0x8_0000 + 0x3000
    m.put(RAM + 0x8_0000, scaffold.pte(0, scaffold.KERNEL))
    for page in range(4):
        m.put(RAM + 0x2_0000 + 0x1000 * page, 1 << page)
        m.put(RAM + 0x20_0000 + 0x2_0000 + 0x1000 * page, 0x100 << page)
    supervise(m, one, two)
    m.hart.x[20], m.hart.x[21], m.hart.x[22] = 0xC002_0000, big, scaffold.pte(RAM + 0x20_0000, scaffold.KERNEL)
    read = "\n".join(
        f"lui t1, {page}\n add t1, t1, s4\n ld t0, 0(t1)\n add a0, a0, t0\n sd zero, 8(t1)" for page in range(4)
    )
    m.program(finish(f"addi a0, zero, 0\n {read}\n sd s6, 0(s5)\n sfence.vma s4\n {read}"))
    assert result(m) == 0xF + 0xF00


def test_sfence_by_address_reaches_code_in_a_superpage() -> None:
    m = NativeMachine()
    one, two = paged(m)
    m.put(RAM + 0x8_0000, scaffold.pte(0, scaffold.KERNEL))
    m.program("addi a0, a0, 1\n jalr zero, 0(ra)", RAM + 0x1_0000)
    trap = RAM + 0x5000
    m.program(finish("addi a0, a0, 100"), trap)
    m.hart.mtvec = trap
    supervise(m, one, two)
    big = RAM + 0x8_0000 + 0x3000
    m.hart.x[20], m.hart.x[21], m.hart.x[22] = 0xC002_0000, big, scaffold.pte(RAM, scaffold.KERNEL & ~scaffold.X)
    m.hart.x[23] = 0xC001_0000
    m.program(finish("jalr ra, 0(s7)\n jalr ra, 0(s7)\n sd s6, 0(s5)\n sfence.vma s4\n jalr ra, 0(s7)"))
    assert result(m) == 102
    assert (m.hart.mcause, m.hart.mtval) == (12, 0xC001_0000)


def test_code_reached_through_two_addresses() -> None:
    """auipc and jal of one physical page, run at two virtual addresses."""
    m = NativeMachine()
    one, two = paged(m)
    for root in (RAM + 0x8_0000, RAM + 0x8_4000):
        m.put(root, scaffold.pte(0, scaffold.KERNEL))
    m.program("auipc a0, 0\n jalr zero, 0(ra)", RAM + 0x1_0000)
    supervise(m, one, two)
    m.hart.x[20], m.hart.x[21], m.hart.x[22] = 0x4000_0000, RAM + 0x1_0000, 0xC001_0000
    m.program(
        finish(
            """addi s7, zero, 0
        addi s8, zero, 3
        loop:
        jalr ra, 0(s4)
        xor s7, s7, a0
        jalr ra, 0(s5)
        xor s7, s7, a0
        jalr ra, 0(s6)
        xor s7, s7, a0
        addi s8, s8, -1
        bne s8, zero, loop""",
            "s7",
        )
    )
    assert result(m) == 0x4000_0000 ^ RAM + 0x1_0000 ^ 0xC001_0000


def test_a_page_that_is_flushed_no_more_is_an_ordinary_one() -> None:
    """Pages that are flushed by address all the time are walked for; one of them may become a program's stack."""
    m = NativeMachine()
    one, two = paged(m)
    supervise(m, one, two)
    m.put(RAM + 0x8_0000, scaffold.pte(0, scaffold.KERNEL))  # devices
    m.hart.x[20] = 0x4000_0000
    m.program(
        finish(
            """addi a1, zero, 20
        often:
        ld t0, 0(s4)
        sfence.vma s4
        addi a1, a1, -1
        bne a1, zero, often
        lui a1, 3
        again:
        ld t0, 0(s4)
        addi a1, a1, -1
        bne a1, zero, again"""
        )
    )
    result(m)
    assert tlb.SHY_WALKS < m.statistics()["tlb_misses"] < 2 * tlb.SHY_WALKS
    assert m.statistics()["tlb_flushes"] < 10
