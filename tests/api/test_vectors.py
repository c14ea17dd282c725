"""Machines with and without vectors: what their harts say, that their code is fetched, that every engine runs it."""

from __future__ import annotations

import pytest

from popek.api import native
from popek.isa.hart import MPIE, SD, VS
from popek.isa.status import MISA_V
from tests.vmm.guests import machine, run

ENGINES = ("template", "optimizing", "step", "reference")

#: Sum of 0 ... 999 as 64-bit numbers, by strips, and what then is in mstatus.
SUM = """
    li t0, 0x600
    csrrs x0, mstatus, t0
    li a1, 0x80200000
    li a2, 1000
    li a3, 0
fill:
    sd a3, 0(a1)
    addi a1, a1, 8
    addi a3, a3, 1
    bne a3, a2, fill
    li a1, 0x80200000
    vsetvli t0, zero, e64, m1, ta, ma
    vmv.v.i v1, 0
strip:
    vsetvli t0, a2, e64, m8, ta, ma
    vle64.v v8, (a1)
    vredsum.vs v1, v8, v1
    slli t1, t0, 3
    add a1, a1, t1
    sub a2, a2, t0
    bne a2, x0, strip
    vmv.x.s a0, v1
    jal ra, hex
    csrrs a0, mstatus, x0
    jal ra, hex
    j off
"""

#: mstatus.VS cannot be set, and vector instructions trap.
WITHOUT = """
    li t0, 0x600
    csrrs x0, mstatus, t0
    csrrs a0, mstatus, x0
    jal ra, hex
    csrrs a0, misa, x0
    jal ra, hex
    la t0, handler
    csrrw x0, mtvec, t0
    vsetvli t0, zero, e64, m1, ta, ma
    j off
handler:
    csrrs a0, mcause, x0
    jal ra, hex
    csrrs a0, mtval, x0
    jal ra, hex
    j off
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sum(tmp_path, engine):
    outcome, said, _ = run(tmp_path, SUM, engine=engine, vector=True)
    total, status = (int(word, 16) for word in said.split())
    assert outcome == ("off", 0) and total == sum(range(1000))
    assert status & VS == VS and status & SD


@pytest.mark.parametrize("check", ["step", "reference"])
def test_engines_agree(tmp_path, check):
    outcome, said, _ = run(tmp_path, SUM, engine="template", check=check, vector=True)
    assert outcome == ("off", 0) and int(said.split()[0], 16) == sum(range(1000))


@pytest.mark.parametrize("engine", ENGINES)
def test_without(tmp_path, engine):
    outcome, said, _ = run(tmp_path, WITHOUT, engine=engine)
    status, misa, cause, value = (int(word, 16) for word in said.split())
    assert outcome == ("off", 0) and (cause, value) == (2, 0x0D8072D7)
    assert status & VS == 0 and status & ~MPIE & SD == 0 and misa & MISA_V == 0


def test_misa(tmp_path):
    outcome, said, _ = run(tmp_path, "csrrs a0, misa, x0\njal ra, hex\nj off\n", vector=True)
    assert int(said, 16) & MISA_V


def test_two_harts_have_their_own(tmp_path):
    """Each adds its number to its own registers, a thousand times."""
    text = """
        li t0, 0x600
        csrrs x0, mstatus, t0
        csrrs s0, mhartid, x0
        vsetvli t0, zero, e32, m8, ta, ma
        vmv.v.i v8, 0
        addi s1, s0, 5
        li s2, 1000
    again:
        vadd.vx v8, v8, s1
        addi s2, s2, -1
        bne s2, x0, again
        vmv.x.s a0, v8
        li t0, 0x80200000
        slli t1, s0, 3
        add t0, t0, t1
        sd a0, 0(t0)
        bne s0, x0, wait
        li t0, 0x80200008
    other:
        ld a1, 0(t0)
        beq a1, x0, other
        jal ra, hex
        mv a0, a1
        jal ra, hex
        j off
    wait:
        j wait
    """
    outcome, said, _ = run(tmp_path, text, harts=2, vector=True)
    assert outcome == ("off", 0) and [int(word, 16) for word in said.split()] == [5000, 6000]


def test_without_their_code_they_are_illegal(tmp_path, monkeypatch):
    """One line is said, and the guest lives on."""

    def broken(*_):
        raise OSError("no room")

    said, warned = bytearray(), []
    monkeypatch.setattr(native, "vectors", broken)
    from popek.api import machine as module

    real = module.Machine.__init__
    monkeypatch.setattr(module.Machine, "__init__", lambda self, *a, **k: real(self, *a, **k, warn=warned.append))
    text = WITHOUT.replace("csrrs a0, misa, x0\n    jal ra, hex", "")
    with machine(tmp_path, text, output=said.extend, vector=True) as made:
        made.start()
        assert made.wait(30) == ("off", 0)
    assert int(said.split()[1], 16) == 2
    assert warned == ["the guest cannot execute vector instructions: no room"]
