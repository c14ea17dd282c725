"""riscv-tests, built elsewhere: every program must report success. POPEK_RISCV_TESTS names the folder of ELF files.

The virtual-memory builds (-v-) take about a minute each on the reference engine's plain Python, so a sample of them runs
here; POPEK_RISCV_TESTS_ALL=1 runs all.
"""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.suites.tohost import Machine

FOLDER = os.environ.get("POPEK_RISCV_TESTS", "")
ALL = bool(os.environ.get("POPEK_RISCV_TESTS_ALL"))
ABSENT = ("rv64uzicond", "rv64ssvnapot")      # extensions Popek does not have
SAMPLE = ("rv64ui-v-add", "rv64ui-v-ma_data", "rv64ua-v-lrsc", "rv64uc-v-rvc", "rv64ud-v-fadd")


def programs() -> list[Path]:
    """The ELF files to run."""
    if not FOLDER:
        return []
    found = sorted(p for p in Path(FOLDER).iterdir() if p.name.startswith("rv64") and not p.suffix)
    found = [p for p in found if not p.name.startswith(ABSENT)]
    return [p for p in found if ALL or "-p-" in p.name or p.name in SAMPLE]


@pytest.mark.skipif(not FOLDER, reason="POPEK_RISCV_TESTS does not name a folder of built riscv-tests")
@pytest.mark.parametrize("program", programs(), ids=lambda p: p.name)
def test_reference(program: Path) -> None:
    outcome = Machine(program).run(2_000_000)
    assert outcome.passed, str(outcome)
