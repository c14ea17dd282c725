"""Translated code follows memory: stores of this hart, of other harts, of devices; memory is shared as it should be."""

from __future__ import annotations

from popek.engine.template.pages import POLL_ENGINE
from popek.isa import table
from tests.engine.native import RAM, NativeMachine
from tests.engine.small import F, call, finish, function, result


def test_own_store_and_fence_i() -> None:
    m = NativeMachine()
    function(m, 0)
    # add up what F returns while its first instruction changes: addi a0, zero, n is n << 20 | 0x513
    m.program(
        finish(
            f"""addi s2, zero, 0
        addi s3, zero, 500
        addi s1, zero, 0
        lui s4, {F >> 12:#x}
        slli s4, s4, 32
        srli s4, s4, 32
        loop:
        addi s1, s1, 1
        slli t0, s1, 20
        addi t0, t0, 0x513
        sw t0, 0(s4)
        fence.i
        jal ra, {F:#x}
        add s2, s2, a0
        bne s1, s3, loop""",
            "s2",
        )
    )
    assert result(m) == 500 * 501 // 2


def test_own_vector_store_and_fence_i() -> None:
    m = NativeMachine()
    function(m, 0)
    m.program(
        finish(
            f"""addi t0, zero, 0x600
        csrrs zero, mstatus, t0
        vsetivli zero, 1, 0xd0
        addi s2, zero, 0
        addi s3, zero, 300
        addi s1, zero, 0
        lui s4, {F >> 12:#x}
        slli s4, s4, 32
        srli s4, s4, 32
        loop:
        addi s1, s1, 1
        slli a5, s1, 20
        addi a5, a5, 0x513
        vmv.s.x v8, a5
        vmv.x.s a3, v8
        bne a3, a5, loop
        vse32.v v8, (s4)
        fence.i
        jal ra, {F:#x}
        add s2, s2, a0
        bne s1, s3, loop""",
            "s2",
        )
    )
    assert result(m) == 300 * 301 // 2


def test_store_by_another_hart() -> None:
    m = NativeMachine(harts=2)
    for value in (1, 2, 3):
        word = table.assemble(f"addi a0, zero, {value}")
        if value == 1:
            function(m, 1)
        else:
            m.put(RAM + 0x100, word)
            m.program(
                finish(f"auipc a1, 0\n lwu a2, 0x100(a1)\n lui a3, {0x4000 >> 12}\n add a3, a3, a1\n sw a2, 0(a3)")
            )
            m.harts[0].pc = RAM
            result(m, 0)
        assert call(m, 1, "fence.i") == value
        assert call(m, 0, "fence.i", RAM + 0x9000) == value


def test_two_harts_rewrite_and_run_at_the_same_time() -> None:
    """One hart writes code, then a flag; the other, after the flag and fence.i, must run the new code."""
    m = NativeMachine(harts=2)
    function(m, 0)
    rounds = 300
    m.program(
        finish(f"""auipc s0, 0
        lui s1, 0x4
        add s1, s1, s0
        lui s2, 0x6
        add s2, s2, s0
        addi s3, zero, 0
        addi s4, zero, {rounds}
        loop:
        addi s3, s3, 1
        slli t0, s3, 20
        addi t0, t0, 0x513
        sw t0, 0(s1)
        fence
        sd s3, 0(s2)
        wait:
        ld t1, 8(s2)
        bne t1, s3, wait
        bne s3, s4, loop""")
    )
    second = RAM + 0x2000
    m.program(
        finish(
            f"""auipc s0, 0
        lui s2, 0x4
        add s2, s2, s0
        addi s3, zero, 0
        addi s4, zero, {rounds}
        addi s5, zero, 0
        loop:
        addi s3, s3, 1
        wait:
        ld t1, 0(s2)
        bne t1, s3, wait
        fence
        fence.i
        jal ra, {F:#x}
        xor a0, a0, s3
        or s5, s5, a0
        sd s3, 8(s2)
        bne s3, s4, loop""",
            "s5",
        ),
        second,
    )
    m.harts[1].pc = second
    assert m.run_all(30)
    assert m.desks[1].finished - 1 == 0


def test_device_wrote() -> None:
    m = NativeMachine()
    for value in (1, 2, 3):
        function(m, value)
        assert call(m) == value
    # in pieces, across a page border: only the last instruction's second half changes
    edge = RAM + 0x6000 - 2
    for value in (5, 6):
        word = table.assemble(f"addi a0, zero, {value}")
        m.write(edge, word.to_bytes(4, "little")[:2])
        m.write(edge + 2, word.to_bytes(4, "little")[2:])
        m.put(edge + 4, table.assemble("jalr zero, 0(ra)"), 4)
        m.program(finish(f"jal ra, {edge:#x}"))
        m.hart.pc = RAM
        assert result(m) == value


def test_cbo_zero_over_code() -> None:
    """A whole block changes at once: its last instruction must go, too."""
    m = NativeMachine()
    at = F + 48  # inside the block, behind its first doubleword
    code = b"".join(table.assemble(line).to_bytes(4, "little") for line in ("addi a0, zero, 7", "jalr zero, 0(ra)"))
    m.write(at, code)
    trap = RAM + 0x5000
    m.program(finish("addi a0, zero, 99"), trap)
    m.hart.mtvec = trap
    m.program(
        finish(
            f"jal ra, {at:#x}\n lui a1, 0x4\n auipc a2, 0\n addi a2, a2, -8\n add a1, a1, a2\n"
            f" cbo.zero (a1)\n fence.i\n jal ra, {at:#x}"
        )
    )
    assert result(m) == 99


def test_harts_lose_no_update() -> None:
    m = NativeMachine(harts=4)
    rounds = 4000
    text = finish(
        f"""lui s0, 0x40
        auipc s1, 0
        addi s1, s1, -4
        add s0, s0, s1
        addi s1, s0, 64
        addi s2, s0, 128
        addi s3, s0, 192
        addi s4, s0, 256
        addi s6, s0, 320
        lui s5, {rounds >> 12 or 1:#x}
        addi s5, s5, {rounds - 4096 if rounds < 4096 else rounds & 0xFFF}
        addi a5, zero, 1
        loop:
        amoadd.d zero, a5, (s0)
        again:
        lr.d a4, (s1)
        addi a4, a4, 1
        sc.d a3, a4, (s1)
        bne a3, zero, again
        retry:
        lr.w a4, (s2)
        addi a4, a4, 3
        sc.w a3, a4, (s2)
        bne a3, zero, retry
        lock:
        amoswap.w a4, a5, (s3)
        bne a4, zero, lock
        fence
        ld a4, 0(s4)
        addi a4, a4, 1
        sd a4, 0(s4)
        fence
        amoswap.w zero, zero, (s3)
        amoxor.w zero, a5, (s6)
        amomaxu.d zero, s5, (s6)
        addi s5, s5, -1
        bne s5, zero, loop""",
        "s5",
    )
    m.program(text)
    assert m.run_all(60)
    base = RAM + 0x4_0000
    assert [m.word(base + 64 * i) for i in (0, 1, 4)] == [4 * rounds] * 3
    assert m.word(base + 128, 4) == 3 * 4 * rounds & 0xFFFF_FFFF
    assert m.word(base + 192) == 0


def test_a_store_unnoticed_while_its_page_is_translated() -> None:
    """One hart translates a page while another runs towards a store to it, through a TLB entry that lets it pass.

    By the time of fence.i that entry is gone, and what was translated before the store must be gone, too.
    """
    m = NativeMachine(harts=2)
    function(m, 1)
    store, look, run = RAM + 0x1000, RAM + 0x1800, RAM + 0x8000
    m.program(finish("sw s3, 4(s1)\n sw s2, 0(s1)"), store)
    m.program(finish(""), look)
    m.program(finish(f"fence.i\n jal ra, {F:#x}"), run)

    def step(number: int, at: int) -> int:
        m.harts[number].pc = at
        return result(m, number)

    one, two, back = (table.assemble(text) for text in ("addi a0, zero, 1", "addi a0, zero, 2", "jalr zero, 0(ra)"))
    m.hart.x[9], m.hart.x[18], m.hart.x[19] = F, one, back
    step(0, look)
    step(0, store)  # now it has its TLB entry
    assert step(1, run) == 1
    assert m.hart.poll & POLL_ENGINE  # it has been asked to drop the entry,
    m.hart.poll = 0  # but is in the middle of straight code, and does not look
    m.hart.x[18] = two
    step(0, store)
    m.nudge(m.address(0), POLL_ENGINE)
    step(0, look)  # now it has looked
    assert step(1, run) == 2


def test_more_changes_than_a_hart_can_be_told_of() -> None:
    m = NativeMachine(harts=2)
    function(m, 1)
    assert call(m, 1) == 1
    store = RAM + 0x1000
    m.program(
        finish("""addi s3, zero, 300
        loop:
        sw s2, 0(s1)
        addi s3, s3, -1
        bne s3, zero, loop"""),
        store,
    )
    m.hart.x[9], m.hart.x[18] = F, table.assemble("addi a0, zero, 2")
    m.hart.pc = store
    result(m, 0)
    flushes = m.statistics(1)["code_flushes"]
    assert call(m, 1, "fence.i") == 2
    assert m.statistics(1)["code_flushes"] == flushes + 1


def test_more_pages_translated_than_are_noted() -> None:
    """A chain through 300 pages, run while another hart has not looked up; then the code is changed unnoticed."""
    m = NativeMachine(harts=2, size=4 << 20)
    first, pages = RAM + 0x10_0000, 300

    def chain(value: int) -> None:
        for i in range(pages):
            at = first + 4096 * i
            code = [f"addi a0, a0, {value}", f"jal zero, {at + 4096:#x}" if i < pages - 1 else "jalr zero, 0(ra)"]
            words = [table.assemble(text, at + 4 * n) for n, text in enumerate(code)]
            data = b"".join(word.to_bytes(4, "little") for word in words)
            m.memory[at - RAM : at - RAM + 8] = data  # not told to anyone

    run = RAM + 0x8000
    m.program(finish("fence.i\n addi a0, zero, 0\n jalr ra, 0(s1)"), run)
    m.harts[1].x[9] = first
    chain(1)
    m.harts[1].pc = run
    assert result(m, 1) == pages
    chain(2)
    m.harts[1].pc = run
    assert result(m, 1) == 2 * pages
