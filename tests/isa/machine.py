"""A hart with a little RAM on plain Python, for tests of the instruction set. No assertions here."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Mapping
from typing import Any

from popek.engine.reference import Reference
from popek.isa import table
from popek.isa.hart import Board, Hart, reset
from popek.isa.pmp import pmp_open

RAM = 0x8000_0000
MASK = (1 << 64) - 1


class Machine:
    """`harts` harts, RAM of `size` bytes at RAM, programs written as assembly lines."""

    def __init__(
        self, harts: int = 1, size: int = 1 << 20, ports: Mapping[Any, Callable[..., Any]] | None = None
    ) -> None:
        self.memory = mmap.mmap(-1, size)
        self.board = Board()
        self.board.ram = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.board.ram_base, self.board.ram_size = RAM, size
        self.harts = []
        for number in range(harts):
            h = Hart()
            h.board, h.hartid, h.pc = self.board, number, RAM
            reset(h)
            pmp_open(h)
            self.harts.append(h)
        self.hart = self.harts[0]
        self.engine = Reference(self.harts, ports)

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into guest memory."""
        self.memory[address - RAM:address - RAM + len(data)] = data

    def word(self, address: int, size: int = 8) -> int:
        """Read a little-endian number from guest memory."""
        return int.from_bytes(self.memory[address - RAM:address - RAM + size], "little")

    def put(self, address: int, value: int, size: int = 8) -> None:
        """Write a little-endian number into guest memory."""
        self.write(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def program(self, text: str, address: int = RAM) -> int:
        """Assemble lines; `name:` is a label, usable as a branch target. Returns the address after the last one."""
        lines = [line.split("#")[0].strip() for line in text.strip().splitlines()]
        labels: dict[str, int] = {}
        at = address
        for line in filter(None, lines):
            if line.endswith(":"):
                labels[line[:-1]] = at
            else:
                at += 2 if line.startswith("c.") else 4
        at = address
        for line in filter(None, lines):
            if line.endswith(":"):
                continue
            *head, last = line.split(" ")
            if last in labels:
                line = " ".join([*head, hex(labels[last])])
            size = 2 if line.startswith("c.") else 4
            self.put(at, table.assemble(line, at), size)
            at += size
        return at

    def step(self, count: int = 1) -> None:
        """Execute instructions of the first hart, without looking for interrupts."""
        for _ in range(count):
            self.engine.step(self.hart)

    def one(self, text: str, **registers: int) -> int:
        """Execute one instruction at pc with registers given by ABI name; returns a0."""
        for name, value in registers.items():
            self.hart.x[INTEGER[name]] = value & MASK
        self.put(self.hart.pc, table.assemble(text, self.hart.pc), 4)
        self.step()
        return int(self.hart.x[10])


INTEGER = {f"x{n}": n for n in range(32)} | {f"a{n}": 10 + n for n in range(8)} | {"sp": 2, "t0": 5, "t1": 6, "t2": 7}
