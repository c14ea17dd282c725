"""The template engine's limits: it can always be stopped, forgets when it is full, keeps memory bounded and never
writable and executable at once.
"""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from popek.engine.template import setup
from popek.isa import table
from tests.engine import streams
from tests.engine.native import RAM, NativeMachine
from tests.engine.pair import Pair
from tests.engine.reduce import describe
from tests.engine.small import F, call, finish, function, result


@pytest.mark.parametrize(
    "loop",
    [
        "jalr a5, 0(a4)",
        "jalr ra, 0(a4)",
        "jalr zero, 0(a4)",
        "jal zero, {at}",
        "beq a4, a4, {at}",
        "beq s0, s0, {at}",
        "c.j {at}",
    ],
)
@pytest.mark.parametrize("at", [RAM + 0x2000, RAM + 0x2FFE])
def test_every_endless_loop_can_be_stopped(loop: str, at: int) -> None:
    m = NativeMachine()
    text = loop.format(at=hex(at))
    m.put(at, table.assemble(text, at), 2 if text.startswith("c.") else 4)
    m.hart.pc = m.hart.x[14] = at
    assert not m.run(seconds=0.05)
    assert m.hart.pc == at and m.hart.instret > 1000


# -- exhaustion --


@pytest.mark.parametrize(
    ("arena", "pages", "links"), [(240 << 10, 4096, 1 << 16), (1 << 20, 2, 1 << 16), (1 << 20, 4096, 560)]
)
def test_everything_can_be_forgotten_at_any_time(
    monkeypatch: pytest.MonkeyPatch, arena: int, pages: int, links: int
) -> None:
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
    m.hart.frm = 1  # what rounds so is left to the slow path, each time
    lines = [
        "fmadd.s fa0, fa1, fa2, fa3",
        "fmadd.s fa0, fa1, fa2, fa3, rne",
        "fmadd.d fa0, fa1, fa2, fa3",
        "fcvt.lu.d a0, fa0",
        "fmin.s fa0, fa1, fa2",
        "sc.d a5, a4, (a3)",
    ]
    lines += ["amomaxu.w a5, a4, (a3)", "ld a5, 0(a4)", "blt a5, a5, 4000", "blt a4, a5, 8", "bgeu a4, a5, 4000"]
    for line in lines:
        m.forget()
        *head, last = line.split(" ")
        for i in range(1024):
            at = RAM + 0x1_1000 + 4 * i
            text = " ".join([*head, hex(at + int(last))]) if last.isdecimal() else line
            m.put(at, table.assemble(text, at), 4)
        m.program(finish("addi a0, zero, 0"), RAM + 0x1_2000)
        for at in range(RAM + 0x1_2020, RAM + 0x1_3400, 4):
            m.put(at, table.assemble(f"jal zero, {RAM + 0x1_2000:#x}", at), 4)
        m.hart.x[13] = m.hart.x[14] = RAM + 0x2_0000
        m.hart.x[15] = 5 if line.startswith("blt") else 0
        if line.startswith("b"):
            m.hart.x[14] = 0
        m.hart.pc = RAM + 0x1_1000
        assert result(m) == 0, line


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
        m.program(
            finish(
                f"""addi s2, zero, 0
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
            bne s2, s3, loop""",
                "s2",
            )
        )
        m.hart.pc = RAM
        assert result(m, seconds=60) == count
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    function(m, 0)
    before = work(8192)
    after = work(32768)
    assert after - before < 4096  # KiB
    assert m.statistics()["code_bytes"] <= 1 << 20
