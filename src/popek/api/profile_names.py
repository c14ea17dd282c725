"""What addresses in samples are called: symbols that were given, the kernel's, those of programs that are found.

Each kind of symbol names only what it fits. The kernel's go by physical address; a program's by what is in the page; a
FILE@ADDR's and those of a map that is not the kernel's by virtual address, those above the middle in supervisor mode.
What nothing fits keeps the numbers of its page.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from popek.abi import elf, elf_functions
from popek.abi.elf_functions import Function, Functions
from popek.api import profile_files
from popek.api.profile_kernel import Kernel, named
from popek.api.profile_modules import Modules
from popek.api.profile_pages import PAGE
from popek.api.profile_programs import Programs
from popek.api.sampler import Place, Sample, Seen
from popek.api.spec import Spec
from popek.base.errors import BadInput

USER, SUPERVISOR = 0, 1
UPPER = 1 << 63
UNKNOWN = 1  # for an address: what was called through a pointer (engine/optimizing/origin)


class Name(NamedTuple):
    """A function. `file`: the program's or library's name, empty for kernels."""

    function: str
    file: str = ""

    def text(self) -> str:
        """For people."""
        return f"{self.function} [{self.file}]" if self.file else self.function


class Named(NamedTuple):
    """What an address is called. `entry`: it is where the function begins."""

    name: Name
    entry: bool


class Given(NamedTuple):
    """What `--symbols` names."""

    path: str
    symbols: list[tuple[int, str, str]]  # address, nm's letter, name
    functions: Functions | None  # of FILE@ADDR: as they lie in memory
    program: memoryview | None  # an ELF file without address


def given(text: str) -> Given:
    """Read `FILE` or `FILE@ADDR`, an ELF file or a text of lines `address type name`. Raises BadInput, OSError."""
    path, shift = text, 0
    if not os.path.exists(text) and "@" in text:
        path, _, number = text.rpartition("@")
        try:
            shift = int(number, 16)
        except ValueError:
            raise BadInput(f"--symbols {text}: {number} is no address", "write FILE@ADDR, ADDR in hex") from None
    placed = path != text
    with open(path, "rb") as file:
        data = file.read()
    program = memoryview(data) if elf.is_elf(memoryview(data)) else None
    if program is None:
        symbols = [(address + shift, kind, name) for address, kind, name in _of_text(data)]
        found = named(symbols) if placed else None
    else:
        own = elf_functions.functions(program)
        symbols = [(one.start, "t", one.name) for one in own if one.name]
        found = Functions(one._replace(start=one.start + shift, end=one.end + shift) for one in own) if placed else None
    if not symbols:
        raise BadInput(f"{path}: no symbols in it", "give an ELF file with a symbol table, or a System.map")
    return Given(path, symbols, found, None if placed else program)


def _of_text(data: bytes) -> Iterator[tuple[int, str, str]]:
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) >= 3 and len(words[1]) == 1:
            try:
                yield int(words[0], 16), words[1], words[2]
            except ValueError:
                continue


class Names:
    """Names for one machine's samples."""

    def __init__(
        self, spec: Spec, kernel: Kernel, files: list[Given], seen: list[Seen], tell: Callable[[str], None]
    ) -> None:
        """`files`: in order of their weight; `tell` hears of what could not be read."""
        self._kernel = kernel
        self._known: dict[tuple[int, int, int, Place], Named] = {}
        self._physical: list[Functions] = []
        self._virtual: list[tuple[str, Functions]] = []
        self._shift = self._runs_at(seen)
        self._programs = Programs(page for one in seen for page in one.pages)
        self._modules = Modules(self._strange(seen))
        for one in files:
            placed = kernel.place(one.symbols) if one.functions is None else None
            if placed is not None:
                self._physical.append(placed)
            elif one.program is not None:
                self._programs.add(os.path.basename(one.path), one.program)
                self._programs.explain(one.program)
            else:
                self._virtual.append((os.path.basename(one.path), one.functions or named(one.symbols)))
        self._physical.append(kernel.functions)
        for name, data in profile_files.programs(spec, tell):
            self._programs.add(name, data)
            if name.endswith(".ko"):
                self._modules.add(name, data)
        for part in seen:
            self._programs.weigh(part.samples, part.pages)
            for sample, count in part.samples.items():
                for place in sample.places if sample.mode == SUPERVISOR else ():
                    self._modules.weigh(place, part.pages[place.content], count)

    def _runs_at(self, seen: list[Seen]) -> int:
        """Virtual minus physical address of the kernel, as most samples have it."""
        shifts: Counter[int] = Counter()
        for one in seen:
            for sample, count in one.samples.items():
                place = sample.places[0]
                if sample.mode == SUPERVISOR and place.pc >= UPPER and self._kernel.holds(place.page):
                    shifts[place.pc // PAGE * PAGE - place.page] += count
        return max(shifts, key=lambda shift: shifts[shift], default=0)

    def _of_kernel(self, place: Place) -> bool:
        """Is it a place of the kernel's image, where that runs?"""
        at = place.page + place.pc % PAGE
        return place.page != 0 and place.pc - at in (0, self._shift) and self._kernel.holds(at)

    def _strange(self, seen: list[Seen]) -> Iterator[bytes]:
        """Pages of code that ran in the kernel's mode and are not of its image."""
        for one in seen:
            for sample in one.samples:
                for place in sample.places if sample.mode == SUPERVISOR else ():
                    if place.pc >= UPPER and place.content and not self._of_kernel(place):
                        yield one.pages[place.content]

    def stack(self, sample: Sample, pages: list[bytes]) -> tuple[Name, ...]:
        """Where a sample's time was spent, and who called; the innermost last."""
        innermost, *callers = sample.places
        outer = tuple(self.name(sample, place, pages).name for place in reversed(callers))
        if innermost.pc == UNKNOWN and outer:
            return (*outer, outer[-1]._replace(function=f"{outer[-1].function} -> ?"))
        found = self.name(sample, innermost, pages)
        if found.entry and sample.link is not None:  # nothing of it has run: it has just been called
            found = self.name(sample, sample.link, pages)
        return (*outer, found.name)

    def name(self, sample: Sample, place: Place, pages: list[bytes]) -> Named:
        """What to call it."""
        key = id(pages), sample.mode, sample.satp, place
        if key not in self._known:
            self._known[key] = self._name(sample, place, pages)
        return self._known[key]

    def _name(self, sample: Sample, place: Place, pages: list[bytes]) -> Named:
        user = sample.mode == USER and sample.satp >> 60 != 0
        for file, functions in self._virtual:
            if (place.pc >= UPPER) == (sample.mode == SUPERVISOR and sample.satp >> 60 != 0) or not sample.satp >> 60:
                if (function := functions.at(place.pc)) and function.name:
                    return _named(function, place.pc, file if user else "")
        if not user and self._of_kernel(place):
            at = place.page + place.pc % PAGE
            for functions in self._physical:
                if (function := functions.at(at)) and function.name:
                    return _named(function, at, "")
        if sample.mode == SUPERVISOR and (module := self._modules.at(place, pages[place.content])):
            return _named(*module)
        program = self._programs.at(sample, place, pages)
        if program is None:
            return Named(Name(_pages_of(place.pc)), False)
        return _named(program[0].function(program[1]), program[1], program[0].name)


def _named(function: Function | None, address: int, file: str) -> Named:
    """`file`: empty for kernels."""
    if function is None:
        return Named(Name(_pages_of(address), _plain(file)), False)
    entry = function.start == address or function.name == ".plt"  # which has many of them
    return Named(Name(_plain(function.name) or f"{function.start:#x}", _plain(file)), entry)


def _pages_of(address: int) -> str:
    """A row for each page, not for each address."""
    return f"{address // PAGE * PAGE:#x}..{address | PAGE - 1:#x}"


def _plain(name: str) -> str:
    """A name that does nothing to a terminal."""
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in name)
