"""riscv-tests, built elsewhere: every program must report success. POPEK_RISCV_TESTS names the folder of ELF files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.suites.tohost import Machine

FOLDER = os.environ.get("POPEK_RISCV_TESTS", "")


def programs() -> list[Path]:
    """The ELF files to run."""
    if not FOLDER:
        return []
    return sorted(p for p in Path(FOLDER).iterdir() if p.name.startswith("rv64") and not p.suffix)


@pytest.mark.skipif(not FOLDER, reason="POPEK_RISCV_TESTS does not name a folder of built riscv-tests")
@pytest.mark.parametrize("program", programs(), ids=lambda p: p.name)
def test_reference(program: Path) -> None:
    outcome = Machine(program).run(2_000_000)
    assert outcome.passed, str(outcome)
