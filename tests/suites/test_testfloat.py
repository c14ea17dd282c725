"""Berkeley TestFloat, built elsewhere, level 1: every vector, every rounding mode. POPEK_TESTFLOAT names testfloat_gen.

Checked are softfloat compiled, the lowering for this host, and (every 499th vector) softfloat as plain Python.
TestFloat must have been built for RISC-V's choices (SPECIALIZE_TYPE=RISCV of SoftFloat).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from functools import cache

import pytest

from popek.isa.hart import Hart
from popek.lang import objects
from popek.lang.llvm import emit
from popek.lang.run import Runner
from tests.suites.testfloat import Operation, checker, operations

GENERATOR = os.environ.get("POPEK_TESTFLOAT", "")
MODES = {"near_even": 0, "minMag": 1, "min": 2, "max": 3, "near_maxMag": 4}
CHECKS = {(operation, soft): checker(operation, soft) for operation in operations() for soft in (True, False)}
plain = Runner()


@cache
def library() -> objects.Library:
    """All checks, compiled."""
    return objects.build(emit(CHECKS.values())).link()


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
