"""riscv-tests, built by tools/suites.py: every program must report success. POPEK_RISCV_TESTS names their folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from popek.abi.elf import parse
from popek.api.machine import Machine
from popek.api.spec import Spec
from tests.suites import tohost

FOLDER = os.environ.get("POPEK_RISCV_TESTS", "")
absent = pytest.mark.skipif(not FOLDER, reason="POPEK_RISCV_TESTS does not name a folder of built riscv-tests")


def programs() -> list[Path]:
    """The ELF files to run."""
    if not FOLDER:
        return []
    return sorted(p for p in Path(FOLDER).iterdir() if p.name.startswith("rv64") and not p.suffix)


@absent
@pytest.mark.parametrize("program", programs(), ids=lambda p: p.name)
def test_reference(program: Path) -> None:
    outcome = tohost.Machine(program).run(2_000_000)
    assert outcome.passed, str(outcome)


@absent
@pytest.mark.parametrize("engine", ["step", "template", "optimizing"])
@pytest.mark.parametrize("program", programs(), ids=lambda p: p.name)
def test_machine(program: Path, engine: str) -> None:
    place = parse(memoryview(program.read_bytes()), program.name).symbol("tohost")
    assert place is not None
    code, deadline = 0, time.monotonic() + 60
    with Machine(Spec(kernel=str(program), memory=16 << 20, engine=engine, rng=False)) as machine:
        machine.start()
        while code == 0 and time.monotonic() < deadline:
            time.sleep(0.0005)
            code = int.from_bytes(machine._memory.read(place, 8), "little")
    assert code == 1, str(tohost.Outcome(code, 0))
