"""`popek boot --check`: guests on which two engines agree, and planted defects that must be found and named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from popek.api import native
from popek.api.check_narrow import Difference
from popek.api.spec import Disk
from popek.base.errors import BadInput
from popek.faces import cli
from popek.isa import m, memory, ports
from popek.isa.hart import Hart
from popek.isa.paging import WRITE, ram_address, translate
from popek.lang import at_u16, fn, objects, u16, u32, u64, u128
from tests import elves
from tests.vmm import guests
from tests.vmm.guests import DBCN, ECHO, TIME, machine


def check(folder, text: str, timeout: float = 240, **how):
    """Run a guest under --check to its end: the machine, and what it printed."""
    said = bytearray()
    with machine(folder, text, output=said.extend, **{"check": "step", **how}) as made:
        made.start()
        assert made.wait(timeout) == ("off", 0), bytes(said)
        return made._core, bytes(said)


def plant(monkeypatch, build: str, label: str, substitute: dict | None = None, bound: dict | None = None) -> None:
    """Let a build have a defect."""
    real_parts, real_key = native.check_parts, native.key

    def parts(before):
        functions, changed, instead = real_parts(before)
        return functions, changed | (bound or {}), instead | (substitute or {})

    def image(name, progress=None, warn=None):
        if name != build:
            return real_image(name, progress, warn)
        with monkeypatch.context() as m:
            m.setattr(native, "check_parts", parts)
            key = hashlib.sha256(f"{real_key(build)} {label} {Path(__file__).read_text()}".encode()).hexdigest()
            return objects.cached(key, lambda: objects.build(native.text(build)))

    real_image = native.image
    monkeypatch.setattr(native, "image", image)


# -- guests on which engines agree --

#: Fifty interrupts of the supervisor's timer, each 20 us after the last one, in the middle of arithmetic.
TIMER = """
    la t0, handler
    csrrw x0, stvec, t0
    li s0, 0
    li s1, 7
    li s2, 50
    csrrs t0, time, x0
    csrrw x0, stimecmp, t0
    li t0, 0x20
    csrrs x0, sie, t0
    csrrsi x0, sstatus, 2
busy:
    mul s1, s1, s1
    addi s1, s1, 13
    xor s3, s3, s1
    blt s0, s2, busy
    mv a0, s0
    jal ra, hex
    j off
handler:
    addi s0, s0, 1
    csrrs t0, time, x0
    addi t0, t0, 200
    blt s0, s2, once_more
    li t0, -1                   # that was the last one
once_more:
    csrrw x0, stimecmp, t0
    sret
"""
#: The same while it waits, through the supervisor's call.
SLEEPER = f"""
    li s0, 30
    li t0, 0x20
    csrrs x0, sie, t0
more:
    csrrs t0, time, x0
    addi a0, t0, 2000
    sbi {TIME:#x}, 0
    wfi
    addi s0, s0, -1
    bne s0, x0, more
    j off
"""
#: Its own code changes in each round, with and without a fence.
SELF_MODIFYING = """
    li s0, 400
    li s1, 0
    la s2, patched
    lw s3, 0(s2)
    li s5, 0x100000
again:
    add s3, s3, s5              # the immediate of the addi grows
    sw s3, 0(s2)
    andi t0, s0, 1
    beq t0, x0, patched
    fence.i
patched:
    addi s1, s1, 0
    addi s0, s0, -1
    bne s0, x0, again
    mv a0, s1
    jal ra, hex
    j off
"""
#: Sv39: a page at 1 GiB, everything else identical; A and D are set by the walks, and looked at.
PAGING = """
    li s0, 0x80400000
    li t0, 0x7                  # devices: V R W of the first gigabyte
    sd t0, 0(s0)
    li t0, 0x20000007
    addi t0, t0, 8
    sd t0, 16(s0)               # memory: V R W X
    li t0, 0x20100401
    sd t0, 8(s0)                # the second gigabyte: a table at 0x80401000
    li s1, 0x80401000
    li t0, 0x20100801
    sd t0, 0(s1)                # a table at 0x80402000
    li s1, 0x80402000
    li s2, 0x20100C07
    sd s2, 0(s1)                # the page at 0x80403000: V R W
    li t0, 0x80400
    addi t1, x0, 8
    slli t1, t1, 60
    or t0, t0, t1
    csrrw x0, satp, t0
    sfence.vma
    li s3, 0x40000000
    li s4, 300
round:
    sd s2, 0(s1)                # clean again
    sfence.vma
    lw t0, 16(s3)
    ld s5, 0(s1)
    sw s4, 16(s3)
    ld s6, 0(s1)
    addi s4, s4, -1
    bne s4, x0, round
    mv a0, s5
    jal ra, hex
    mv a0, s6
    jal ra, hex
    li t0, 0x80403000
    lw a0, 16(t0)
    jal ra, hex
    j off
"""
#: virtio-blk without interrupts: reads sector 1, adds 1 to its first byte, writes it, flushes, reads it again.
DISK = """
    li s0, 0x10001000
    li s1, 0x80100000           # descriptors; rings, header, data and status follow in pages of their own
    li s2, 0
    addi t0, x0, 3
    sw t0, 0x70(s0)
    addi t0, x0, 1
    sw t0, 0x24(s0)
    sw t0, 0x20(s0)             # VERSION_1
    sw x0, 0x24(s0)
    addi t0, x0, 0x200
    sw t0, 0x20(s0)             # FLUSH
    addi t0, x0, 11
    sw t0, 0x70(s0)
    addi t0, x0, 8
    sw t0, 0x38(s0)
    sw s1, 0x80(s0)
    li t1, 0x1000
    add s3, s1, t1              # available ring
    sw s3, 0x90(s0)
    add s4, s3, t1              # used ring
    sw s4, 0xa0(s0)
    add s5, s4, t1              # header
    add s6, s5, t1              # data
    add s7, s6, t1              # status
    addi t0, x0, 1
    sw t0, 0x44(s0)
    addi t0, x0, 15
    sw t0, 0x70(s0)
    sd s5, 0(s1)
    addi t0, x0, 16
    sw t0, 8(s1)
    sd s6, 16(s1)
    addi t0, x0, 512
    sw t0, 24(s1)
    sd s7, 32(s1)
    addi t0, x0, 1
    sw t0, 40(s1)
    addi t0, x0, 2
    sh t0, 44(s1)
    sh t0, 30(s1)
    addi t0, x0, 1
    sh t0, 0(s3)                # no interrupts
    sh t0, 12(s1)
    sd t0, 8(s5)                # sector 1
    addi a0, x0, 0
    addi a1, x0, 3
    jal ra, request
    lbu a0, 0(s6)
    addi a0, a0, 1
    sb a0, 0(s6)
    addi a0, x0, 1
    addi a1, x0, 1
    jal ra, request
    addi t0, x0, 2
    sh t0, 14(s1)               # a flush has no data
    addi a0, x0, 4
    jal ra, request
    addi t0, x0, 1
    sh t0, 14(s1)
    sd x0, 0(s6)
    addi a0, x0, 0
    addi a1, x0, 3
    jal ra, request
    ld a0, 0(s6)
    jal ra, hex
    lbu a0, 0(s7)
    jal ra, hex
    j off
request:                        # kind a0, flags of the data a1
    sw a0, 0(s5)
    sh a1, 28(s1)
    addi t0, x0, 1
    bne a0, x0, first
first:
    sh t0, 14(s1)
    addi t0, a0, -4
    bne t0, x0, put
    addi t0, x0, 2
    sh t0, 14(s1)
put:
    andi t0, s2, 7
    slli t0, t0, 1
    add t0, t0, s3
    sh x0, 4(t0)
    addi s2, s2, 1
    sh s2, 2(s3)
    sw x0, 0x50(s0)
wait:
    lhu t0, 2(s4)
    bne t0, s2, wait
    jalr x0, 0(ra)
"""
#: Ten lines through the debug console, from and to memory.
CONSOLE = f"""
    li s0, 10
    li s1, 0x80300000
    li t0, 0x0a636261
    sw t0, 0(s1)
line:
    addi a0, x0, 4
    mv a1, s1
    addi a2, x0, 0
    sbi {DBCN:#x}, 0
    addi a0, x0, 16
    addi a1, s1, 64
    addi a2, x0, 0
    sbi {DBCN:#x}, 1
    addi s0, s0, -1
    bne s0, x0, line
    j off
"""


@pytest.mark.parametrize("engine", ["template", "optimizing"])
@pytest.mark.parametrize("second", ["step", "reference"])
@pytest.mark.parametrize(
    ("text", "supervisor", "said"),
    [
        (TIMER, True, b"%016x\n" % 50),
        (SLEEPER, True, b""),
        (SELF_MODIFYING, False, b"%016x\n" % sum(range(1, 401))),
        (PAGING, True, b"%016x\n%016x\n%016x\n" % (0x20100C47, 0x20100CC7, 1)),
        (CONSOLE, True, b"abc\n" * 10),
    ],
    ids=["timer", "sleep", "code", "paging", "console"],
)
def test_engines_agree(tmp_path, engine, second, text, supervisor, said):
    core, printed = check(tmp_path, text, supervisor=supervisor, engine=engine, check=second)
    assert printed == said
    assert core.comparisons >= 1 and core.memory_comparisons >= 1
    assert core.summary().startswith(f"{engine} and {second} agree: ")


@pytest.mark.parametrize("second", ["step", "reference"])
def test_what_devices_write_reaches_both(tmp_path, second):
    """Also from a thread of their own: a flush is done on one."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(512) + bytes(range(65, 75)) + bytes(1014))
    _, printed = check(tmp_path, DISK, check=second, disks=(Disk(str(disk), "raw"),))
    assert printed == b"4847464544434242\n%016x\n" % 0
    assert disk.read_bytes()[512:514] == b"BB"


def test_input_from_outside(tmp_path):
    text = bytes(range(32, 127)) * 30
    said = bytearray()
    with machine(tmp_path, ECHO, output=said.extend, check="step") as made:
        made.start()
        made.serial_input(text + b"\x04")
        assert made.wait(60) == ("off", 0)
        assert bytes(said) == text
        assert made._core.second.instret == made._core.first.instret > 10_000


def test_many_comparisons_and_all_of_memory(tmp_path, monkeypatch):
    from popek.api import check as checking

    monkeypatch.setattr(checking, "PATIENCE", 0.0)
    monkeypatch.setattr(checking, "SHARE", 0)
    monkeypatch.setattr(checking, "QUANTUM", 0.0002)
    text = """
        csrrs s0, time, x0
        li s1, 0x80100000
        li s2, 4000000              # 0.4 s
    loop:
        andi t0, s3, 0x7f8
        add t0, t0, s1
        sd s0, 0(t0)
        addi s3, s3, 8
        bne t0, s1, loop
        csrrs t1, time, x0
        sub t1, t1, s0
        bltu t1, s2, loop
        j off
    """
    core, _ = check(tmp_path, text)
    assert core.memory_comparisons == core.comparisons > 2


def test_stop_from_outside(tmp_path):
    for text in ("loop:\nj loop\n", "loop:\nwfi\nj loop\n"):
        with machine(tmp_path, text, check="step") as made:
            made.start()
            assert made.wait(0.2) is None
            made.stop()
            assert made.wait(10) == ("stopped", 0)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"harts": 2}, "one hart only"),
        ({"check": "qemu"}, "no such engine"),
        ({"check": "template"}, "no such engine"),
        ({"engine": "step"}, "cannot check"),
        ({"engine": "reference"}, "cannot check"),
    ],
)
def test_what_cannot_be_checked(tmp_path, how, words):
    with pytest.raises(BadInput, match=words):
        with machine(tmp_path, "j off\n", **{"check": "step", **how}):
            pass


# -- planted defects --

MULTIPLY = """
    li s0, 300000
    li s1, 0x80100000
loop:
    slli t0, s0, 40
    mulhu t1, t0, t0
    xor t2, t2, t1
    sd t2, 0(s1)
    addi s0, s0, -1
    bne s0, x0, loop
    j off
"""


def difference(folder, text: str, **how) -> Difference:
    with machine(folder, text, **{"check": "step", **how}) as made:
        made.start()
        with pytest.raises(Difference) as caught:
            made.wait(60)
        return caught.value


@fn
def wrong_mulhu(rs1: u64, rs2: u64) -> u64:
    if rs1 >> 40 == 123_456:
        return 7
    return u64(u128(rs1) * u128(rs2) >> 64)


def test_an_instruction_that_means_something_else(tmp_path, monkeypatch, capsys):
    plant(monkeypatch, "step-check", "mulhu", {m.mulhu.fn: wrong_mulhu})
    found = difference(tmp_path, MULTIPLY, engine="template").found
    rounds = 300_000 - 123_456
    assert found.narrowed
    assert found.instret == 8 + rounds * 6 + 6
    assert found.since == 8 + rounds * 6
    (row,) = [row for row in found.registers if row[0] == "x6"]
    assert row == ("x6", (123_456 << 40) ** 2 >> 64, 7)
    assert {name for name, _, _ in found.registers} == {"x6", "x7"}
    assert [pc for pc, _ in found.trace] == [0x80000020 + 4 * k for k in range(6)]

    path = tmp_path / "guest.elf"
    assert cli.main(["boot", "--check", "--engine", "template", str(path)]) == 125
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"popek: template and step differ after {found.instret:,} instructions: t1, t2"
    assert lines[1] == f"equal up to instruction {found.since:,}, different at {found.instret:,}"
    assert any(line.startswith("> 0x0000000080000024") and line.endswith("mulhu t1, t0, t0") for line in lines)
    assert any(line.split() == ["t1", hex(row[1]), f"{7:#020x}"] or line.split()[:1] == ["t1"] for line in lines)


@fn
def lost_store(h: Hart, addr: u64, value: u16) -> None:
    """Forgets one value, and nothing tells but memory."""
    host = ram_address(h, translate(h, addr, WRITE))
    if value != 0x1234:
        at_u16(host).value = value


STORES = """
    li s0, 100000
    li s1, 0x80100000
loop:
    slli t0, s0, 47
    srli t0, t0, 46
    add t0, t0, s1
    sh s0, 0(t0)
    addi s0, s0, -1
    bne s0, x0, loop
    j off
"""


def test_a_store_that_is_lost(tmp_path, monkeypatch):
    plant(monkeypatch, "step-check", "store", {memory.store_u16: lost_store})
    found = difference(tmp_path, STORES, engine="template").found
    assert found.narrowed
    assert not found.registers
    first = max(n for n in range(100_000) if n & 0xFFFF == 0x1234)
    assert found.instret == 8 + (100_000 - first + 1) * 6
    (place,) = {at for at, _, _ in found.memory}
    assert place == 0x8010_0000 + 2 * first & ~7
    text = Difference(found).details
    assert any(line.startswith(">") and " sh s0, 0(t0)" in line for line in text.splitlines())
    assert f"memory at {place:#x}" in Difference(found).line()


@fn
def forgetful(h: Hart, paddr: u64) -> None:
    """Code stays as it was translated."""


def test_stale_code_of_the_first_engine(tmp_path, monkeypatch):
    plant(monkeypatch, "template-check", "code_modified", bound={ports.code_modified: forgetful})
    found = difference(tmp_path, SELF_MODIFYING, engine="template").found
    assert found.narrowed
    assert "x9" in {name for name, _, _ in found.registers}
    assert any(word & 0xFFFFF == 0x48493 for _, word in found.trace)  # addi s1, s1


@fn
def wrong_device(h: Hart, vaddr: u64, paddr: u64, size: u32, value: u64) -> None:
    memory.store_device(h, vaddr, paddr, size, value | 0x20)


def test_what_is_told_a_device(tmp_path, monkeypatch):
    plant(monkeypatch, "step-check", "device", {memory.store_device: wrong_device})
    error = difference(tmp_path, "addi a0, x0, 65\njal ra, putc\nj off\n", engine="template")
    assert "step did a device write of 0x61 to 0x10000000, 1 bytes at pc 0x8000" in error.line()
    assert "template did a device write of 0x41 to 0x10000000" in error.line()


def test_a_difference_that_does_not_come_again(tmp_path, monkeypatch):
    from popek.api import check as checking

    real = checking.CheckedCore._compare

    def compare(self):
        real(self)
        if self.comparisons == 3:
            self.first._hart.x[8] ^= 1 << 40

    monkeypatch.setattr(checking.CheckedCore, "_compare", compare)
    monkeypatch.setattr(checking, "QUANTUM", 0.0002)  # so that the guest outlives the third comparison
    error = difference(tmp_path, MULTIPLY.replace("li s0, 300000", "li s0, 9000000"), engine="template")
    assert not error.found.narrowed
    assert "s0" in error.line()
    assert "did not come again" in error.details


def test_a_guest_without_a_difference_says_so(tmp_path, capsys):
    path = tmp_path / "guest.elf"
    path.write_bytes(elves.elf(elves.say(b"x") + elves.finish(0x5555)))
    assert cli.main(["boot", str(path), "--check=reference"]) == 0
    said = capsys.readouterr().err
    assert " and reference agree: " in said and "instructions, registers compared" in said


def test_the_option_does_not_swallow_the_kernel():
    from popek.faces import options

    assert options.parse(["boot", "--check", "Image"]).check == "step"
    assert options.parse(["boot", "--check", "Image"]).kernel == "Image"
    assert options.parse(["boot", "Image"]).check == ""
    assert options.parse(["boot", "--check=reference", "Image"]).check == "reference"


def test_ram_of_guests_is_where_the_tests_think():
    assert guests.RAM == 0x8000_0000 and guests.KERNEL == 0x8020_0000
