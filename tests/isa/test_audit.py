"""Popek and Goldberg's theorem holds for the user mode of this instruction set, and the audit would notice if not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from popek.isa import audit
from popek.isa.hart import MACHINE

ROWS = {row.name: row for row in audit.audit()}


def test_no_violation() -> None:
    assert audit.violations(tuple(ROWS.values())) == ()


@pytest.mark.parametrize("name", ["mret", "sret", "wfi", "sfence_vma", "csrw satp", "csrw mstatus", "csrw pmpaddr0"])
def test_control_sensitive(name: str) -> None:
    assert ROWS[name].control and ROWS[name].privileged and ROWS[name].witness


@pytest.mark.parametrize("name", ["csrr sstatus", "csrr mhartid", "csrr satp", "csrr mip"])
def test_behaviour_sensitive(name: str) -> None:
    assert ROWS[name].behaviour and ROWS[name].privileged


@pytest.mark.parametrize("name", [
    "add", "ld", "sd", "beq", "jalr", "amoadd_w", "lr_d", "mulh", "fence", "pause", "wrs_nto", "wrs_sto",
])  # fmt: skip
def test_innocuous(name: str) -> None:
    row = ROWS[name]
    assert not (row.sensitive or row.privileged or row.always_traps)


@pytest.mark.parametrize("name", ["csrr cycle", "csrr time", "fadd_d", "csrw fflags", "vadd_vv", "vle8_v", "csrw vxrm"])
def test_what_a_monitor_can_make_trap(name: str) -> None:
    assert ROWS[name].verdict == "by configuration"


def test_ecall_always_traps() -> None:
    assert ROWS["ecall"].always_traps and ROWS["ecall"].verdict == "ok"


def test_a_sensitive_instruction_nothing_traps_is_a_violation() -> None:
    bad = replace(ROWS["csrr cycle"], can_trap=False)
    assert audit.violations((bad,)) == (bad,)


def test_witnesses_can_be_repeated() -> None:
    bench = audit._Bench()
    words = dict(audit.subjects())
    seen = bench.run(words["csrw mscratch"], audit.Configuration(MACHINE, True, 1))
    assert seen.changed == ("mscratch",)


def test_the_page_of_instructions_is_what_the_definitions_say() -> None:
    tool = Path(__file__).resolve().parents[2] / "tools" / "instructions.py"
    assert subprocess.run([sys.executable, str(tool), "--check"], check=False).returncode == 0
