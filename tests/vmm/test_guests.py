"""What a guest gets from the monitor: SBI calls, interrupts, harts, sleep. Every guest runs on every engine."""

import pytest

from tests.vmm import guests
from tests.vmm.guests import BASE, DBCN, HSM, IPI, RFENCE, SRST, TIME, run

ENGINES = ("template", "optimizing", "step", "reference")
NOT_SUPPORTED, INVALID_PARAM, INVALID_ADDRESS, ALREADY_AVAILABLE = ((1 << 64) - n for n in (2, 3, 5, 6))


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


def numbers(said: bytes) -> list[int]:
    """What `hex` printed."""
    return [int(line, 16) for line in said.split()]


def test_firmware_starts_all_harts_in_machine_mode(tmp_path, engine):
    text = """
        csrrs s0, mhartid, x0
        bne s0, a0, off             # a0 is the hart's number
        li s1, 0x80100000
        addi s2, x0, 1
        amoadd.w x0, s2, (s1)
        bne s0, x0, park
    wait:
        lw s2, 0(s1)
        addi s3, x0, 3
        bne s2, s3, wait
        addi a0, x0, 89             # Y
        jal ra, putc
        j off
    park:
        wfi
        j park
    """
    outcome, said, stats = run(tmp_path, text, engine=engine, harts=3)
    assert (outcome.kind, said) == ("off", b"Y")
    assert len(stats["harts"]) == 3


def test_kernel_starts_in_supervisor_mode_with_a_device_tree(tmp_path, engine):
    text = """
        mv s0, a1
        jal ra, hex                 # a0: hart
        lwu a0, 0(s0)
        jal ra, hex                 # magic of the device tree
        csrrs a0, satp, x0
        jal ra, hex
        la t0, handler
        csrrw x0, stvec, t0
        csrrs a0, mhartid, x0       # not the supervisor's
        j off
    handler:
        csrrs a0, scause, x0
        jal ra, hex
        j off
    """
    _, said, _ = run(tmp_path, text, engine=engine, supervisor=True)
    assert numbers(said) == [0, 0xEDFE0DD0, 0, 2]


@pytest.mark.parametrize(
    ("call", "arguments", "error", "value"),
    [
        ((BASE, 0), (), 0, 0x3000000),
        ((BASE, 3), (TIME,), 0, 1),
        ((BASE, 3), (0x504D55,), 0, 0),  # PMU: not there
        ((BASE, 3), (HSM,), 0, 1),
        ((BASE, 3), (1,), 0, 1),  # legacy console
        ((BASE, 4), (7, 9), 0, 0),
        ((BASE, 99), (), NOT_SUPPORTED, 0),
        ((0x12345678, 0), (1, 2), NOT_SUPPORTED, 0),
        ((HSM, 2), (0,), 0, 0),
        ((HSM, 2), (1,), 0, 1),
        ((HSM, 2), (2,), INVALID_PARAM, 0),
        ((HSM, 0), (0, 0x80200000, 0), ALREADY_AVAILABLE, 0),
        ((HSM, 0), (7, 0x80200000, 0), INVALID_PARAM, 0),
        ((HSM, 0), (1, 0x1000, 0), INVALID_ADDRESS, 0),
        ((HSM, 3), (5, 0, 0), INVALID_PARAM, 0),
        ((IPI, 0), (0, 0), 0, 0),
        ((IPI, 0), (4, 0), INVALID_PARAM, 0),
        ((IPI, 0), (1, 5), INVALID_PARAM, 0),
        ((RFENCE, 0), (3, 0), 0, 0),
        ((RFENCE, 1), (2, 0, 0x80000000, 0x3000), 0, 0),
        ((RFENCE, 2), (1, 1, 0, 0), 0, 0),
        ((RFENCE, 3), (1, 0), NOT_SUPPORTED, 0),
        ((DBCN, 2), (0x20,), 0, 0),
        ((DBCN, 0), (4, 0x1000, 0), INVALID_PARAM, 0),
        ((DBCN, 0), (4, 0x80200000, 1), INVALID_PARAM, 0),
        ((DBCN, 1), (0x10, 0x80300000, 0), 0, 0),
        ((SRST, 0), (9, 0), INVALID_PARAM, 0),
        ((TIME, 0), (0x7FFFFFFF,), 0, 0),
    ],
)
def test_call_results(tmp_path, call, arguments, error, value):
    text = "".join(f"li a{i}, {a:#x}\n" for i, a in enumerate(arguments)) + f"""
        sbi {call[0]:#x}, {call[1]}
        mv s1, a1
        jal ra, hex
        mv a0, s1
        jal ra, hex
        j off
    """
    _, said, stats = run(tmp_path, text, supervisor=True, harts=2)
    assert numbers(said) == [error, value]
    assert stats["harts"][0]["stops"]["sbi_call"] == 1


@pytest.mark.parametrize(
    ("kind", "reason", "outcome"), [(0, 0, ("off", 0)), (0, 1, ("fail", 1)), (1, 0, ("reset", 0)), (2, 0, ("reset", 0))]
)
def test_system_reset(tmp_path, engine, kind, reason, outcome):
    text = f"li a0, {kind}\nli a1, {reason}\nsbi {SRST:#x}, 0\nloop:\nj loop\n"
    assert run(tmp_path, text, supervisor=True, engine=engine)[0] == outcome


def test_debug_console_writes_from_memory(tmp_path, engine):
    text = f"""
        li s0, 0x80300000
        li t0, 0x64636261
        sw t0, 0(s0)
        addi a0, x0, 4
        mv a1, s0
        addi a2, x0, 0
        sbi {DBCN:#x}, 0
        mv s1, a1
        addi a0, s1, 44
        jal ra, putc
        j off
    """
    assert run(tmp_path, text, supervisor=True, engine=engine)[1] == b"abcd0"


def test_timer_interrupt_ends_a_wait(tmp_path, engine):
    text = f"""
        la t0, handler
        csrrw x0, stvec, t0
        li t0, 32
        csrrs x0, sie, t0           # timer
        csrrs s0, time, x0
        li t0, 20000                # 2 ms
        add a0, s0, t0
        mv s1, a0
        sbi {TIME:#x}, 0
        csrrsi x0, sstatus, 2
    wait:
        wfi
        j wait
    handler:
        csrrs s2, time, x0
        csrrs a0, scause, x0
        jal ra, hex
        sltu a0, s2, s1             # not early
        jal ra, hex
        csrrs a0, sip, x0
        jal ra, hex
        addi a0, x0, -1
        sbi {TIME:#x}, 0
        csrrs a0, sip, x0           # the timer set ahead takes the request back
        jal ra, hex
        j off
    """
    _, said, stats = run(tmp_path, text, supervisor=True, engine=engine)
    assert numbers(said) == [1 << 63 | 5, 0, 32, 0]
    stops = stats["harts"][0]["stops"]
    assert stops["supervisor_timer_interrupt"] == 1
    assert stops["simulated_instruction"] >= 1  # WFI belongs to the monitor


def test_machine_timer_and_software_interrupt(tmp_path, engine):
    text = """
        la t0, handler
        csrrw x0, mtvec, t0
        li s0, 0x2000000            # msip of hart 0
        li t0, 136                  # MSIE, MTIE
        csrrs x0, mie, t0
        csrrsi x0, mstatus, 8
        addi t0, x0, 1
        sw t0, 0(s0)
        addi s1, x0, 0
    wait:
        wfi
        j wait
    handler:
        csrrs a0, mcause, x0
        jal ra, hex
        bne s1, x0, off
        addi s1, x0, 1
        sw x0, 0(s0)
        li t0, 0x200bff8
        ld t1, 0(t0)
        li t2, 10000
        add t1, t1, t2
        li t0, 0x2004000
        sd t1, 0(t0)
        mret
    """
    _, said, _ = run(tmp_path, text, engine=engine)
    assert numbers(said) == [1 << 63 | 3, 1 << 63 | 7]


def test_start_stop_and_status_of_a_hart(tmp_path, engine):
    text = f"""
        li s2, 0x80300000
        addi a0, x0, 1
        la a1, second
        li a2, 0x1234
        sbi {HSM:#x}, 0
        jal ra, hex                 # 0
    started:
        ld a0, 0(s2)
        beq a0, x0, started
        jal ra, hex                 # 0x1234
        sd x0, 8(s2)
        addi t0, x0, 1
        sd t0, 16(s2)
    stopped:
        addi a0, x0, 1
        sbi {HSM:#x}, 2
        addi t0, x0, 1
        bne a1, t0, stopped
        addi a0, x0, 1              # and once more
        la a1, third
        addi a2, x0, 5
        sbi {HSM:#x}, 0
    wait:
        j wait
    second:
        li s2, 0x80300000
        sd a1, 0(s2)
    until:
        ld t0, 16(s2)
        beq t0, x0, until
        sbi {HSM:#x}, 1
        j off                       # never
    third:
        jal ra, hex                 # 1, the hart's number
        j off
    """
    outcome, said, _ = run(tmp_path, text, supervisor=True, engine=engine, harts=2)
    assert outcome.kind == "off"
    assert numbers(said) == [0, 0x1234, 1]


def test_interprocessor_interrupt_wakes_a_sleeper(tmp_path, engine):
    text = f"""
        li s2, 0x80300000
        addi a0, x0, 1
        la a1, second
        sbi {HSM:#x}, 0
    asleep:
        ld a0, 0(s2)
        beq a0, x0, asleep
        addi a0, x0, 2
        addi a1, x0, 0
        sbi {IPI:#x}, 0
    wait:
        wfi
        j wait
    second:
        li s2, 0x80300000
        addi t0, x0, 2
        csrrs x0, sie, t0           # not enabled in sstatus: WFI ends all the same
        sd t0, 0(s2)
        wfi
        csrrs a0, sip, x0
        jal ra, hex
        j off
    """
    assert numbers(run(tmp_path, text, supervisor=True, engine=engine, harts=2)[1]) == [2]


def test_suspend_until_an_interrupt(tmp_path, engine):
    text = f"""
        li t0, 32
        csrrs x0, sie, t0
        csrrs a0, time, x0
        li t0, 10000
        add a0, a0, t0
        sbi {TIME:#x}, 0
        li a0, 0x80000000           # non-retentive
        la a1, resumed
        addi a2, x0, 99
        sbi {HSM:#x}, 3
        j off
    resumed:
        mv s1, a1
        jal ra, hex
        mv a0, s1
        jal ra, hex
        j off
    """
    assert numbers(run(tmp_path, text, supervisor=True, engine=engine)[1]) == [0, 99]


def test_remote_fences_from_two_sides_do_not_deadlock(tmp_path):
    text = f"""
        addi a0, x0, 1
        la a1, second
        sbi {HSM:#x}, 0
        li s0, 2000
        li s2, 0x80300000
    begun:
        lw t0, 0(s2)
        beq t0, x0, begun
    first:
        addi a0, x0, 3
        addi a1, x0, 0
        addi a2, x0, 0
        addi a3, x0, 0
        sbi {RFENCE:#x}, 1
        addi s0, s0, -1
        bne s0, x0, first
        j off
    second:
        li s2, 0x80300000
        addi t0, x0, 1
        sw t0, 0(s2)
    endless:
        addi a0, x0, 3
        addi a1, x0, 0
        sbi {RFENCE:#x}, 0
        j endless
    """
    outcome, _, stats = run(tmp_path, text, supervisor=True, harts=2)
    assert outcome.kind == "off"
    assert stats["harts"][1]["stops"]["remote_fence"] > 0


def test_unmapped_addresses_fault(tmp_path, engine):
    text = """
        la t0, handler
        csrrw x0, mtvec, t0
        li s0, 0x40000000
        lw t0, 0(s0)
        j off
    handler:
        csrrs a0, mcause, x0
        jal ra, hex
        csrrs a0, mtval, x0
        jal ra, hex
        j off
    """
    assert numbers(run(tmp_path, text, engine=engine)[1]) == [5, 0x40000000]


def test_interrupt_through_the_plic(tmp_path, engine):
    """The UART's transmitter interrupt, claimed and completed in S-mode."""
    text = """
        la t0, handler
        csrrw x0, stvec, t0
        li s0, 0xc000000
        addi t0, x0, 1
        sw t0, 40(s0)               # priority of source 10
        li s1, 0xc002080            # enables of context 1
        li t0, 0x400
        sw t0, 0(s1)
        li s2, 0xc201000            # threshold and claim of context 1
        sw x0, 0(s2)
        li t0, 512
        csrrs x0, sie, t0
        csrrsi x0, sstatus, 2
        li s3, 0x10000000
        addi t0, x0, 2
        sb t0, 1(s3)                # IER: transmitter
    wait:
        wfi
        j wait
    handler:
        csrrs a0, scause, x0
        jal ra, hex
        lw s4, 4(s2)
        mv a0, s4
        jal ra, hex
        lbu a0, 2(s3)
        jal ra, hex                 # IIR
        csrrs a0, sip, x0
        jal ra, hex
        sb x0, 1(s3)
        sw s4, 4(s2)
        lw a0, 4(s2)
        jal ra, hex
        j off
    """
    _, said, _ = run(tmp_path, text, supervisor=True, engine=engine)
    assert numbers(said) == [1 << 63 | 9, 10, 2, 0, 0]


def test_guests_module_assembles():
    assert guests.assemble("li a0, 0x80000001\n", 0)[:4] == bytes.fromhex("37050080")
