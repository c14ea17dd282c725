"""riscv-arch-test, built by tools/suites.py: signatures as QEMU gave them. POPEK_ARCH_TESTS names the folder.

The folder holds ELF files that send their signature over the UART at 0x1000_0000 and power off through the test
finisher at 0x10_0000, and in `sig/` the expected output of each under the same name.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.suites.test_streams import on_machine

FOLDER = os.environ.get("POPEK_ARCH_TESTS", "")


def programs() -> list[Path]:
    """The ELF files that have a signature."""
    if not FOLDER:
        return []
    return sorted(p for p in Path(FOLDER).iterdir() if (p.parent / "sig" / p.name).is_file())


@pytest.mark.skipif(not FOLDER, reason="POPEK_ARCH_TESTS does not name a folder of built architecture tests")
@pytest.mark.parametrize("engine", ["step", "template", "optimizing"])
@pytest.mark.parametrize("program", programs(), ids=lambda p: p.name)
def test_signature(program: Path, engine: str) -> None:
    expected = (program.parent / "sig" / program.name).read_bytes()
    assert expected
    said = on_machine(program, engine)
    different = [at for at in range(0, len(expected), 8) if said[at : at + 8] != expected[at : at + 8]]
    assert not different and len(said) == len(expected), f"{len(different)} doublewords from {different[:1]} on"
