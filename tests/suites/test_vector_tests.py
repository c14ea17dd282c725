"""Public vector tests, built by tools/vector_suite.py: what they say is what they say on QEMU. POPEK_VECTOR_TESTS names
their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from popek.api.machine import Machine
from popek.api.spec import Spec

FOLDER = os.environ.get("POPEK_VECTOR_TESTS", "")


@pytest.mark.skipif(not FOLDER, reason="POPEK_VECTOR_TESTS does not name a folder of built vector tests")
@pytest.mark.parametrize("engine", ["step", "template", "optimizing"])
@pytest.mark.parametrize("program", sorted(Path(FOLDER).glob("*.elf")) if FOLDER else [], ids=lambda path: path.stem)
def test_vectors(program: Path, engine: str) -> None:
    said = bytearray()
    spec = Spec(kernel=str(program), memory=64 << 20, engine=engine, rng=False, vector=True)
    with Machine(spec, serial_out=said.extend) as machine:
        machine.start()
        assert machine.wait(120) == ("off", 0), bytes(said)
    assert bytes(said) == program.with_suffix(".expected").read_bytes()
