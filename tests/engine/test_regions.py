"""Regions on a hart: entered from templates, left by every exit, gone when anything they were made from changes."""

from __future__ import annotations

import ctypes

import pytest

from popek.engine.optimizing.image import Span
from popek.engine.optimizing.state import BAD, E_INSIDE, ELSEWHERE, INSTALLED, STALE, THERE
from popek.isa import table
from tests.engine import handmade
from tests.engine.native import RAM, NativeMachine
from tests.engine.scaffold import KERNEL, pte, satp
from tests.engine.small import finish, result

LOOP = RAM + 0x2000
BASE = "lui t0, 0x40000\n slli t0, t0, 1\n lui t1, 2\n add t1, t1, t0"  # t0: RAM, t1: LOOP


def words(*lines: str, at: int = LOOP) -> bytes:
    """Machine code."""
    return b"".join(table.assemble(line, at + 4 * i).to_bytes(4, "little") for i, line in enumerate(lines))


#: add a3 to a0, a4 times, then return: the loop of most tests here
CODE = words("add a0, a0, a3", "addi a4, a4, -1", f"bne a4, zero, {LOOP:#x}", "jalr zero, 0(ra)")


def loop(step: int = 3, wrong: int = 0) -> bytes:
    """A region that does what CODE does; to be told apart, it adds `wrong` once in the end."""
    a0, a3, a4 = handmade.pin(10), handmade.pin(13), handmade.pin(14)
    body = f"""  br label %again
again:
  %n = phi i64 [ %count, %begin ], [ %n1, %turn ]
  %x = phi i64 [ {a0}, %begin ], [ %x1, %turn ]
  %k = phi i64 [ {a4}, %begin ], [ %k1, %turn ]
  %x1 = add i64 %x, {a3}
  %k1 = add i64 %k, -1
  %n1 = add i64 %n, {step}
  %more = icmp ne i64 %k1, 0
  br i1 %more, label %back, label %out
back:
{handmade.templates.poll()}
  br i1 %calm, label %turn, label %stop
turn:
  br label %again
stop:
{handmade.base("%b")}
{handmade.leave("poll", "%b", "%n1", {10: "%x1", 14: "%k1"})}
out:
  %raa = getelementptr i8, ptr %h, i64 {handmade.Hart.offset("x") + 8}
  %ra = load i64, ptr %raa
  %n2 = add i64 %n1, 1
  %x2 = add i64 %x1, {wrong}
{handmade.leave("indirect", "%ra", "%n2", {10: "%x2", 14: "%k1"})}
"""
    return handmade.make(body, [Span(0, LOOP & 4095, CODE)], LOOP & 4095, instructions=4)


def calling(times: int, before: str = "", after: str = "") -> str:
    """A program that calls LOOP once."""
    return finish(
        f"addi a0, zero, 0\n addi a3, zero, 5\n addi a4, zero, {times}\n{before}\n jal ra, {LOOP:#x}\n{after}"
    )


def machine(wrong: int = 1000, harts: int = 1) -> NativeMachine:
    """A hart with CODE in memory, and its region installed."""
    m = NativeMachine(harts=harts)
    m.write(LOOP, CODE)
    assert m.install(loop(wrong=wrong), LOOP) == INSTALLED
    return m


def run(m: NativeMachine, times: int = 10, **more: str) -> int:
    """Run `calling`: 5 * times from templates, with the region `wrong` more."""
    m.program(calling(times, **more))
    m.hart.pc = RAM
    return result(m)


def test_entered_and_left_with_an_exact_count() -> None:
    m, plain, counting = NativeMachine(), NativeMachine(), NativeMachine()
    counting.engine.measure(counting.address())
    for one in (m, plain, counting):
        one.write(LOOP, CODE)
    assert m.install(loop(wrong=1000), LOOP) == counting.install(loop(wrong=1000), LOOP) == INSTALLED
    for _ in range(3):
        assert run(counting) == 1050
        assert run(m) == 1050
        assert run(plain) == 50
    assert m.hart.instret == plain.hart.instret == counting.hart.instret
    assert counting.hart.engine[E_INSIDE] == 3 * 31 and m.hart.engine[E_INSIDE] == 0


def test_translated_before() -> None:
    """What is linked to the templates there finds the region."""
    m = NativeMachine()
    m.write(LOOP, CODE)
    assert run(m) == 50
    assert m.install(loop(wrong=1000), LOOP) == INSTALLED
    assert run(m) == 1050
    assert m.install(loop(wrong=1000), LOOP) == THERE


def test_not_installed() -> None:
    m = NativeMachine()
    m.write(LOOP, CODE)
    image = loop()
    assert m.install(image, LOOP + 4) == BAD
    assert m.install(image[:-8], LOOP) == BAD
    assert m.install(bytes(len(image)), LOOP) == BAD
    assert m.install(image, 0x1000_0000 + (LOOP & 4095)) == ELSEWHERE  # not RAM
    m.put(LOOP + 8, 0, 4)
    assert m.install(image, LOOP) == STALE
    marks = (ctypes.c_uint8 * 16).from_address(m.code_map.address)
    assert not any(marks)


@pytest.mark.parametrize("polls", [1, 2, 7, 10, 11, 12])
def test_polls_where_templates_poll(polls: int) -> None:
    machines = machine(0), NativeMachine()
    machines[1].write(LOOP, CODE)
    for m in machines:
        m.program(calling(10))
        assert m.run(polls=polls)
    one, other = (m.hart for m in machines)
    assert (one.pc, one.instret, list(one.x)) == (other.pc, other.instret, list(other.x))


def change(m: NativeMachine) -> str:
    """Code that makes `addi a4, a4, -1` of CODE `addi a4, a4, -2`; needs BASE."""
    m.put(RAM + 0x5000, table.assemble("addi a4, a4, -2"), 4)
    return "lui t2, 5\n add t2, t2, t0\n lw t2, 0(t2)\n sw t2, 4(t1)\n fence.i"


def test_own_store() -> None:
    m = machine()
    assert run(m) == 1050
    assert run(m, before=f"{BASE}\n{change(m)}") == 25
    assert m.cache().optimizing.discarded == 1
    assert m.install(loop(), LOOP) == STALE


def test_own_store_beside() -> None:
    """Data in the same page is no reason to forget a region, if nothing else is there."""
    m = machine()
    assert run(m, before=f"{BASE}\n sd t0, 0x100(t1)") == 1050
    assert run(m) == 1050
    assert m.cache().optimizing.discarded == 0


def test_store_by_another_hart() -> None:
    m = machine(harts=2)
    assert run(m) == 1050
    m.program(finish(f"{BASE}\n{change(m)}"), RAM + 0x7000)
    m.harts[1].pc = RAM + 0x7000
    result(m, 1)
    assert run(m, before="fence.i") == 25


def test_device_wrote() -> None:
    m = machine()
    assert run(m) == 1050
    m.put(LOOP + 4, table.assemble("addi a4, a4, -2"), 4)
    assert run(m) == 25


def test_what_others_may_have_changed_unnoticed() -> None:
    """As long as another hart may hold write entries for the page, fence.i does not trust the region."""
    m = machine(harts=2)
    assert run(m) == 1050
    assert run(m, before="fence.i") == 50


def test_forget_all() -> None:
    m = machine()
    assert run(m) == 1050
    m.forget()
    assert run(m) == 50
    assert m.install(loop(wrong=2000), LOOP) == INSTALLED
    assert run(m) == 2050


def test_many() -> None:
    """More regions than there is room for: everything is forgotten, the last one holds."""
    m = NativeMachine()
    m.write(LOOP, CODE)
    image = loop(wrong=1000)
    m.cache().optimizing.limit = 3
    for _ in range(10):
        assert m.install(image, LOOP) == INSTALLED
        assert run(m, before=f"{BASE}\n lw t2, 0(t1)\n sw t2, 0(t1)\n fence.i") == 50
    assert m.install(image, LOOP) == INSTALLED
    assert run(m) == 1050
    assert m.cache().flushes > 2


# -- under translation --

TABLES = RAM + 0x1_0000
TWO = 0x4000_0000  # virtual: two pages; the loop's page, then the page that the region goes through as well


def two_pages(wrong: int) -> bytes:
    """A region over two pages: adds 7 to a0 in the first, 8 in the second, and returns."""
    body = f"""  %raa = getelementptr i8, ptr %h, i64 {handmade.Hart.offset("x") + 8}
  %ra = load i64, ptr %raa
  %x = add i64 {handmade.pin(10)}, {15 + wrong}
  %n = add i64 %count, 3
{handmade.leave("indirect", "%ra", "%n", {10: "%x"})}
"""
    spans = [Span(0, 4092, words("addi a0, a0, 7")), Span(1, 0, words("addi a0, a0, 8", "jalr zero, 0(ra)"))]
    return handmade.make(body, spans, 4092, instructions=3)


def translated() -> NativeMachine:
    """A hart in supervisor mode, with two pages at TWO, and RAM as it is."""
    m = NativeMachine()
    root, middle, leaves = TABLES, TABLES + 0x1000, TABLES + 0x2000
    m.put(root + 16, pte(RAM, KERNEL))
    m.put(root + 8, pte(middle, 1))
    m.put(middle, pte(leaves, 1))
    m.put(leaves, pte(RAM + 0x2_0000, KERNEL))
    m.put(leaves + 8, pte(RAM + 0x2_1000, KERNEL))
    m.write(RAM + 0x2_0FFC, words("addi a0, a0, 7"))
    m.write(RAM + 0x2_1000, words("addi a0, a0, 8", "jalr zero, 0(ra)"))
    m.write(RAM + 0x2_5000, words("addi a0, a0, 80", "jalr zero, 0(ra)"))
    m.hart.mode, m.hart.satp = 1, satp(8, root)
    m.library.call("popek.engine.template.coherence.regime_changed", None, ctypes.c_uint64)(m.address())
    return m


def call_two(m: NativeMachine, before: str = "", after: str = "") -> int:
    """Call the code at TWO + 4092 three times, once before `before` and once behind `after`."""
    m.program(
        f"""addi a0, zero, 0
        lui s0, 0x40001
        addi s0, s0, -4
        jalr ra, 0(s0)
        {before}
        jalr ra, 0(s0)
        {after}
        jalr ra, 0(s0)
        addi a7, zero, 0
        ebreak"""
    )
    trap = RAM + 0x3000
    m.program(finish("addi t0, zero, 0"), trap)
    m.hart.mode = 1
    m.library.call("popek.engine.template.coherence.regime_changed", None, ctypes.c_uint64)(m.address())
    m.hart.mtvec = trap
    m.hart.pc = RAM
    return result(m)


def remap(flush: str) -> str:
    """Program text that points the second page to RAM + 0x2_5000."""
    entry = pte(RAM + 0x2_5000, KERNEL)
    low = (entry & 0xFFF ^ 0x800) - 0x800
    return f"""lui t0, 0x40009
        slli t0, t0, 1
        lui t1, {entry - low >> 12:#x}
        addi t1, t1, {low}
        sd t1, 8(t0)
        {flush}"""


@pytest.mark.parametrize("flush", ["sfence.vma", "lui t2, 0x40001\n sfence.vma t2, zero"])
def test_second_page_moved(flush: str) -> None:
    m, plain = translated(), translated()
    assert m.install(two_pages(100), TWO + 4092) == INSTALLED
    text = remap(flush)
    assert call_two(plain, text) == 15 + 2 * 87
    assert call_two(m, text) == 115 + 2 * 87
    assert m.cache().optimizing.discarded == 1
    assert m.hart.instret == plain.hart.instret


def test_other_page_flushed() -> None:
    m = translated()
    assert m.install(two_pages(100), TWO + 4092) == INSTALLED
    assert call_two(m, "lui t2, 0x40005\n sfence.vma t2, zero", "sfence.vma") == 3 * 115
    assert m.cache().optimizing.discarded == 0


def test_second_page_written() -> None:
    m = translated()
    assert m.install(two_pages(100), TWO + 4092) == INSTALLED
    text = f"""lui t0, 0x40011
        slli t0, t0, 1
        sub t0, t0, zero
        lui t1, {table.assemble("addi a0, a0, 80") >> 12:#x}
        addi t1, t1, {table.assemble("addi a0, a0, 80") & 0xFFF}
        lui t2, 0xfffff
        add t0, t0, t2
        sw t1, 0(t0)
        fence.i"""
    assert call_two(m, text) == 115 + 2 * 87
    assert m.cache().optimizing.discarded == 1
    marks = (ctypes.c_uint8 * 64).from_address(m.code_map.address)
    assert marks[0x20] and not marks[0x25]


def test_not_executable_in_this_mode() -> None:
    """Where a mode may execute only one of its pages, a region is not for that mode."""
    m = translated()
    m.put(TABLES + 0x2000, pte(RAM + 0x2_0000, KERNEL | 16))
    assert m.install(two_pages(100), TWO + 4092) == ELSEWHERE  # not executable for the supervisor
    m.hart.mode = 0
    assert m.install(two_pages(100), TWO + 4092) == ELSEWHERE  # the second page
    m.put(TABLES + 0x2008, pte(RAM + 0x2_1000, KERNEL | 16))
    assert m.install(two_pages(100), TWO + 4092) == INSTALLED
