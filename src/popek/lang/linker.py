"""Object files -> one image: code and read-only data, then writable data, everything relative to one base.

What stays for load time are 64-bit addresses only (`fixups`), of the image itself or of external symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from popek.base.words import align_up
from popek.lang.elf import SHF_EXECINSTR, SHF_WRITE, Object, ObjectError, Symbol, read_object
from popek.lang.linked import Linked
from popek.lang.reloc import ARCHITECTURES, Architecture


class _Layout:
    def __init__(self, objects: Sequence[Object]) -> None:
        self.objects = objects
        self.arch: Architecture = ARCHITECTURES[objects[0].machine]
        self.places: list[dict[int, int]] = [{} for _ in objects]
        self.globals: dict[str, int] = {}
        self.slots: dict[str, int] = {}
        self.stubs: dict[str, int] = {}
        self.fixups: list[tuple[int, str, int]] = []

    def place(self, start: int, wanted: Iterable[int]) -> int:
        """Give addresses to the sections whose flags (write, execute) are `wanted`; returns the end."""
        at = start
        for flags in wanted:
            for number, unit in enumerate(self.objects):
                for i, section in unit.sections.items():
                    if section.flags & (SHF_WRITE | SHF_EXECINSTR) == flags:
                        at = align_up(at, section.align)
                        self.places[number][i] = at
                        at += section.size
        return at

    def address(self, number: int, symbol: Symbol) -> int | None:
        """Offset of a symbol in the image; None if it is external."""
        if symbol.section is not None and symbol.section in self.places[number]:
            return self.places[number][symbol.section] + symbol.value
        return self.globals.get(symbol.name)


def link(objects: Sequence[bytes]) -> Linked:
    """Join object files."""
    lay = _Layout([read_object(data) for data in objects])
    arch = lay.arch
    end = align_up(lay.place(0, (SHF_EXECINSTR, 0)), 16)
    symbols: dict[str, int] = {}
    for unit in lay.objects:
        for symbol in unit.symbols:
            if not symbol.local and symbol.section is not None and symbol.section in unit.sections:
                if symbol.name in lay.globals:
                    raise ObjectError(f"{symbol.name} is defined twice")
                lay.globals[symbol.name] = 0
    externals = _called(lay)
    split = align_up(end + arch.stub_size * len(externals), arch.page)
    for i, name in enumerate(externals):
        lay.stubs[name] = end + arch.stub_size * i
    slotted = list(dict.fromkeys([*externals, *_slotted(lay)]))
    lay.slots = {name: split + 8 * i for i, name in enumerate(slotted)}
    size = lay.place(split + 8 * len(slotted), (SHF_WRITE, SHF_WRITE | SHF_EXECINSTR))
    for number, unit in enumerate(lay.objects):
        for symbol in unit.symbols:
            if symbol.section is not None and symbol.section in lay.places[number]:
                at = lay.places[number][symbol.section] + symbol.value
                if not symbol.local:
                    lay.globals[symbol.name] = symbols[symbol.name] = at
                elif symbol.function:
                    symbols.setdefault(symbol.name, at)
    image = _fill(lay, size)
    for name, slot in lay.slots.items():
        inside = lay.globals.get(name)
        lay.fixups.append((slot, "", inside) if inside is not None else (slot, name, 0))
    for name, at in lay.stubs.items():
        image[at : at + arch.stub_size] = arch.stub(at, lay.slots[name])
    return Linked(bytes(image[:split]), bytes(image[split:]).rstrip(b"\0"), split, size, symbols, lay.fixups)


def _called(lay: _Layout) -> list[str]:
    """External symbols that are called (they get a stub)."""
    found: dict[str, None] = {}
    for unit in lay.objects:
        for section in unit.sections.values():
            for r in section.relocations:
                symbol = unit.symbols[r.symbol]
                if r.kind in lay.arch.calls and symbol.section is None and symbol.name not in lay.globals:
                    found[symbol.name] = None
    return list(found)


def _slotted(lay: _Layout) -> list[str]:
    """Symbols whose address is loaded from a slot."""
    found: dict[str, None] = {}
    for unit in lay.objects:
        for section in unit.sections.values():
            for r in section.relocations:
                if r.kind in lay.arch.got:
                    found[unit.symbols[r.symbol].name] = None
    return list(found)


def _fill(lay: _Layout, size: int) -> bytearray:
    """Copy the sections to their places and apply the relocations."""
    image = bytearray(size)
    for number, unit in enumerate(lay.objects):
        for i, section in unit.sections.items():
            at = lay.places[number][i]
            image[at : at + len(section.data)] = section.data
    for number, unit in enumerate(lay.objects):
        for i, section in unit.sections.items():
            at = lay.places[number][i]
            for r in section.relocations:
                symbol = unit.symbols[r.symbol]
                target = lay.address(number, symbol)
                if r.kind == lay.arch.absolute:
                    inside = target is not None
                    lay.fixups.append((at + r.offset, "" if inside else symbol.name, r.addend + (target or 0)))
                    continue
                if r.kind in lay.arch.got:
                    target = lay.slots[symbol.name]
                elif target is None:
                    target = lay.stubs.get(symbol.name)
                if target is None:
                    raise ObjectError(f"address of external {symbol.name} in relocation {r.kind}")
                lay.arch.apply(image, r.kind, at + r.offset, target + r.addend)
    return image
