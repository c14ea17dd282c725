"""Devices through the public interface, as a guest on the machine has them: a bare program drives them, no driver."""

from __future__ import annotations

import os
import struct

import pytest

from popek.api.machine import Machine
from popek.api.spec import Disk, Spec
from popek.devices.virtio import blk, mmio
from popek.devices.virtio.queue import NEXT, WRITE
from popek.storage.qcow2_create import create
from tests.elves import RAM, elf
from tests.vmm.guests import FINISHER, PLIC, assemble

DATA = RAM + 0x1_0000  # page 0: registers to write; then rings and buffers
DESC, AVAIL, USED, HEADER, STATUS, BUFFER = (DATA + 0x1000 * n for n in range(1, 7))


def program(slot: int, chain: list[tuple[int, int, int]], header: bytes, sent: bytes = b"") -> bytes:
    """Set up queue 0 of a device, post one chain, await its interrupt, fail with code 0x100 | first byte."""
    base = 0x1000_1000 + 0x1000 * slot
    registers = [
        (mmio.STATUS, 0), (mmio.STATUS, 1), (mmio.STATUS, 3), (mmio.DRIVER_FEATURES_SEL, 1), (mmio.DRIVER_FEATURES, 1),
        (mmio.STATUS, 11), (mmio.QUEUE_SEL, 0), (mmio.QUEUE_NUM, 8), (mmio.QUEUE_DESC, DESC),
        (mmio.QUEUE_DRIVER, AVAIL), (mmio.QUEUE_DEVICE, USED), (mmio.QUEUE_READY, 1), (mmio.STATUS, 15),
        (mmio.QUEUE_NOTIFY, 0),
    ]  # fmt: skip
    source = slot + 1
    code = f"""
        li s0, {DATA:#x}
    next:
        lw s1, 0(s0)
        lw s2, 4(s0)
        addi s0, s0, 8
        beq s1, x0, set
        sw s2, 0(s1)
        j next
    set:
        li s0, {USED:#x}
    wait:
        lhu s1, 2(s0)
        beq s1, x0, wait
        li s0, {PLIC + 0x1000:#x}
    pending:
        lw a1, 0(s0)
        srli a1, a1, {source}
        andi a1, a1, 1
        beq a1, x0, pending
        slli a1, a1, 8
        li s0, {BUFFER:#x}
        lbu a0, 0(s0)
        or a0, a0, a1
        slli a0, a0, 16
        li s1, 0x3333
        or a0, a0, s1
        li s0, {FINISHER:#x}
        sw a0, 0(s0)
    end:
        j end
    """
    image = bytearray(assemble(code, RAM).ljust(DATA - RAM, b"\0"))
    image += b"".join(struct.pack("<II", base + register, value) for register, value in registers).ljust(0x1000, b"\0")
    table = [
        struct.pack("<QIHH", address, n, flags | (NEXT if i + 1 < len(chain) else 0), i + 1)
        for i, (address, n, flags) in enumerate(chain)
    ]
    image += b"".join(table).ljust(0x1000, b"\0")
    image += struct.pack("<HHH", 0, 1, 0).ljust(0x1000, b"\0") + bytes(0x1000)
    image += header.ljust(0x1000, b"\0") + b"\xff".ljust(0x1000, b"\0") + sent.ljust(0x1000, b"\0")
    return elf(bytes(image))


def run(tmp_path, kernel: bytes, engine: str, *disks: Disk, rng: bool = False) -> int:
    path = tmp_path / "program"
    path.write_bytes(kernel)
    spec = Spec(kernel=str(path), memory=16 << 20, disks=disks, engine=engine, rng=rng)
    with Machine(spec) as machine:
        machine.start()
        outcome = machine.wait(60)
    assert outcome is not None and outcome.kind == "fail"
    return outcome.code


def disk_chain(flags: int) -> list[tuple[int, int, int]]:
    return [(HEADER, 16, 0), (BUFFER, 512, flags), (STATUS, 1, WRITE)]


engines = pytest.mark.parametrize("engine", ["reference", "template"])


@engines
def test_reading_a_disk(tmp_path, engine) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(512) + b"\x5a" * 512)
    kernel = program(0, disk_chain(WRITE), struct.pack("<IIQ", blk.T_IN, 0, 1))
    assert run(tmp_path, kernel, engine, Disk(str(disk), "raw", readonly=True)) == 0x15A


@engines
@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_writing_a_disk(tmp_path, engine, format) -> None:
    """A driver that cannot flush, and a machine that ends at once: the write is there."""
    disk = tmp_path / "disk"
    create(str(disk), 1 << 20) if format == "qcow2" else disk.write_bytes(bytes(1 << 20))
    kernel = program(0, disk_chain(0), struct.pack("<IIQ", blk.T_OUT, 0, 3), b"\x77" * 512)
    assert run(tmp_path, kernel, engine, Disk(str(disk), format, overlay=True)) == 0x177
    before = disk.read_bytes()
    assert run(tmp_path, kernel, engine, Disk(str(disk), format)) == 0x177
    assert disk.read_bytes() != before
    kernel = program(0, disk_chain(WRITE), struct.pack("<IIQ", blk.T_IN, 0, 3))
    assert run(tmp_path, kernel, engine, Disk(str(disk))) == 0x177


@engines
def test_the_second_slot(tmp_path, engine) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(os.urandom(4096))
    code = run(tmp_path, program(1, [(BUFFER, 64, WRITE)], b""), engine, Disk(str(disk), "raw"), rng=True)
    assert code >> 8 == 1
