"""The function around a region's blocks: the way in, and what a way out is.

Lives here: what is loaded on entry, how registers are written on leaving, the declarations. Not here: the blocks
(lower), the text of the ways out (exits).

On entry, guest registers come from the pinned ones' parameters and from the hart. A way out writes those that changed
to the hart, gives the pinned ones and the retired count in registers, and hands over a guest address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

from popek.engine.optimizing.image import RAM_BASE, VIEWS_AT
from popek.engine.optimizing.tables import Layout
from popek.engine.optimizing.values import FLOAT_REGISTERS, Value

BOX = 0xFFFFFFFF00000000


class Leave(Enum):
    """Ways out; the values are the names of the glue that they go to."""

    STEP = "step"
    FAR = "far"
    POLL = "poll"
    INDIRECT = "indirect"


class Count(NamedTuple):
    """Instructions retired so far: LLVM's operand, and a number to be added."""

    text: str
    add: int


Snapshot = tuple[Value, ...]

class State:
    """The registers' values at a point of a block."""

    def __init__(self, values: list[Value], others: dict[int, Value]) -> None:
        self.values = values
        self.others = others  # the same value of a floating-point register, in the other type
        self._snapshot: Snapshot | None = None

    def __getitem__(self, register: int) -> Value:
        return self.values[register]

    def set(self, register: int, value: Value) -> None:
        """The register has another value."""
        self.values[register] = value
        self.others.pop(register, None)
        self._snapshot = None

    def snapshot(self) -> Snapshot:
        """The values now; the same object as long as nothing changes."""
        if self._snapshot is None:
            self._snapshot = tuple(self.values)
        return self._snapshot


def boxed(value: Value, name: Callable[[], str]) -> tuple[list[str], str]:
    """Lines that make the raw bits of a single's number; the operand, a double."""
    bits, wide, box, made = name(), name(), name(), name()
    return [
        f"  {bits} = bitcast float {value.text} to i32",
        f"  {wide} = zext i32 {bits} to i64",
        f"  {box} = or i64 {wide}, {BOX}",
        f"  {made} = bitcast i64 {box} to double",
    ], made


def place(layout: Layout, register: int) -> int:
    """Offset of a register in the hart."""
    return layout.x + 8 * register if register < FLOAT_REGISTERS else layout.f + 8 * (register - FLOAT_REGISTERS)


def store(layout: Layout, name: str, register: int, type: str, text: str) -> str:
    """Write a register to the hart."""
    return f"""  {name} = getelementptr i8, ptr %h, i64 {place(layout, register)}
  store {type} {text}, ptr {name}"""


def tail(glue: str, count: str, pins: list[str], scratch: str) -> str:
    """Leave for good."""
    arguments = ", ".join(["ptr %h", f"i64 {count}", *(f"i64 {p}" for p in pins), f"i64 {scratch}"])
    return f"  musttail call preserve_nonecc void @{glue}({arguments})\n  ret void"


_ENTRY = re.compile(r"%e(\d+)\b")


def function(
    layout: Layout, body: str, floats: bool, bare: bool, spans: Iterable[int], entry: int, declarations: list[str]
) -> str:
    """The whole text of a region. `entry`: the offset of its guest address from BASE; `spans`: memory.Checks.spans."""
    pins = [f"%e{r}" for r in layout.pins]
    prototype = ", ".join(["ptr", "i64", *("i64" for _ in pins), "i64"])
    parameters = ", ".join(["ptr %h", "i64 %count", *(f"i64 {p}" for p in pins), "i64 %scratch"])
    used = sorted({int(r) for r in _ENTRY.findall(body)} - set(layout.pins))
    loads = ""
    for r in used:
        type = "i64" if r < FLOAT_REGISTERS else "double"
        loads += f"  %a{r} = getelementptr i8, ptr %h, i64 {place(layout, r)}\n  %e{r} = load {type}, ptr %a{r}\n"
    for span in spans:
        loads += f"  %ram.{span} = sub i64 %ram.limit, {span - 1}\n"
    guards = ""
    if floats:
        guards += f"""
  %fsa = getelementptr i8, ptr %h, i64 {layout.mstatus + 1}
  %fs0 = load i8, ptr %fsa
  %fs = and i8 %fs0, 96
  %dirty = icmp eq i8 %fs, 96
  br i1 %dirty, label %dirtied, label %unready, !prof !0
dirtied:
  %frma = getelementptr i8, ptr %h, i64 {layout.frm}
  %frm = load i32, ptr %frma
  %nearest = icmp eq i32 %frm, 0
  br i1 %nearest, label %rounds, label %unready, !prof !0
rounds:"""
    if bare:
        guards += f"""
  %limit0 = load i64, ptr getelementptr (i8, ptr @data, i64 {VIEWS_AT + 8})
  %filled = icmp ne i64 %limit0, 0
  br i1 %filled, label %seen, label %look, !prof !0
look:
  %ram = getelementptr i8, ptr @data, i64 {VIEWS_AT}
  %looked = call preserve_mostcc i1 @fill_read(ptr %h, i64 {RAM_BASE}, ptr %ram, i64 1)
  br i1 %looked, label %seen, label %unready
seen:
  %ram.limit = load i64, ptr getelementptr (i8, ptr @data, i64 {VIEWS_AT + 8})
  %ram.addend = load i64, ptr getelementptr (i8, ptr @data, i64 {VIEWS_AT + 16})"""
    unready = ""
    if guards:
        unready = f"""unready:
  %here0 = load i64, ptr @base
  %here = add i64 %here0, {entry}
{tail("step", "%count", pins, "%here")}
"""
    glue = "".join(
        f"declare dso_local preserve_nonecc void @{name}({prototype})\n"
        for name in ("step", "far", "poll", "indirect", "refresh")
    )
    return f"""@base = external dso_local global i64
@data = external dso_local global i8
{glue}declare dso_local preserve_mostcc i1 @fill_read(ptr, i64, ptr, i64)
declare dso_local preserve_mostcc i1 @fill_write(ptr, i64, ptr, i64)
{chr(10).join(declarations)}
define preserve_nonecc void @region({parameters}) #0 {{
entry:
  %viewa = getelementptr i8, ptr %h, i64 {layout.view}
  %view = load i64, ptr %viewa
  %valid = load i64, ptr @data
  %fresh = icmp eq i64 %view, %valid
  br i1 %fresh, label %known, label %stale, !prof !0
known:{guards}
  br label %start
start:
{loads}  %poll = getelementptr i8, ptr %h, i64 {layout.poll}
  br label %b0
{body}stale:
  %number = load i64, ptr getelementptr (i8, ptr @data, i64 8)
{tail("refresh", "%count", pins, "%number")}
{unready}}}
attributes #0 = {{ nounwind {"strictfp " if floats else ""}"frame-pointer"="none" "no-jump-tables"="true" }}
attributes #1 = {{ strictfp }}
; nearly always; and mostly, of branches that go backward
!0 = !{{!"branch_weights", i32 2000000, i32 1}}
!1 = !{{!"branch_weights", i32 31, i32 1}}
"""
