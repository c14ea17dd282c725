"""A machine with RAM and nothing else, for suites whose programs report by writing the symbol `tohost`."""
from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass
from pathlib import Path

from popek.abi.elf import parse
from popek.engine.reference import Reference
from popek.isa.hart import Board, Hart, reset

RAM_BASE = 0x8000_0000


@dataclass(frozen=True)
class Outcome:
    """`code` is what was written: 1 = passed, else (failing test number << 1 | 1); 0 = the program never said."""

    code: int
    steps: int

    @property
    def passed(self) -> bool:
        return self.code == 1

    def __str__(self) -> str:
        if self.code == 0:
            return f"no verdict after {self.steps} steps"
        return "passed" if self.passed else f"test {self.code >> 1} failed"


class Machine:
    """One or more harts on the reference engine."""

    def __init__(self, program: Path, harts: int = 1, ram_size: int = 4 << 20) -> None:
        self.memory = mmap.mmap(-1, ram_size)
        self.board = Board()
        self.board.ram = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.board.ram_base, self.board.ram_size = RAM_BASE, ram_size
        elf = parse(memoryview(program.read_bytes()), program.name)
        for segment in elf.segments:
            offset = segment.paddr - RAM_BASE
            self.memory[offset:offset + len(segment.data)] = bytes(segment.data)
        self.harts = []
        for number in range(harts):
            h = Hart()
            h.board, h.hartid, h.pc = self.board, number, elf.entry
            reset(h)
            self.harts.append(h)
        self.tohost = (elf.symbol("tohost") or RAM_BASE) - RAM_BASE
        self.engine = Reference(self.harts)

    def verdict(self) -> int:
        """What `tohost` holds."""
        return int.from_bytes(self.memory[self.tohost:self.tohost + 8], "little")

    def run(self, limit: int) -> Outcome:
        """Run until the program has said something, or for `limit` steps."""
        steps = self.engine.run(limit, check=lambda: self.verdict() != 0)
        return Outcome(self.verdict(), steps)
