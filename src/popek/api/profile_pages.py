"""Guest memory as a hart sees it, for samples of engines that cannot be asked; and contents of pages, each kept once.

Lives here: the page tables of the Privileged ISA read from outside, as far as finding code needs them. Not here: what a
hart may access (isa/paging).
"""

from __future__ import annotations

from popek.devices.bus import GuestMemory

PAGE = 4096
MACHINE = 3
SV39, SV57 = 8, 10  # satp.MODE
VALID, READ_EXECUTE, NAPOT = 1, 2 | 8, 1 << 63


class Contents:
    """Pages by number, from 1 on; 0 stands for none."""

    def __init__(self) -> None:
        self.pages = [b""]
        self._numbers: dict[bytes, int] = {}

    def number(self, page: bytes) -> int:
        """The number of a page with that content."""
        found = self._numbers.setdefault(page, len(self.pages))
        if found == len(self.pages):
            self.pages.append(page)
        return found


def physical(memory: GuestMemory, address: int, mode: int, satp: int) -> int:
    """The physical address of code, or 0. The guest runs meanwhile: what is found may be just history."""
    if mode == MACHINE or not satp >> 60:
        return address if _holds(memory, address) else 0
    if not SV39 <= satp >> 60 <= SV57:
        return 0
    table = (satp & (1 << 44) - 1) << 12
    for level in reversed(range((satp >> 60) - 5)):
        slot = table + (address >> 12 + 9 * level & 511) * 8
        if not _holds(memory, slot):
            return 0
        entry = int.from_bytes(memory.read(slot, 8), "little")
        if not entry & VALID:
            return 0
        table = (entry >> 10 & (1 << 44) - 1) << 12
        if entry & READ_EXECUTE:
            inside = (1 << 12 + 9 * level) - 1 if not entry & NAPOT else 0xFFFF
            found = table & ~inside | address & inside
            return found if _holds(memory, found) else 0
    return 0


def word(memory: GuestMemory, address: int, satp: int) -> int:
    """A doubleword of the kernel's data; 0 where there is none."""
    at = physical(memory, address, 1, satp)
    return int.from_bytes(memory.read(at, 8), "little") if at and not at & 7 else 0


def _holds(memory: GuestMemory, address: int) -> bool:
    return memory.base <= address < memory.base + memory.size
