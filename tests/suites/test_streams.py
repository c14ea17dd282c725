"""Random instruction streams: the engines agree with each other, and with QEMU where it is installed.

POPEK_STREAMS=N runs N programs instead of a few; each is a seed, and the same seed is always the same program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from popek.api.machine import Machine
from popek.api.spec import Spec
from popek.engine.reference import Reference
from popek.isa import ports, zawrs, zfa, zicond
from popek.isa.op import declared
from popek.lang import Trap
from tests.suites import tohost
from tests.suites.random_streams import Generator
from tests.suites.streams import RAM, Report, report

QEMU = shutil.which("qemu-system-riscv64")
#: ctzw of zero is wrong in QEMU 7.2; the two fences do not trap there in U-mode (Privileged ISA, "Svinval").
WITHOUT = ("ctzw", "sfence_w_inval", "sfence_inval_ir")
#: Extensions that QEMU 7.2 does not know.
UNKNOWN = (zicond, zawrs, zfa)
QEMU_CPU = "rv64,zba=on,zbb=on,zbc=on,zbs=on,svinval=on,svnapot=on,svpbmt=on"
SEEDS = range(int(os.environ.get("POPEK_STREAMS", "4")))
MEMORY = 32 << 20


def make(folder: Path, seed: int, paged: bool, streams: int, length: int, without: tuple[str, ...] = ()) -> Path:
    """A program file."""
    program = folder / "program.elf"
    program.write_bytes(Generator(seed, without).program(streams, length, paged))
    return program


def on_machine(program: Path, engine: str) -> bytes:
    """What it says on an engine in a complete machine."""
    output = bytearray()
    with Machine(Spec(kernel=str(program), memory=MEMORY, engine=engine, rng=False),
                 serial_out=output.extend) as machine:  # fmt: skip
        machine.start()
        outcome = machine.wait(60)
    assert outcome is not None and outcome.kind == "off"
    return bytes(output)


def on_reference(program: Path) -> bytes:
    """What it says on plain Python."""
    output, ended = bytearray(), []

    def write(h: Any, paddr: int, size: int, value: int) -> None:
        if paddr == 0x1000_0000:
            output.append(value & 0xFF)
        elif paddr == 0x10_0000:
            ended.append(value)
        else:
            raise Trap(0, 0)

    machine = tohost.Machine(program, ram_size=MEMORY)
    machine.engine = Reference(machine.harts, {ports.mmio_write: write})
    machine.engine.run(2_000_000, check=lambda: bool(ended))
    return bytes(output)


def on_qemu(program: Path, folder: Path) -> bytes:
    """What it says on QEMU."""
    serial = folder / "serial"
    command = f"-M virt -cpu {QEMU_CPU} -m 32 -bios none -display none -monitor none".split()
    subprocess.run([str(QEMU), *command, "-serial", f"file:{serial}", "-kernel", program], check=True, timeout=100)
    return serial.read_bytes()


def alike(found: Report, program: Path) -> Report:
    """What QEMU 7.2 may say differently, made equal.

    xtval of illegal instructions and breakpoints is optional; the faults of atomics are reported there as a load's,
    where the Unprivileged ISA, "A Extension", says store/AMO; misaligned accesses to nothing are made there in aligned
    halves.
    """
    image = program.read_bytes()
    traps = []
    for cause, pc, value, status in found.traps:
        opcode = image[64 + 56 + pc - RAM] & 0x7F
        if opcode == 0x2F and cause in (5, 13):
            cause += 2
        if cause in (5, 7):
            value &= ~7
        traps.append((cause, pc, 0 if cause in (2, 3) else value, status))
    return found._replace(traps=tuple(traps))


@pytest.mark.parametrize("paged", [False, True], ids=["bare", "paged"])
def test_all_engines_agree(tmp_path: Path, paged: bool) -> None:
    program = make(tmp_path, 1000 + paged, paged, streams=12, length=60)
    reference = report(on_reference(program), 12)
    for engine in ("step", "template"):
        assert report(on_machine(program, engine), 12) == reference, engine


@pytest.mark.skipif(not QEMU, reason="qemu-system-riscv64 is not installed")
@pytest.mark.parametrize("paged", [False, True], ids=["bare", "paged"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_as_on_qemu(tmp_path: Path, seed: int, paged: bool) -> None:
    without = (*WITHOUT, *(op.name for extension in UNKNOWN for op in declared(extension)))
    program = make(tmp_path, seed, paged, streams=50, length=100, without=without)
    expected = alike(report(on_qemu(program, tmp_path), 50), program)
    for engine in ("step", "template"):
        assert alike(report(on_machine(program, engine), 50), program) == expected, engine
