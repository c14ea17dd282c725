"""Symbols of what a machine starts, by physical address: a Linux image's own (kallsyms), an ELF file's, a System.map's.

A kernel may run at any virtual address; where its file lies in guest memory is known. Not here: programs that the guest
starts itself (profile_programs).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from popek.abi import elf, image, kallsyms, wrapping
from popek.abi.elf_functions import Function, Functions, between, functions
from popek.api.spec import Spec

CODE = "tTwW"  # nm's letters of code
ORIGIN = "_start"  # Linux: the image's first byte
FIRST_TASK, ITS_NAME = "init_task", b"swapper"  # Linux, init/init_task.c
TASK_SIZE = 16 << 10


class Part(NamedTuple):
    """Bytes of the kernel in memory. `vaddr`: as linked, -1 if nobody knows."""

    vaddr: int
    paddr: int
    size: int
    data: memoryview


class Kernel:
    """What is started."""

    def __init__(self, parts: list[Part], own: Functions, name_at: int) -> None:
        """`name_at`: where in a Linux task its name is, 0: unknown."""
        self.parts, self.functions, self.name_at = parts, own, name_at

    def holds(self, paddr: int) -> bool:
        """Was something of the kernel put there?"""
        return any(part.paddr <= paddr < part.paddr + part.size for part in self.parts)

    def place(self, symbols: Iterable[tuple[int, str, str]]) -> Functions | None:
        """Functions of other symbols (address, kind, name) for it, by physical address; None if they are not its."""
        known = list(symbols)
        origin = next((address for address, _, name in known if name == ORIGIN), None)
        for part in self.parts:
            start = part.vaddr if part.vaddr >= 0 else origin
            if start is not None and any(start <= address < start + part.size for address, _, _ in known):
                shift = part.paddr - start
                return named([(address + shift, kind, name) for address, kind, name in known])
            if any(part.paddr <= address < part.paddr + part.size for address, _, _ in known):
                return named(known)
        return None


def named(symbols: Iterable[tuple[int, str, str]]) -> Functions:
    """Functions from (address, kind, name); each reaches to the next symbol, whatever that is."""
    code: dict[int, list[str]] = {}
    all_of_them: dict[int, list[str]] = {}
    for address, kind, name in symbols:
        all_of_them.setdefault(address, [""])
        if kind in CODE:
            code.setdefault(address, []).append(name)
    found = between(all_of_them | code, max(all_of_them, default=0) + image.PAGE)
    return Functions(one for one in found if one.start in code)


def read(spec: Spec, tell: Callable[[str], None]) -> Kernel:
    """The kernel of a machine with its symbols; `tell` hears why there are none. Raises what starting it would."""
    if not spec.kernel:
        return Kernel([], Functions([]), 0)
    if os.path.exists(spec.kernel) and not os.path.isfile(spec.kernel):
        tell(f"{spec.kernel}: no file that can be read twice, so the kernel's symbols are not known")
        return Kernel([], Functions([]), 0)
    name = f"kernel {spec.kernel}"
    data = wrapping.unwrap(image.read(spec.kernel, "kernel", spec.memory), spec.memory, name)
    boot = image.arrange(spec.kernel, "", "", spec.memory)
    made = _of_elf(data, boot, name) if elf.is_elf(data) else _of_image(data, boot)
    if not len(made.functions):
        tell(f"{spec.kernel}: no symbols in it (a Linux image has some if it was built with CONFIG_KALLSYMS)")
    return made


def _of_image(data: memoryview, boot: image.Boot) -> Kernel:
    load = boot.pieces[0].address
    symbols = kallsyms.find(data)
    first = next((one.offset for one in symbols if one.name == FIRST_TASK), len(data))
    own = named((load + one.offset, one.kind, one.name) for one in symbols)
    return Kernel([Part(-1, load, len(data), data)], own, _name_at(data[first : first + TASK_SIZE]))


def _of_elf(data: memoryview, boot: image.Boot, name: str) -> Kernel:
    program = elf.parse(data, name)
    entry = next(s for s in program.segments if s.vaddr <= program.entry < s.vaddr + s.size)
    moved = boot.entry - (program.entry - entry.vaddr + entry.paddr)
    parts = [Part(s.vaddr, s.paddr + moved, s.size, s.data) for s in program.segments]
    own = functions(data)
    found, at = [], 0
    for part in parts:
        shift = part.paddr - part.vaddr
        found += [
            Function(one.start + shift, min(one.end, part.vaddr + part.size) + shift, one.name)
            for one in own
            if part.vaddr <= one.start < part.vaddr + part.size
        ]
        first = program.symbol(FIRST_TASK)
        if first is not None and part.vaddr <= first < part.vaddr + len(part.data):
            at = _name_at(part.data[first - part.vaddr :][:TASK_SIZE])
    return Kernel(parts, Functions(found), at)


def _name_at(task: memoryview) -> int:
    """Where in a task its name is; 0: not found where it could be read."""
    at = bytes(task).find(struct.pack("16s", ITS_NAME))
    if at < 0:
        at = bytes(task).find(struct.pack("16s", ITS_NAME + b"/0"))
    return at if at > 0 and at % 8 == 0 else 0
