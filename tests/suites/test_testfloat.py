"""Berkeley TestFloat, built elsewhere, level 1: every vector, every rounding mode. POPEK_TESTFLOAT names testfloat_gen.

Checked are softfloat compiled, the lowering for this host, (every 499th vector) softfloat as plain Python, and the
instructions themselves: in a compiled region while rounding to nearest even, in templates in the other modes.
TestFloat must have been built for RISC-V's choices (SPECIALIZE_TYPE=RISCV of SoftFloat).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from functools import cache

import pytest

from popek.engine.optimizing import compile
from popek.engine.optimizing.state import INSTALLED
from popek.isa.hart import FS, Hart
from popek.lang import objects
from popek.lang.llvm import emit
from popek.lang.run import Runner
from tests.engine.forced import request
from tests.engine.native import RAM, NativeMachine
from tests.engine.small import finish
from tests.suites.testfloat import Operation, checker, compare, instruction, operations, reader

GENERATOR = os.environ.get("POPEK_TESTFLOAT", "")
MODES = {"near_even": 0, "minMag": 1, "min": 2, "max": 3, "near_maxMag": 4}
CHECKS = {(operation, soft): checker(operation, soft) for operation in operations() for soft in (True, False)}
READERS = {operation: reader(operation) for operation in operations()}
plain = Runner()

LOOP, ROWS, FOUND, SIZE, CHUNK = RAM + 0x2000, RAM + (1 << 20), RAM + (24 << 20), 32 << 20, 400_000


@cache
def library() -> objects.Library:
    """All checks, compiled."""
    return objects.build(emit([*CHECKS.values(), *READERS.values(), compare])).link()


def vectors(operation: Operation, mode: str) -> bytes:
    """What testfloat_gen prints."""
    command = [GENERATOR, "-level", "1", "-exact", "-tininessafter", f"-r{mode}", operation.name]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.skipif(not GENERATOR, reason="POPEK_TESTFLOAT does not name testfloat_gen")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.name)
def test_vectors(operation: Operation, mode: str) -> None:
    if not operation.rounds and mode != "near_even":
        pytest.skip("does not round")
    lines = vectors(operation, mode)
    text = ctypes.create_string_buffer(lines, len(lines) + 1)
    start = ctypes.addressof(text)
    hart = Hart.ctype()()
    for soft in (True, False):
        hart.instret = 0
        check = library().function(CHECKS[operation, soft])
        wrong = check(ctypes.addressof(hart), start, start + len(lines), MODES[mode])
        first = lines[hart.scratch - start :].split(b"\n")[0] if wrong else b""
        where = "in softfloat" if soft else "on the host"
        assert not wrong, f"{wrong} of {hart.instret} wrong {where}; first: {first!r}"
    length = lines.index(b"\n") + 1
    assert hart.instret * length == len(lines) > 0
    check = plain[CHECKS[operation, True]]
    for at in range(0, len(lines), max(length * 499, len(lines) // 400 // length * length)):
        assert check(Hart(), start + at, start + at + length, MODES[mode]) == 0, lines[at : at + length]


@cache
def machine() -> NativeMachine:
    """A guest in machine mode."""
    return NativeMachine(size=SIZE)


def program(operation: Operation) -> str:
    """A loop over rows: operands from them, one instruction, its result and its flags into memory.

    Reading the flags leaves a region, so a region never holds the loop. It is long enough to be worth one all the same.
    """
    text, integer = instruction(operation)
    loads, columns = [], len(operation.operands) + 2
    for n, digits in enumerate(operation.operands):
        if "a4" in text.split(", ")[-1]:
            loads.append("ld a4, 0(a0)")
        else:
            loads.append(f"fl{'w' if digits == 8 else 'd'} fa{n}, {8 * n}(a0)")
    store = "sd a4" if integer else "fsw fa3" if operation.digits == 8 else "fsd fa3"
    nops = "\n".join(["addi zero, zero, 0"] * 60)
    lines = [*loads, text, f"{store}, 0(a1)", "csrrw a5, fflags, zero", "sd a5, 8(a1)", f"addi a0, a0, {8 * columns}",
             "addi a1, a1, 16", "addi a2, a2, -1", f"bne a2, zero, {LOOP:#x}"]  # fmt: skip
    return finish(nops + "\n" + "\n".join(lines), "a2")


@pytest.mark.skipif(not GENERATOR, reason="POPEK_TESTFLOAT does not name testfloat_gen")
@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.name)
def test_regions(operation: Operation) -> None:
    m = machine()
    m.forget()
    m.program(program(operation), LOOP)
    columns = len(operation.operands) + 2
    region = b""
    for mode, number in MODES.items():
        if not operation.rounds and number:
            continue
        lines = vectors(operation, mode)
        text = ctypes.create_string_buffer(lines, len(lines) + 1)
        length = lines.index(b"\n") + 1
        for first in range(0, len(lines), CHUNK * length):
            start, end = (ctypes.addressof(text) + at for at in (first, min(first + CHUNK * length, len(lines))))
            rows, found = (m.rams[0].address + (place - RAM) for place in (ROWS, FOUND))
            count = library().function(READERS[operation])(start, end, rows)
            if not region:
                go(m, 8, number)
                region = compile.compile_region(request(m, LOOP, True)) or b""
                assert m.install(region, LOOP) == INSTALLED
            ctypes.memset(found, 0, 16 * count)
            entered, long_way = m.cache().optimizing.steps, m.statistics()["slow_steps"]
            go(m, count, number)
            right = library().function(compare)(rows, columns, found, count)
            assert right == count, f"{lines[first + right * length : first + (right + 1) * length]!r} {mode}"
            if number == 0:
                assert m.cache().optimizing.steps - entered == count, "left for the flags"
                assert m.statistics()["slow_steps"] - long_way < 1.8 * count, "what regions give up"


def go(m: NativeMachine, count: int, rounding: int) -> None:
    """Let the guest work through the first rows."""
    h = m.hart
    h.x[10], h.x[11], h.x[12], h.pc, h.fflags, h.frm = ROWS, FOUND, count, LOOP, 0, rounding
    h.mstatus |= FS
    assert m.run(0, 60), hex(h.pc)
