"""Small guests written in assembly, and the machine to run them on. No assertions here."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from popek.api.machine import Machine
from popek.api.spec import Spec
from popek.isa import table
from tests import elves

RAM, KERNEL = 0x8000_0000, 0x8020_0000
UART, FINISHER, CLINT, PLIC = 0x1000_0000, 0x10_0000, 0x200_0000, 0xC00_0000
BASE, TIME, IPI, RFENCE, HSM, SRST, DBCN = 0x10, 0x54494D45, 0x735049, 0x52464E43, 0x48534D, 0x53525354, 0x4442434E

#: Called by `jal ra, name`: print the byte in a0; print a0 as 16 hexadecimal digits and a newline; power off.
LIBRARY = """
putc:
    li t5, 0x10000000
    sb a0, 0(t5)
    jalr x0, 0(ra)
hex:
    li t6, 60
    li t5, 0x10000000
hexdigit:
    srl t4, a0, t6
    andi t4, t4, 15
    sltiu t3, t4, 10
    addi t4, t4, 87
    beq t3, x0, hexout
    addi t4, t4, -39
hexout:
    sb t4, 0(t5)
    addi t6, t6, -4
    bge t6, x0, hexdigit
    addi t4, x0, 10
    sb t4, 0(t5)
    jalr x0, 0(ra)
off:
    li t5, 0x100000
    li t4, 0x5555
    sw t4, 0(t5)
offloop:
    j offloop
"""


# sends every byte back until 4 comes
ECHO = """
    li s0, 0x10000000
again:
    lbu t0, 5(s0)
    andi t0, t0, 1
    beq t0, x0, again
    lbu t1, 0(s0)
    addi t2, x0, 4
    beq t1, t2, off
    sb t1, 0(s0)
    j again
"""


def _li(register: str, value: int) -> list[str]:
    """Load a 32-bit constant, zero-extended."""
    low = (value & 0xFFF) - (value & 0x800) * 2
    lines = [f"lui {register}, {(value - low) >> 12 & 0xFFFFF:#x}", f"addiw {register}, {register}, {low}"]
    return [*lines, f"slli {register}, {register}, 32", f"srli {register}, {register}, 32"]


def expand(line: str) -> list[str]:
    """Pseudo-instructions: li, j, mv, ret, nop, and `call ext, function` of SBI."""
    name, _, rest = line.partition(" ")
    parts = [part.strip() for part in rest.split(",")]
    match name:
        case "li":
            return _li(parts[0], int(parts[1], 0) & 0xFFFFFFFF)
        case "la":
            return [f"auipc {parts[0]}, 0", f"@la {parts[0]} {parts[1]}"]
        case "j":
            return [f"jal x0, {rest}"]
        case "mv":
            return [f"addi {parts[0]}, {parts[1]}, 0"]
        case "sbi":
            return [*_li("a7", int(parts[0], 0)), *_li("a6", int(parts[1], 0)), "ecall"]
    return [line]


def assemble(text: str, base: int) -> bytes:
    """Machine code of lines and labels."""
    lines: list[str] = []
    for line in (text + LIBRARY).splitlines():
        line = line.split("#")[0].strip()
        if line:
            lines += [line] if line.endswith(":") else expand(line)
    labels, at = {}, base
    for line in lines:
        if line.endswith(":"):
            labels[line[:-1]] = at
        else:
            at += 4
    code, at = bytearray(), base
    for line in lines:
        if line.endswith(":"):
            continue
        if line.startswith("@la "):
            _, register, label = line.split()
            line = f"addi {register}, {register}, {labels[label] - (at - 4)}"
        head, _, last = line.rpartition(" ")
        if last in labels:
            line = f"{head} {labels[last]:#x}"
        word = int(last, 0) if head == ".word" else table.assemble(line, at)
        code += word.to_bytes(4, "little")
        at += 4
    return bytes(code)


@contextmanager
def machine(folder: Path, text: str, *, supervisor: bool = False, engine: str = "template", output=-1, **how):
    """A machine that runs `text` in M-mode, or in S-mode on the monitor."""
    base = KERNEL if supervisor else RAM
    path = folder / "guest.elf"
    path.write_bytes(elves.elf(assemble(text, base), base))
    with Machine(Spec(kernel=str(path), engine=engine, rng=False, memory=64 << 20, **how), serial_out=output) as made:
        yield made


def run(folder: Path, text: str, timeout: float = 60, **how):
    """Run it to its end: the outcome, what it printed, and its counters."""
    said = bytearray()
    with machine(folder, text, output=said.extend, **how) as made:
        made.start()
        outcome = made.wait(timeout)
        assert outcome is not None, f"still running after {timeout} s; it said {bytes(said)!r}"
        return outcome, bytes(said), made.stats()
