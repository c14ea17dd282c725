"""Vectors against QEMU: random instructions in plain Python and as machine code leave equal machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from popek.isa.vector import table
from popek.isa.vector.config import configure
from tests.isa.vector.machine import SIZE, Generator, Here, Machine, described, differences, elsewhere, there_is_qemu

COUNT = 2500
OPS = [op for op in table.OPS if op.fn is not configure]


@pytest.mark.skipif(not there_is_qemu(), reason="no qemu-riscv64 or no cross compiler")
@pytest.mark.parametrize("machine_code", [False, True])
def test_random_instructions(machine_code: bool, tmp_path: Path) -> None:
    here = Here(machine_code)
    generator = Generator(7 + machine_code, OPS, here)
    cases = [generator.case() for _ in range(COUNT)]
    there = elsewhere(b"".join(cases), tmp_path)
    for number, case in enumerate(cases):
        found = differences(case, here.execute(case), there[number * SIZE : (number + 1) * SIZE])
        one = Machine.from_buffer_copy(case)
        op = next(op for op in OPS if one.word & op.encoding.mask == op.encoding.match)
        assert not found, "\n".join([described(op, one), *found])
