"""Which program a page of code belongs to: its content is compared with all pages of code in ELF files.

So no load address, no process and no mapping must be known, and a file that is not what runs names nothing. A page that
is in several files goes to the one that most samples speak for, at the same place of the same address space. Not here:
finding files (profile_files).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from popek.abi import elf_functions
from popek.abi.elf_functions import Function, Functions
from popek.api.profile_pages import PAGE
from popek.api.sampler import Place, Sample


class Program:
    """An ELF file. `name`: what to call it; `debug`: files with more symbols, by build ID."""

    def __init__(self, name: str, data: memoryview, debug: dict[bytes, list[memoryview]]) -> None:
        self.name, self.data, self._debug = name, data, debug
        self._functions: list[Functions] = []

    def function(self, address: int) -> Function | None:
        """The function around an address; all are read when one is asked for."""
        if not self._functions:
            more = self._debug.get(elf_functions.build_id(self.data), []) if self._debug else []
            self._functions = [elf_functions.functions(one) for one in (*more, self.data)]
        found = [function for functions in self._functions if (function := functions.at(address))]
        return next((function for function in found if function.name), found[0] if found else None)

    def pages(self) -> Iterable[tuple[int, bytes]]:
        """(address as linked, content) of its pages of code: as mapped from the file, as copied to zeroed memory."""
        for load in elf_functions.loads(self.data):
            if not load.code or not load.size:
                continue
            end = load.vaddr + load.size
            for page in range(load.vaddr // PAGE * PAGE, end, PAGE):
                at = load.offset + page - load.vaddr
                if at >= 0:
                    yield page, bytes(self.data[at : at + PAGE]).ljust(PAGE, b"\0")
                if page < load.vaddr or page + PAGE > end:
                    first, last = max(page, load.vaddr), min(page + PAGE, end)
                    part = bytes(self.data[at + first - page : at + last - page])
                    yield page, (bytes(first - page) + part).ljust(PAGE, b"\0")


class Found(NamedTuple):
    """A page of a program."""

    program: Program
    page: int  # as linked


class Programs:
    """Programs by the content of their pages."""

    def __init__(self, wanted: Iterable[bytes]) -> None:
        """`wanted`: pages that were seen."""
        self._found: dict[bytes, list[Found]] = {page: [] for page in wanted if page}
        self._debug: dict[bytes, list[memoryview]] = {}
        self._weight: dict[tuple[int, Program, int], int] = {}

    def add(self, name: str, data: memoryview) -> None:
        """An ELF file."""
        program = Program(name, data, self._debug)
        for page, content in program.pages():
            found = self._found.get(content)
            if found is not None and Found(program, page) not in found:
                found.append(Found(program, page))

    def explain(self, data: memoryview) -> None:
        """An ELF file whose symbols are another one's, which has the same build ID."""
        if number := elf_functions.build_id(data):
            self._debug.setdefault(number, []).append(data)

    def weigh(self, samples: dict[Sample, int], pages: list[bytes]) -> None:
        """Note where programs seem to be in these samples' address spaces."""
        for sample, count in samples.items():
            for place in sample.places:
                for found in self._candidates(place, pages):
                    key = self._key(sample, place, found)
                    self._weight[key] = self._weight.get(key, 0) + count

    def at(self, sample: Sample, place: Place, pages: list[bytes]) -> tuple[Program, int] | None:
        """The program, and the place's address as linked."""
        candidates = self._candidates(place, pages)
        if not candidates:
            return None
        found = max(candidates, key=lambda one: self._weight.get(self._key(sample, place, one), 0))
        return found.program, found.page + place.pc % PAGE

    def _candidates(self, place: Place, pages: list[bytes]) -> list[Found]:
        return self._found.get(pages[place.content], []) if place.content else []

    @staticmethod
    def _key(sample: Sample, place: Place, found: Found) -> tuple[int, Program, int]:
        return sample.satp, found.program, place.pc // PAGE * PAGE - found.page
