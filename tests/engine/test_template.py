"""The template engine's own promises: coherence of translated code, exhaustion, several harts, W^X, bounded memory."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from popek.engine.template import layout, library, setup, templates
from popek.isa import table
from tests.engine import scaffold, streams
from tests.engine.desk import FINISHER
from tests.engine.native import RAM, NativeMachine
from tests.engine.pair import Pair, describe

DONE = f"lui t6, {FINISHER >> 12:#x}\n sd zero, 0(t6)\n"  # ends in a loop that is a poll point
F = RAM + 0x4000  # where tests keep a function


def finish(text: str, result: str = "a0") -> str:
    """A program that hands a register to the finisher."""
    return f"{text}\n lui t6, {FINISHER >> 12:#x}\n sd {result}, 0(t6)\n end:\n jal zero, end"


def result(m: NativeMachine, number: int = 0, seconds: float = 20.0) -> int:
    """Run to the finisher; what it was handed."""
    assert m.run(number, seconds), hex(m.harts[number].pc)
    return int(m.desks[number].finished - 1 & (1 << 64) - 1)


def call(m: NativeMachine, number: int = 0, before: str = "", at: int = RAM + 0x8000) -> int:
    """Run a program that calls F and hands out a0."""
    m.program(finish(f"{before}\n jal ra, {F:#x}"), at)
    m.harts[number].pc = at
    return result(m, number)


def function(m: NativeMachine, value: int) -> None:
    """F returns a number."""
    code = b"".join(table.assemble(line).to_bytes(4, "little") for line in (f"addi a0, zero, {value}", "jalr zero, 0(ra)"))
    m.write(F, code)


# -- the library --


def compiled(body: str) -> bytes:
    return library.compile_texts([templates.template("t", body)], "declare void @elsewhere()\n@somewhere = external global i64\n")


@pytest.mark.parametrize("body", [
    "  call void @elsewhere()\n" + templates.tail("@hole_next"),
    "  store i64 1, ptr @somewhere\n" + templates.tail("@hole_next"),
    "  call void @hole_value()\n" + templates.tail("@hole_next"),
    "  %a = load <2 x double>, ptr %h\n  %b = fadd <2 x double> %a, <double 0x3FD5555555555555, double 0x3FD5555555555556>\n"
    "  store <2 x double> %b, ptr %h\n" + templates.tail("@hole_next"),
])  # fmt: skip
def test_what_cannot_be_a_template_is_refused(body: str) -> None:
    with pytest.raises(library.TemplateError):
        library.cut(compiled(body))


def test_a_good_template_is_cut() -> None:
    codes = library.cut(compiled(f"  %a = getelementptr i8, ptr %h, i64 {templates.hole('rd')}\n  store i64 %p1, ptr %a\n" + templates.tail("@hole_next")))
    assert [layout.HOLES[hole] for _, _, hole, _ in codes["t"].relocations] == ["rd"]  # the closing jump is gone


# -- translated code and memory --


def test_own_store_and_fence_i() -> None:
    m = NativeMachine()
    function(m, 0)
    # add up what F returns while its first instruction changes: addi a0, zero, n is n << 20 | 0x513
    m.program(finish(f"""addi s2, zero, 0
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
        bne s1, s3, loop""", "s2"))
    assert result(m) == 500 * 501 // 2


def test_store_by_another_hart() -> None:
    m = NativeMachine(harts=2)
    for value in (1, 2, 3):
        word = table.assemble(f"addi a0, zero, {value}")
        if value == 1:
            function(m, 1)
        else:
            m.put(RAM + 0x100, word)
            m.program(finish(f"auipc a1, 0\n lwu a2, 0x100(a1)\n lui a3, {0x4000 >> 12}\n add a3, a3, a1\n sw a2, 0(a3)"))
            m.harts[0].pc = RAM
            result(m, 0)
        assert call(m, 1, "fence.i") == value
        assert call(m, 0, "fence.i", RAM + 0x9000) == value


def test_two_harts_rewrite_and_run_at_the_same_time() -> None:
    """Message passing: one hart writes code, then a flag; the other sees the flag, does fence.i, and must run the new code."""
    m = NativeMachine(harts=2)
    function(m, 0)
    rounds = 300
    m.program(finish(f"""auipc s0, 0
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
        bne s3, s4, loop"""))
    second = RAM + 0x2000
    m.program(finish(f"""auipc s0, 0
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
        bne s3, s4, loop""", "s5"), second)
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
    m.program(finish(f"jal ra, {at:#x}\n lui a1, 0x4\n auipc a2, 0\n addi a2, a2, -8\n add a1, a1, a2\n cbo.zero (a1)\n fence.i\n jal ra, {at:#x}"))
    assert result(m) == 99


# -- translations of addresses --


def paged(m: NativeMachine) -> tuple[int, int]:
    """Two page tables: VA 0x40000000 shows RAM + 0x10000 under one and RAM + 0x11000 under the other; the rest is identity.
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
    m.program(finish(f"""lui s4, 0x40000
        addi a0, zero, 0
        addi s5, zero, 20
        loop:
        {back}
        csrw satp, s3
        {back}
        csrw satp, s2
        addi s5, s5, -1
        bne s5, zero, loop"""))
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
    read = "\n".join(f"lui t1, {page}\n add t1, t1, s4\n ld t0, 0(t1)\n add a0, a0, t0\n sd zero, 8(t1)" for page in range(4))
    m.program(finish(f"addi a0, zero, 0\n {read}\n sd s6, 0(s5)\n sfence.vma s4\n {read}"))
    assert result(m) == 0xF + 0xF00


def test_code_reached_through_two_addresses() -> None:
    """auipc and jal of one physical page, run at two virtual addresses."""
    m = NativeMachine()
    one, two = paged(m)
    for root in (RAM + 0x8_0000, RAM + 0x8_4000):
        m.put(root, scaffold.pte(0, scaffold.KERNEL))
    m.program("auipc a0, 0\n jalr zero, 0(ra)", RAM + 0x1_0000)
    supervise(m, one, two)
    m.hart.x[20], m.hart.x[21], m.hart.x[22] = 0x4000_0000, RAM + 0x1_0000, 0xC001_0000
    m.program(finish("""addi s7, zero, 0
        addi s8, zero, 3
        loop:
        jalr ra, 0(s4)
        xor s7, s7, a0
        jalr ra, 0(s5)
        xor s7, s7, a0
        jalr ra, 0(s6)
        xor s7, s7, a0
        addi s8, s8, -1
        bne s8, zero, loop""", "s7"))
    assert result(m) == 0x4000_0000 ^ RAM + 0x1_0000 ^ 0xC001_0000


# -- poll points --


@pytest.mark.parametrize("loop", ["jalr a5, 0(a4)", "jalr ra, 0(a4)", "jalr zero, 0(a4)", "jal zero, {at}", "beq a4, a4, {at}", "beq s0, s0, {at}", "c.j {at}"])
@pytest.mark.parametrize("at", [RAM + 0x2000, RAM + 0x2FFE])
def test_every_endless_loop_can_be_stopped(loop: str, at: int) -> None:
    m = NativeMachine()
    text = loop.format(at=hex(at))
    m.put(at, table.assemble(text, at), 2 if text.startswith("c.") else 4)
    m.hart.pc = m.hart.x[14] = at
    assert not m.run(seconds=0.05)
    assert m.hart.pc == at and m.hart.instret > 1000


# -- exhaustion --


@pytest.mark.parametrize(("arena", "pages", "links"), [(240 << 10, 4096, 1 << 16), (1 << 20, 2, 1 << 16), (1 << 20, 4096, 560)])
def test_everything_can_be_forgotten_at_any_time(monkeypatch: pytest.MonkeyPatch, arena: int, pages: int, links: int) -> None:
    monkeypatch.setattr(setup, "ARENA", arena)
    monkeypatch.setattr(setup, "PAGES", pages)
    monkeypatch.setattr(setup, "LINKS", links)
    pair = Pair()
    for seed in range(5000, 5012):
        program = streams.stream(seed)
        found = pair.check(program)
        assert not found, describe(program, found)
    assert pair.native.statistics()["code_flushes"] > 10


def test_long_straight_code_of_the_largest_templates() -> None:
    """As many jumps out of line as a run can have: dynamic rounding, atomics, far branches."""
    m = NativeMachine()
    m.hart.mstatus |= 0x6000
    m.hart.mtvec = RAM + 0x8_0000
    m.program(finish("addi a0, zero, 1"), RAM + 0x8_0000)
    for line in ("fmadd.d fa0, fa1, fa2, fa3", "fcvt.lu.d a0, fa0", "fmin.s fa0, fa1, fa2", "sc.d a5, a4, (a3)", "amomaxu.w a5, a4, (a3)", "blt a5, a5, 0x80012000", "blt a4, a5, 0x80011ff0",
                 "bgeu a4, a5, 0x80012100"):  # fmt: skip
        m.forget()
        for i in range(1024):
            at = RAM + 0x1_1000 + 4 * i
            m.put(at, table.assemble(line.replace("0x80012000", hex(at + 4000)).replace("0x80011ff0", hex(at + 8)).replace("0x80012100", hex(at + 4000)), at), 4)
        m.program(finish("addi a0, zero, 0"), RAM + 0x1_2000)
        for i in range(0x1_2020 - 0x1_2000 >> 2, 1200):
            m.put(RAM + 0x1_2000 + 4 * i, table.assemble("jal zero, " + hex(RAM + 0x1_2000), RAM + 0x1_2000 + 4 * i), 4)
        m.hart.x[13] = RAM + 0x2_0000
        m.hart.x[14] = m.hart.x[15] = 0
        m.hart.x[15] = 5 if line.startswith("blt") else 0
        m.hart.pc = RAM + 0x1_1000
        assert result(m) == 0, line


# -- several harts --


def test_harts_lose_no_update() -> None:
    m = NativeMachine(harts=4)
    rounds = 4000
    text = finish(f"""lui s0, 0x40
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
        bne s5, zero, loop""", "s5")
    m.program(text)
    assert m.run_all(60)
    base = RAM + 0x4_0000
    assert [m.word(base + 64 * i) for i in (0, 1, 4)] == [4 * rounds] * 3
    assert m.word(base + 128, 4) == 3 * 4 * rounds & 0xFFFF_FFFF
    assert m.word(base + 192) == 0


# -- the host --


def mappings() -> set[tuple[int, int, str]]:
    made = set()
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, permissions = line.split()[:2]
        low, high = span.split("-")
        made.add((int(low, 16), int(high, 16), permissions))
    return made


def test_no_memory_is_writable_and_executable() -> None:
    before = mappings()  # ctypes and LLVM may have some of their own
    m = NativeMachine(harts=2)
    function(m, 1)
    call(m)
    assert not [one for one in mappings() - before if "w" in one[2] and "x" in one[2]]
    (library_,) = [p for low, high, p in mappings() if low <= m.library.base < high]
    assert "x" in library_ and "w" not in library_
    arenas = [one for one in m.engine.keep if isinstance(one, setup.Arena)]
    assert len(arenas) == 2
    for arena in arenas:
        (code,) = [p for low, high, p in mappings() if low <= arena.executable < high]
        (data,) = [p for low, high, p in mappings() if low <= arena.writable < high]
        assert code[:3] == "r-x" and data[:3] == "rw-"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that is rewritten and run again for ever."""
    monkeypatch.setattr(setup, "ARENA", 1 << 20)
    m = NativeMachine()

    def work(count: int) -> int:
        m.program(finish(f"""addi s2, zero, 0
            lui s3, {count >> 12:#x}
            lui s4, 0x4
            auipc s1, 0
            add s4, s4, s1
            addi s4, s4, -12
            loop:
            slli t0, s2, 20
            addi t0, t0, 0x513
            sw t0, 0(s4)
            fence.i
            jal ra, {F:#x}
            addi s2, s2, 1
            bne s2, s3, loop""", "s2"))
        m.hart.pc = RAM
        assert result(m, seconds=60) == count
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    function(m, 0)
    before = work(8192)
    after = work(32768)
    assert after - before < 4096  # KiB
    assert m.statistics()["code_bytes"] <= 1 << 20
