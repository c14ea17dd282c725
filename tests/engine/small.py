"""Small programs for tests of the template engine: run to the finisher, call a function that tests change.

No assertions but that the program ends.
"""

from __future__ import annotations

from popek.isa import table
from tests.engine.desk import FINISHER
from tests.engine.native import RAM, NativeMachine

F = RAM + 0x4000  # where tests keep a function


def finish(text: str, result: str = "a0") -> str:
    """A program that hands a register to the finisher."""
    return f"{text}\n lui t6, {FINISHER >> 12:#x}\n sd {result}, 0(t6)\n end:\n jal zero, end"


def result(m: NativeMachine, number: int = 0, seconds: float = 20.0) -> int:
    """Run to the finisher; what it was handed."""
    assert m.run(number, seconds), hex(m.harts[number].pc)
    return int(m.desks[number].finished - 1 & (1 << 64) - 1)


def call(m: NativeMachine, number: int = 0, before: str = "", at: int = RAM + 0x8000) -> int:
    """Run a program that calls F and hands out a0."""
    m.program(finish(f"{before}\n jal ra, {F:#x}"), at)
    m.harts[number].pc = at
    return result(m, number)


def function(m: NativeMachine, value: int) -> None:
    """F returns a number."""
    code = b"".join(
        table.assemble(line).to_bytes(4, "little") for line in (f"addi a0, zero, {value}", "jalr zero, 0(ra)")
    )
    m.write(F, code)
