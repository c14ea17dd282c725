"""Regions made by hand: LLVM IR text with the templates' prototype -> an image.

In the text, symbols are `@region_<name>` for the names of image.Symbol; DATA's layout is state.RegionData, then views.
"""

from __future__ import annotations

import io

from elftools.elf.elffile import ELFFile

from popek.engine.optimizing.image import Region, RegionFlag, Reloc, Relocation, Span, Symbol, pack
from popek.engine.template import templates
from popek.engine.template.compiler import compile_text
from popek.engine.template.layout import PINS
from popek.engine.tlb import E_VIEW
from popek.isa.hart import Hart

_KINDS = {1: Reloc.ABS64, 2: Reloc.PC32, 4: Reloc.PC32}
WAYS = ("step", "far", "poll", "indirect", "refresh")
DECLARATIONS = (
    '@region_base = external dso_local global i8, code_model "large"\n'
    "@region_data = external dso_local global [8 x i64]\n"
    + "".join(f"declare dso_local preserve_nonecc void @region_{n}({templates.PROTOTYPE})\n" for n in WAYS)
    + "".join(f"declare dso_local preserve_mostcc i1 @region_fill_{n}(ptr, i64, ptr, i64)\n" for n in ("read", "write"))
)


def base(register: str) -> str:
    """The virtual address of the entry's page, in a register."""
    return f'  {register} = call i64 asm "", "=r,0"(i64 ptrtoint (ptr @region_base to i64))\n'


def leave(way: str, scratch: str, count: str = "%count", pins: dict[int, str] | None = None) -> str:
    """A way out. `pins`: new values by guest register."""
    return templates.tail(f"@region_{way}", count, scratch, {PINS.index(r) + 1: v for r, v in (pins or {}).items()})


def pin(register: int) -> str:
    """The parameter that holds a guest register."""
    return f"%p{PINS.index(register) + 1}"


def head() -> str:
    """What every region begins with: go on at label `begin` if it holds."""
    return f"""{templates.field(Hart.offset("engine") + 8 * E_VIEW, "%eva")}
  %ev = load i64, ptr %eva
  %dv = load i64, ptr @region_data
  %holds = icmp eq i64 %ev, %dv
  br i1 %holds, label %begin, label %stale
stale:
  %number = load i64, ptr getelementptr (i8, ptr @region_data, i64 8)
{leave("refresh", "%number")}
begin:
"""


def make(
    body: str, spans: list[Span], entry: int, views: int = 0, instructions: int = 1, flags: int = 0
) -> bytes:
    """An image of a region whose text, behind `head`, is `body`."""
    text = DECLARATIONS + templates.template("region", head() + body) + templates.METADATA
    elf = ELFFile(io.BytesIO(compile_text(text)))
    names = [s.name for s in elf.get_section_by_name(".symtab").iter_symbols()]
    code = elf.get_section_by_name(".text").data()
    relocations = []
    section = elf.get_section_by_name(".rela.text")
    for r in section.iter_relocations() if section else ():
        name = names[r["r_info_sym"]]
        assert name.startswith("region_"), name
        symbol = Symbol[name.removeprefix("region_").upper()]
        relocations.append(Relocation(r["r_offset"], _KINDS[r["r_info_type"]], symbol, r["r_addend"]))
    return pack(Region(code, relocations, spans, entry, views, instructions, RegionFlag(flags)))
